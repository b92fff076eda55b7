"""The monitor's prompt: Ctrl-] opens it, and what is typed goes to the monitor instead of the guest.

One mechanism for the terminal that shows the screen and for the one that is a serial port: they differ
in the `View`, which shows the line, and in who gets the keys while the prompt is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from vmm.cli.line_editor import LineEditor
from vmm.display.keys import Token

ESCAPE_KEY: Final = "\x1d"  # Ctrl-]
SIGN: Final = "trapline> "
MORE: Final = "-- Space: more, q: enough --"
_LEAVE: Final = ("\x1b", "\x03")


class View(Protocol):
    """Where the prompt appears."""

    def page_rows(self) -> int:
        """Return how many lines may be shown at once above the prompt; 0 for any number."""

    def say(self, lines: Sequence[str]) -> None:
        """Show lines above the prompt, or instead of what is there."""

    def edit(self, text: str, cursor: int) -> None:
        """Show the line that is being typed, the cursor before character `cursor`."""

    def close_prompt(self, message: str) -> None:
        """Show the guest again, and tell a last thing about it if it is not empty."""


class Monitor(Protocol):
    """Who carries out the commands."""

    def run(self, line: str) -> list[str]:
        """Do what `line` says and return the answer; raise ValueError for what cannot be done."""

    def complete(self, line: str) -> list[str]:
        """Return the whole lines that `line` may become."""


class Prompt:
    """Takes every key of the terminal. `to_guest` gets those that are not for the monitor."""

    def __init__(self, monitor: Monitor, view: View, to_guest: Callable[[Token], None]) -> None:
        self._monitor, self._view, self._to_guest = monitor, view, to_guest
        self._editor = LineEditor(monitor.complete)
        self._rest: list[str] = []  # of an answer longer than a page
        self.is_open = False

    def take(self, token: Token) -> None:
        """Take one key."""
        if not self.is_open:
            if token == ESCAPE_KEY:
                self._open()
            else:
                self._to_guest(token)
        elif self._rest and token in (" ", "\r", "\n", ("page_down",)):
            self._page(self._rest)
        else:
            if self._rest:
                self._rest = []
                token = "" if token in ("q", *_LEAVE) else token
            self._edit(token)

    def _open(self) -> None:
        self.is_open = True
        self._editor.clear()
        self._view.say(())
        self._show()

    def _show(self) -> None:
        if self._rest:
            self._view.edit(MORE, len(MORE))
        else:
            self._view.edit(SIGN + self._editor.text, len(SIGN) + self._editor.cursor)

    def _edit(self, token: Token) -> None:
        empty = not self._editor.text.strip()
        if token in ("\r", "\n"):
            self._close("") if empty else self._carry_out()
        elif token in _LEAVE or (token == "\x04" and empty):
            self._close("")
        elif token == ESCAPE_KEY:
            self._close("")
            self._to_guest(ESCAPE_KEY)
        else:
            if choices := self._editor.take(token):
                self._view.say(["  ".join(line.rpartition(" ")[2] for line in choices)])
            self._show()

    def _carry_out(self) -> None:
        line = self._editor.text.strip()
        self._editor.remember()
        try:
            answer = self._monitor.run(line)
        except (ValueError, OSError) as error:
            self._editor.clear()
            self._view.say([str(error)])
            self._show()
            return
        self._editor.clear()
        if len(answer) > 1:
            self._page(answer)
        else:
            self._close(answer[0] if answer else "")

    def _page(self, lines: list[str]) -> None:
        rows = self._view.page_rows() or len(lines)
        self._rest = lines[rows:]
        self._view.say(lines[:rows])
        self._show()

    def _close(self, message: str) -> None:
        self.is_open = False
        self._rest = []
        self._view.close_prompt(message)
