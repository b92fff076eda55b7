"""One line that is being typed: cursor, history, completion. Pure; what shows it is somewhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.display.keys import Token

KEPT_LINES: Final = 50
LONGEST: Final = 200

Complete = Callable[[str], list[str]]
"""Gives every whole line that begins as the one typed so far could go on."""


class LineEditor:
    """The keys of any shell: arrows, Home, End, Ctrl-A E U K W, Tab."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete
        self._history: list[str] = []
        self.clear()

    def clear(self) -> None:
        """Begin a new line."""
        self.text = ""
        self.cursor = 0
        self._back = 0

    def remember(self) -> None:
        """Keep the line for the arrow keys."""
        if self.text and self._history[-1:] != [self.text]:
            self._history = [*self._history, self.text][-KEPT_LINES:]

    def take(self, token: Token) -> list[str]:
        """Take a key; return what Tab could complete to when there is more than one."""
        if token == "\t":
            return self._tab()
        if isinstance(token, str) and token.isprintable():
            if len(self.text) < LONGEST:
                self._set(self.text[: self.cursor] + token + self.text[self.cursor :], self.cursor + 1)
        elif token in (("up",), "\x10"):
            self._recall(1)
        elif token in (("down",), "\x0e"):
            self._recall(-1)
        else:
            self._edit(token)
        return []

    def _edit(self, token: Token) -> None:
        text, at = self.text, self.cursor
        if token in ("\x7f", "\x08") and at:
            self._set(text[: at - 1] + text[at:], at - 1)
        elif token in (("delete",), "\x04"):
            self._set(text[:at] + text[at + 1 :], at)
        elif token in (("left",), "\x02"):
            self.cursor = max(at - 1, 0)
        elif token in (("right",), "\x06"):
            self.cursor = min(at + 1, len(text))
        elif token in (("home",), "\x01"):
            self.cursor = 0
        elif token in (("end",), "\x05"):
            self.cursor = len(text)
        elif token == "\x15":
            self._set(text[at:], 0)
        elif token == "\x0b":
            self._set(text[:at], at)
        elif token == "\x17":
            kept = text[:at].rstrip().rpartition(" ")
            self._set(kept[0] + kept[1] + text[at:], len(kept[0] + kept[1]))

    def _set(self, text: str, cursor: int) -> None:
        self.text, self.cursor = text, cursor

    def _recall(self, step: int) -> None:
        self._back = max(0, min(len(self._history), self._back + step))
        text = self._history[-self._back] if self._back else ""
        self._set(text, len(text))

    def _tab(self) -> list[str]:
        rest = self.text[self.cursor :]
        found = self._complete(self.text[: self.cursor])
        if not found:
            return []
        whole = _common(found) + (" " if len(found) == 1 else "")
        if len(whole) > self.cursor:
            self._set(whole + rest, len(whole))
            return []
        return found if len(found) > 1 else []


def _common(words: list[str]) -> str:
    """Return what all words begin with."""
    first, last = min(words), max(words)
    same = next((at for at, letter in enumerate(first) if last[at : at + 1] != letter), len(first))
    return first[:same]
