"""The 256 byte registers that the host and the sequencer of an AIC-7870 share.

A register without side effects is a byte of `plain`; the others have a function in `readers` or
`writers`. Scratch RAM (20h-5Fh) and the window on the current SCB (A0h-BFh) are always plain, so
that compiled sequencer code can index them.

Sources:
    [AIC] Adaptec AIC-7870 data book; the names are those of the BSD and Linux drivers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

REGISTERS: Final = 256
SCRATCH: Final = range(0x20, 0x60)
SCB_WINDOW: Final = range(0xA0, 0xC0)
COUNT_BITS: Final = 0xFF_FFFF  # of a counter's double word; the byte above it is another register's

ReadByte = Callable[[], int]
WriteByte = Callable[[int], None]


class Keeping(NamedTuple):
    """A register that keeps what is written to it, and does little more: compiled code does that in line.

    A write stores the bits of `mask`, at the address `also` too. Then it calls `then`, which with
    addresses and bits in `when` is only for when such a bit is set in the plain byte there. A register
    that does much more for some bits names them in `acts`: a value with one of them is its writer's.
    """

    mask: int = 0xFF
    also: int | None = None
    when: tuple[tuple[int, int], ...] = ()
    then: Callable[[], None] | None = None
    acts: int = 0


class Queue(NamedTuple):
    """A register that bytes are read from and written to one after the other, several at once.

    `take` returns so many bytes, or None where reading them would do more than that. `put` writes bytes
    up to the first by which the sequencer may have been stopped (`attention`), and returns how many.
    Either is to the bit what single reads and writes are; no plain byte decides what they do.
    """

    take: Callable[[int], bytes | bytearray | None]
    put: Callable[[bytes | bytearray], int]


class RegisterFile:
    """What answers at each of the addresses.

    `epoch` counts changes: whoever changes any state that a register shows, and that is not a byte of
    `plain`, adds to it. While it stands still, a sequencer that comes by the same place with the same
    plain bytes only waits. Whoever pauses the sequencer sets `attention`, so that it need not ask after each
    access whether it is to stop. `words` are the plain bytes as double words, for addresses and counters.
    No function of a register changes scratch RAM.
    """

    __slots__ = ("attention", "epoch", "keeping", "plain", "queues", "readers", "words", "writers")

    def __init__(self) -> None:
        self.plain = bytearray(REGISTERS)
        self.words = memoryview(self.plain).cast("I")  # hosts are little-endian
        self.readers: list[ReadByte | None] = [None] * REGISTERS
        self.writers: list[WriteByte | None] = [None] * REGISTERS
        self.keeping: dict[int, Keeping] = {}
        self.queues: dict[int, Queue] = {}
        self.epoch = 0
        self.attention = False

    def keep(self, address: int, keeping: Keeping, writer: WriteByte | None = None) -> None:
        """Have a register keep what is written to it; with `acts`, `writer` does all that is said there."""
        plain = self.plain
        mask, also, when, then, _ = keeping
        other = address if also is None else also

        def write(value: int) -> None:
            plain[address] = plain[other] = value & mask
            if then is not None and (not when or any(plain[at] & bits for at, bits in when)):
                then()

        self.keeping[address] = keeping
        self.writers[address] = writer or write

    def read(self, address: int) -> int:
        """Read a byte as the sequencer does."""
        reader = self.readers[address]
        return self.plain[address] if reader is None else reader()

    def write(self, address: int, value: int) -> None:
        """Write a byte as the sequencer does."""
        writer = self.writers[address]
        if writer is not None:
            writer(value)
        else:
            self.plain[address] = value
