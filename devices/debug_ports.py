"""Ports that exist for firmware and test programs: debug consoles, an exit port, POST codes.

A debug console (E9h of Bochs, 402h of SeaBIOS) reads as E9h, by which a guest knows that someone
listens, and passes every byte written to the host. The exit port is the isa-debug-exit of QEMU:
what a number means is for the machine to say. Port 80h keeps the last POST code.

Not modelled: a configurable read-back value of the consoles.

Sources:
  [BOCHS] Bochs documentation, "port_e9_hack".
  [QEMU]  QEMU hw/char/debugcon.c and hw/misc/debugexit.c, version 7.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.backplane import DeviceState
from devices.isa import byte_bank

CONSOLE_PRESENT: Final = 0xE9


class NoState(DeviceState, frozen=True, kw_only=True):
    """A device without registers."""


class DebugConsole:
    """One port: what the guest writes goes to `sink`, byte by byte."""

    def __init__(self, sink: Callable[[int], None], name: str = "debugcon") -> None:
        self.name = name
        self.ports = byte_bank(name, (self._read_present,), (sink,))

    def reset(self) -> None:
        """Nothing to reset."""

    def save(self) -> NoState:
        """Return the empty state."""
        return NoState()

    def load(self, state: DeviceState) -> None:
        """Take the empty state."""
        msgspec.convert(state, NoState)

    def _read_present(self) -> int:
        return CONSOLE_PRESENT


class ExitPort:
    """Four ports: any write, of any size, calls `on_exit` with the value; they read as 0."""

    def __init__(self, on_exit: Callable[[int], None], name: str = "exit") -> None:
        self.name = name
        self._on_exit = on_exit

    def read(self, offset: int, size: int) -> int:
        """Read nothing."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Ask for the end of the run."""
        self._on_exit(value)

    def reset(self) -> None:
        """Nothing to reset."""

    def save(self) -> NoState:
        """Return the empty state."""
        return NoState()

    def load(self, state: DeviceState) -> None:
        """Take the empty state."""
        msgspec.convert(state, NoState)


class PostPortState(DeviceState, frozen=True, kw_only=True):
    """The code on display."""

    code: int


class PostPort:
    """One port: `code` is the last byte written, which also reads back. Linux delays by writing here."""

    def __init__(self, name: str = "post") -> None:
        self.name = name
        self.code = 0
        self.ports = byte_bank(name, (self._read_code,), (self._write_code,))

    def reset(self) -> None:
        """Clear the display."""
        self.code = 0

    def save(self) -> PostPortState:
        """Return the code."""
        return PostPortState(code=self.code)

    def load(self, state: DeviceState) -> None:
        """Become `state`."""
        self.code = msgspec.convert(state, PostPortState).code

    def _read_code(self) -> int:
        return self.code

    def _write_code(self, value: int) -> None:
        self.code = value
