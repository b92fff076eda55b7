"""The memory map that INT 15h and the Linux loader tell.

Sources: [ACPI] ACPI Specification 2.0 §14, "INT 15H, E820H".
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

RAM: Final = 1
RESERVED: Final = 2
ENTRY_BYTES: Final = 20

EBDA: Final = 0x9FC00  # the last KiB below the video window
LOW_END: Final = 0xA0000
ROM: Final = 0xF0000
HIGH: Final = 0x10_0000


class Region(NamedTuple):
    """A run of addresses of one kind."""

    address: int
    length: int
    kind: int

    def pack(self) -> bytes:
        """Return the region in the form INT 15h and boot_params share."""
        return struct.pack("<QQI", *self)


def memory_map(ram_bytes: int) -> list[Region]:
    """Return the regions of a PC with `ram_bytes` of RAM from 0, by address."""
    regions = [
        Region(0, EBDA, RAM),
        Region(EBDA, LOW_END - EBDA, RESERVED),
        Region(ROM, HIGH - ROM, RESERVED),
    ]
    if ram_bytes > HIGH:
        regions.append(Region(HIGH, ram_bytes - HIGH, RAM))
    return regions
