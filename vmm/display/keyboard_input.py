"""A terminal as a source of keys, in raw mode."""

from __future__ import annotations

import os
import select
import termios
import tty
from collections.abc import Callable
from typing import Any, Final

from vmm.display.keys import KeyDecoder, Token

_READ_BYTES: Final = 4096


class RawTerminal:
    """Keeps the terminal `descriptor` raw until `close`.

    With `lines` output keeps its line ends, with `signals` Ctrl-C still interrupts.
    """

    def __init__(self, descriptor: int, *, lines: bool = False, signals: bool = False) -> None:
        self._descriptor = descriptor
        self._saved: list[Any] | None = None
        if os.isatty(descriptor):
            self._saved = termios.tcgetattr(descriptor)
            tty.setraw(descriptor, termios.TCSANOW)
            raw = termios.tcgetattr(descriptor)
            raw[1] |= termios.OPOST | termios.ONLCR if lines else 0
            raw[3] |= termios.ISIG if signals else 0
            termios.tcsetattr(descriptor, termios.TCSANOW, raw)

    def close(self) -> None:
        """Give the terminal its old mode back. Idempotent."""
        saved, self._saved = self._saved, None
        if saved is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, saved)


class TerminalKeyboard:
    """Reads the terminal `descriptor` and gives `take` one token after the other."""

    def __init__(self, descriptor: int, take: Callable[[Token], None]) -> None:
        self._descriptor, self._take = descriptor, take
        self._decoder = KeyDecoder()
        self.at_end = False

    def poll(self) -> None:
        """Take what was typed since the last call; never waits."""
        if self.at_end or not select.select([self._descriptor], [], [], 0)[0]:
            tokens = self._decoder.flush()
        else:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except OSError:  # the terminal is gone
                data = b""
            self.at_end = not data
            tokens = self._decoder.feed(data)
        for token in tokens:
            self._take(token)
