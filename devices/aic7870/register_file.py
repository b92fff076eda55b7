"""The 256 byte registers that the host and the sequencer of an AIC-7870 share.

A register without side effects is a byte of `plain`; the others have a function in `readers` or
`writers`. Scratch RAM (20h-5Fh) and the window on the current SCB (A0h-BFh) are always plain, so
that compiled sequencer code can index them.

Sources:
    [AIC] Adaptec AIC-7870 data book; the names are those of the BSD and Linux drivers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

REGISTERS: Final = 256
SCRATCH: Final = range(0x20, 0x60)
SCB_WINDOW: Final = range(0xA0, 0xC0)

ReadByte = Callable[[], int]
WriteByte = Callable[[int], None]


class RegisterFile:
    """What answers at each of the addresses.

    `epoch` counts changes: whoever changes any state that a register shows adds to it. While it
    stands still, a sequencer that comes by the same place with the same accumulator and indices
    only waits. Whoever pauses the sequencer sets `attention`, so that it need not ask after each
    access whether it is to stop.
    """

    __slots__ = ("attention", "epoch", "plain", "readers", "writers")

    def __init__(self) -> None:
        self.plain = bytearray(REGISTERS)
        self.readers: list[ReadByte | None] = [None] * REGISTERS
        self.writers: list[WriteByte | None] = [None] * REGISTERS
        self.epoch = 0
        self.attention = False

    def read(self, address: int) -> int:
        """Read a byte as the sequencer does."""
        reader = self.readers[address]
        return self.plain[address] if reader is None else reader()

    def write(self, address: int, value: int) -> None:
        """Write a byte as the sequencer does."""
        writer = self.writers[address]
        if writer is not None:
            writer(value)
        elif self.plain[address] != value:
            self.plain[address] = value
            self.epoch += 1
