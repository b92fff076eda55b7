"""Standard input as what is typed at a serial terminal. If it is a terminal, it is raw and has the prompt."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from vmm.cli.prompt import ESCAPE_KEY, Monitor, Prompt
from vmm.display.keyboard_input import RawTerminal
from vmm.display.keys import KeyDecoder, Token

STDIN: Final = 0
READ_BYTES: Final = 256
_CLEAR: Final = "\r\x1b[K"


class SerialView:
    """Shows the prompt as one more line of a terminal that scrolls."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def page_rows(self) -> int:
        """Any number: the terminal scrolls."""
        return 0

    def say(self, lines: Sequence[str]) -> None:
        """Print the lines."""
        self._print(_CLEAR + "".join(f"{line}\n" for line in lines) if lines else "\n")

    def edit(self, text: str, cursor: int) -> None:
        """Print the line anew."""
        self._print(f"{_CLEAR}{text}\x1b[{cursor + 1}G")

    def close_prompt(self, message: str) -> None:
        """Leave the line."""
        self._print(_CLEAR + (f"trapline: {message}\n" if message else ""))

    def _print(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class SerialTerminal:
    """What is typed goes to `receive` byte for byte, unless the prompt is open."""

    def __init__(self, receive: Callable[[bytes], None], monitor: Monitor) -> None:
        self._receive = receive
        self._decoder = KeyDecoder()
        self.at_end = False
        self.is_terminal = os.isatty(STDIN)
        self._raw = RawTerminal(STDIN, lines=True)
        out = sys.stderr if sys.stderr.isatty() or not sys.stdout.isatty() else sys.stdout
        self._prompt = Prompt(monitor, SerialView(out), self._to_guest)
        self.close = self._raw.close

    @property
    def is_busy(self) -> bool:
        """Whether the prompt is open: the guest's output has to wait."""
        return self._prompt.is_open

    def poll(self) -> None:
        """Take what was typed since the last call; never waits."""
        if self.at_end or not select.select([STDIN], [], [], 0)[0]:
            for token in self._decoder.flush():
                self._prompt.take(token)
            return
        try:
            data = os.read(STDIN, READ_BYTES)
        except OSError:  # the terminal is gone
            data = b""
        self.at_end = not data
        if self.is_terminal:
            self._sort(data)
        elif data:
            self._receive(data)

    def _sort(self, data: bytes) -> None:
        while data:
            if not self._prompt.is_open:
                before, key, data = data.partition(ESCAPE_KEY.encode())
                if before:
                    self._receive(before)
                if key:
                    self._prompt.take(ESCAPE_KEY)
            else:
                for token in self._decoder.feed(data[:1]):
                    self._prompt.take(token)
                data = data[1:]

    def _to_guest(self, token: Token) -> None:
        if isinstance(token, str):
            self._receive(token.encode())
