"""The terminal as the guest's keyboard, with one key kept for the monitor: Ctrl-].

Ctrl-] q quits, Ctrl-] s takes a screenshot, Ctrl-] Ctrl-] sends the key itself to the guest; any other
key after it is told to `on_unknown`.
"""

from __future__ import annotations

import os
import select
import termios
import tty
from collections.abc import Callable, Mapping
from typing import Any

from vmm.display.keys import MONITOR_KEY, Chord, decode

_READ_BYTES = 4096


class TerminalKeyboard:
    """Reads the terminal `descriptor` in raw mode; restores its mode on `close`.

    `on_keys` takes chords for the guest (`Keyboard.type_keys`); `commands` holds what the letters
    after Ctrl-] do.
    """

    def __init__(
        self,
        descriptor: int,
        on_keys: Callable[[Chord], None],
        commands: Mapping[str, Callable[[], None]],
        on_unknown: Callable[[str], None],
    ) -> None:
        self._descriptor = descriptor
        self._on_keys = on_keys
        self._commands = commands
        self._on_unknown = on_unknown
        self._saved: list[Any] | None = None
        self._after_monitor_key = False

    def open(self) -> None:
        """Switch to raw mode; a descriptor that is no terminal (a pipe) is read as it is."""
        if os.isatty(self._descriptor):
            self._saved = termios.tcgetattr(self._descriptor)
            tty.setraw(self._descriptor)

    def poll(self) -> None:
        """Take what was typed since the last call; never waits."""
        readable, _, _ = select.select([self._descriptor], [], [], 0)
        if readable:
            self.feed(os.read(self._descriptor, _READ_BYTES))

    def feed(self, data: bytes) -> None:
        """Take bytes as the terminal sends them."""
        while data:
            if self._after_monitor_key:
                self._after_monitor_key = False
                self._command(data[0])
                data = data[1:]
                continue
            before, key, data = data.partition(bytes([MONITOR_KEY]))
            for chord in decode(before):
                self._on_keys(chord)
            self._after_monitor_key = bool(key)

    def close(self) -> None:
        """Give the terminal its old mode back. Idempotent."""
        saved, self._saved = self._saved, None
        if saved is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, saved)

    def __enter__(self) -> TerminalKeyboard:
        """Open."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _command(self, byte: int) -> None:
        if byte == MONITOR_KEY:
            for chord in decode(bytes([MONITOR_KEY])):
                self._on_keys(chord)
            return
        letter = chr(byte).lower()
        command = self._commands.get(letter)
        if command is None:
            self._on_unknown(letter)
        else:
            command()
