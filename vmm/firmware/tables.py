"""Tables for the F-segment: what operating systems search the ROM for, in steps of 16 bytes.

A table is a function from its own physical address to its bytes, as some of them point into
themselves. Whoever has one to offer (an MP table, say) adds it to `FirmwareHost.tables`.

Sources: [PIR] Microsoft PCI IRQ Routing Table Specification 1.0; [PCIBIOS] PCI BIOS Specification 2.1
§3.3, "Standard BIOS 32-bit Service Directory".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final

from devices.pci.interrupts import PIRQS, ROUTABLE, pirq_of
from devices.pci.piix3 import PIRQRCA

Table = Callable[[int], bytes]

ALIGNMENT: Final = 16
PIR_HEADER: Final = struct.Struct("<4sHHBBHII11sB")
PIR_VERSION: Final = 0x0100
PIIX: Final = 0x122E_8086  # the router is compatible with Intel's first
PIIX_DEVICE: Final = 1 << 3  # device 1, function 0
DEVICES: Final = range(1, 32)
BIOS32_HEADER: Final = struct.Struct("<4sIBBB5s")


def with_checksum(data: bytes, at: int) -> bytes:
    """Return `data` with the byte at `at` chosen so that all bytes add up to 0."""
    table = bytearray(data)
    table[at] = 0
    table[at] = -sum(table) & 0xFF
    return bytes(table)


def routable_mask() -> int:
    """Return the interrupts a PIRQ line can be steered to, one bit each."""
    return sum(1 << irq for irq in ROUTABLE)


def routing_slots() -> bytes:
    """Return the slot entries of the $PIR table, which PCI BIOS function 0Eh gives too, [PIR].

    A link value is the PIIX3 register that steers the line.
    """
    mask = routable_mask()
    entries = []
    for device in DEVICES:
        pins = b"".join(
            struct.pack("<BH", PIRQRCA + pirq_of(device, pin), mask) for pin in range(1, PIRQS + 1)
        )
        entries.append(struct.pack("<BB", 0, device << 3) + pins + struct.pack("<BB", 0, 0))
    return b"".join(entries)


def routing_table(_address: int) -> bytes:
    """$PIR: which wire each slot's interrupt pins are on, [PIR]."""
    slots = routing_slots()
    size = PIR_HEADER.size + len(slots)
    header = PIR_HEADER.pack(b"$PIR", PIR_VERSION, size, 0, PIIX_DEVICE, 0, PIIX, 0, bytes(11), 0)
    return with_checksum(header + slots, PIR_HEADER.size - 1)


def service_directory(entry: int) -> Table:
    """Return the `_32_` header for the far function at physical address `entry`."""
    header = BIOS32_HEADER.pack(b"_32_", entry, 0, 1, 0, bytes(5))
    return lambda _address: with_checksum(header, 10)


def place_tables(image: bytearray, base: int, first: int, last: int, tables: Iterable[Table]) -> int:
    """Write `tables` into `image` from offset `first`; return the offset after them.

    `base` is the physical address of the image, `last` the offset they must not reach.
    """
    position = first
    for table in tables:
        position = -(-position // ALIGNMENT) * ALIGNMENT
        data = table(base + position)
        assert position + len(data) <= last, "the tables do not fit into the ROM"
        image[position : position + len(data)] = data
        position += len(data)
    return position
