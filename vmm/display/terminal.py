"""The guest's text screen in the terminal `trapline` runs in.

The screen goes to the terminal's alternate page and is gone, with everything else we changed, when the
display closes. Repainting sends only cells that changed, at most 30 times a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from devices.vga.adapter import Vga
from devices.vga.text import NOTHING, TextScreen
from vmm.display.ansi import RESET, changes, move

FRAME_NS: Final = 1_000_000_000 // 30
_ENTER: Final = "\x1b[?1049h\x1b[2J\x1b[H\x1b[?25l"
_LEAVE: Final = f"{RESET}\x1b[?25h\x1b[?1049l"
_SHOW_CURSOR: Final = "\x1b[?25h"
_HIDE_CURSOR: Final = "\x1b[?25l"
_FALLBACK_SIZE: Final = (80, 25)


class TerminalDisplay:
    """Shows `vga` on `out`. `now_ns` is the host's time; `environment` may hold NO_COLOR."""

    def __init__(
        self, vga: Vga, out: TextIO, now_ns: Callable[[], int], environment: Mapping[str, str] | None = None
    ) -> None:
        self._vga = vga
        self._out = out
        self._now_ns = now_ns
        self._colour = not (os.environ if environment is None else environment).get("NO_COLOR")
        self._shown = NOTHING
        self._cursor = ""
        self._next_ns = 0
        self._open = False

    def open(self) -> None:
        """Take over the terminal."""
        self._open = True
        self._send(_ENTER)

    def refresh(self, *, force: bool = False) -> None:
        """Repaint what changed, unless that was done less than a frame ago."""
        now_ns = self._now_ns()
        if not self._open or (now_ns < self._next_ns and not force):
            return
        self._next_ns = now_ns + FRAME_NS
        screen = self._vga.text_screen()
        if screen.columns == 0:
            return
        columns, rows = self._size()
        painted = "".join(changes(self._shown, screen, colour=self._colour, columns=columns, rows=rows))
        cursor = _cursor(screen, columns, rows)
        if painted or cursor != self._cursor:
            self._send(painted + cursor)
        self._shown, self._cursor = screen, cursor

    def redraw(self) -> None:
        """Paint everything anew, as after something else wrote to the terminal."""
        self._shown = NOTHING
        self.refresh(force=True)

    def message(self, text: str) -> None:
        """Show a line of our own below the guest's screen, or over its last row."""
        _, rows = self._size()
        self._send(f"{move(0, min(rows - 1, max(self._shown.rows, 1)))}{RESET}\x1b[K{text}{self._cursor}")

    def close(self) -> None:
        """Give the terminal back as it was. Idempotent."""
        if self._open:
            self._open = False
            self._send(_LEAVE)

    def __enter__(self) -> TerminalDisplay:
        """Open the display."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the display."""
        self.close()

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            return _FALLBACK_SIZE
        return size.columns, size.lines

    def _send(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _cursor(screen: TextScreen, columns: int, rows: int) -> str:
    """Return the sequence that shows the cursor where the guest has it, or hides it."""
    cursor = screen.cursor
    if cursor is None or cursor.column >= columns or cursor.row >= rows:
        return _HIDE_CURSOR
    return move(cursor.column, cursor.row) + _SHOW_CURSOR
