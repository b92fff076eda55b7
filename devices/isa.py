"""How the ISA bus shows a chip whose registers are one byte wide.

The bus controller splits a 16- or 32-bit access to an 8-bit chip into byte cycles at consecutive
ports, lowest first ([PIIX] "ISA Bus"). What lies behind the chip's last register floats.

Sources: [PIIX] Intel 82371FB/82371SB PIIX/PIIX3 data sheet, 290550-002, April 1997.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from devices.backplane import PortBank

FLOATING: Final = 0xFF


def floating() -> int:
    """Read a register that drives nothing onto the bus."""
    return FLOATING


def ignored(value: int) -> None:
    """Write to a register that does not exist."""


def byte_bank(
    name: str, reads: Sequence[Callable[[], int]], writes: Sequence[Callable[[int], None]]
) -> PortBank:
    """Return a bank over byte registers; `reads[i]` and `writes[i]` serve offset `i`."""
    length = len(reads)

    def read(offset: int, size: int) -> int:
        if size == 1 and offset < length:
            return reads[offset]()
        value = 0
        for lane in range(size):
            byte = reads[offset + lane]() if offset + lane < length else FLOATING
            value |= byte << 8 * lane
        return value

    def write(offset: int, size: int, value: int) -> None:
        if size == 1 and offset < length:
            writes[offset](value)
            return
        for lane in range(size):
            if offset + lane < length:
                writes[offset + lane](value >> 8 * lane & 0xFF)

    return PortBank(name, read, write)
