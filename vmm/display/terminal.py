"""The guest's screen in the terminal `trapline` runs in, with lines of our own below or over it.

The screen goes to the terminal's alternate page and is gone, with everything else we changed, when the
display closes. Repainting sends only cells that changed, at most 30 times a second. A terminal with
fewer rows or columns than the guest's text shows the part where the cursor is; graphics are scaled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TextIO

from devices.vga.adapter import Vga
from devices.vga.text import NOTHING, Cursor, TextScreen
from vmm.display.ansi import RESET, changes, move
from vmm.display.halfblocks import Pixels, cell_changes, scaled
from vmm.display.screenshot import draw

FRAME_NS: Final = 1_000_000_000 // 30
DRAWING_SHARE: Final = 4  # of the time, one part in so many may go into drawing
MESSAGE_NS: Final = 4_000_000_000
BRACKETED_PASTE: Final = "\x1b[?2004"
_ENTER: Final = f"\x1b[?1049h{BRACKETED_PASTE}h\x1b[2J\x1b[H\x1b[?25l"
_LEAVE: Final = f"{RESET}{BRACKETED_PASTE}l\x1b[?25h\x1b[?1049l"
_SHOW_CURSOR: Final = "\x1b[?25h"
_HIDE_CURSOR: Final = "\x1b[?25l"
_FALLBACK_SIZE: Final = (80, 25)
_BAR: Final = "\x1b[0;7m"


class TerminalDisplay:
    """Shows `vga` on `out`. `now_ns` is the host's time; `environment` holds NO_COLOR and COLORTERM."""

    def __init__(
        self,
        vga: Vga,
        out: TextIO,
        now_ns: Callable[[], int],
        environment: Mapping[str, str] | None = None,
        status: Callable[[], str] = lambda: "",
    ) -> None:
        self._vga, self._out, self._now_ns, self._status = vga, out, now_ns, status
        environment = os.environ if environment is None else environment
        self._colour = not environment.get("NO_COLOR")
        deep = environment.get("COLORTERM") in ("truecolor", "24bit")
        self._colours = "none" if not self._colour else "true" if deep else "cube"
        self._lines: tuple[str, ...] = ()  # over the guest's last rows
        self._edited: tuple[str, int] | None = None
        self._message, self._message_end_ns = "", 0
        self._next_ns = 0
        self._open = False
        self._forget((0, 0))

    def _forget(self, size: tuple[int, int]) -> None:
        """Know nothing of what the terminal shows."""
        self._sized = size
        self._shown = NOTHING
        self._picture: Pixels | None = None
        self._bottom: tuple[str, ...] = ()
        self._cursor = ""

    def open(self) -> None:
        """Take over the terminal."""
        self._open = True
        self._send(_ENTER)

    def refresh(self, *, force: bool = False) -> None:
        """Repaint what changed, unless that was done less than a frame ago."""
        began = self._now_ns()
        if not self._open or (began < self._next_ns and not force):
            return
        columns, rows = size = self._size()
        screen = self._vga.text_screen()
        bottom = self._bottom_lines(screen.rows if screen.columns else 0, columns, rows)
        painted = ""
        if size != self._sized or len(bottom) != len(self._bottom) or self._graphics != self._vga.is_graphics:
            self._forget(size)
            painted = f"{RESET}\x1b[2J"
        painted += self._guest(screen, columns, rows - len(bottom))
        if bottom != self._bottom or painted:
            painted += "".join(
                f"{move(0, rows - len(bottom) + row)}{line}{RESET}" for row, line in enumerate(bottom)
            )
        cursor = self._place_cursor(rows)
        if painted or cursor != self._cursor:
            self._send(_HIDE_CURSOR + painted + cursor)
        self._bottom, self._cursor = bottom, cursor
        now_ns = self._now_ns()
        self._next_ns = began + max(FRAME_NS, (now_ns - began) * DRAWING_SHARE)

    @property
    def _graphics(self) -> bool:
        return self._picture is not None

    def _guest(self, screen: TextScreen, columns: int, rows: int) -> str:
        """Return what makes the first `rows` of the terminal show the guest."""
        if rows < 1:
            return ""
        if self._vga.is_graphics:
            cells = scaled(draw(self._vga), columns, rows)
            painted = "".join(cell_changes(self._picture, cells, self._colours))
            self._picture = cells
            return painted
        shown = _window(screen, columns, rows)
        painted = "".join(changes(self._shown, shown, colour=self._colour, columns=columns, rows=rows))
        self._shown = shown
        return painted

    def _bottom_lines(self, guest_rows: int, columns: int, rows: int) -> tuple[str, ...]:
        """Return our own lines, styled and padded: the prompt's, or the status where there is room."""
        if self._edited is not None:
            lines = [f"{_BAR}{line[:columns]:<{columns}}" for line in self._lines[: rows - 1]]
            return (*lines, f"{RESET}\x1b[K{self._edited[0][:columns]}")
        message = self._message if self._now_ns() < self._message_end_ns else ""
        if rows > guest_rows or message:
            text = " · ".join(filter(None, (message, self._status())))
            return (f"{_BAR}{text[:columns]:<{columns}}",) if text else ()
        return ()

    def _place_cursor(self, rows: int) -> str:
        if self._edited is not None:
            return move(self._edited[1], rows - 1) + _SHOW_CURSOR
        cursor = self._shown.cursor
        if self._graphics or cursor is None:
            return _HIDE_CURSOR
        return move(cursor.column, cursor.row) + _SHOW_CURSOR

    # -- our own lines, as a `vmm.cli.prompt.View`

    def message(self, text: str) -> None:
        """Show a line of our own for a while."""
        self._message, self._message_end_ns = text, self._now_ns() + MESSAGE_NS
        self.refresh(force=True)

    def page_rows(self) -> int:
        """Return how many lines fit above the prompt."""
        return max(1, self._size()[1] - 1)

    def say(self, lines: Sequence[str]) -> None:
        """Show lines above the prompt."""
        self._lines = tuple(lines)

    def edit(self, text: str, cursor: int) -> None:
        """Show the line that is being typed."""
        self._edited = (text, cursor)
        self.refresh(force=True)

    def close_prompt(self, message: str) -> None:
        """Show the guest alone again."""
        self._edited, self._lines = None, ()
        if message:
            self.message(message)
        self.refresh(force=True)

    # -- the end

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
        return (size.columns, size.lines) if size.columns and size.lines else _FALLBACK_SIZE

    def _send(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _window(screen: TextScreen, columns: int, rows: int) -> TextScreen:
    """Return the part of the screen that a terminal of this size shows: the one with the cursor in it."""
    if screen.columns <= columns and screen.rows <= rows:
        return screen
    wide, high = min(columns, screen.columns), min(rows, screen.rows)
    cursor = screen.cursor or Cursor(0, 0, 0, 0)
    left, top = max(0, cursor.column - wide + 1), max(0, cursor.row - high + 1)
    starts = [row * screen.columns + left for row in range(top, top + high)]
    moved = (
        None if screen.cursor is None else replace(cursor, column=cursor.column - left, row=cursor.row - top)
    )
    return replace(
        screen,
        columns=wide,
        rows=high,
        characters=b"".join(screen.characters[at : at + wide] for at in starts),
        attributes=b"".join(screen.attributes[at : at + wide] for at in starts),
        cursor=moved,
    )
