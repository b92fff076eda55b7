"""The extended BIOS data area, one KiB below the video memory: what the data area has no room for.

Where it is, 40:0E says, so that it may be moved. Its first byte is its size in KiB; the
pointing device's fields and the disk tables lie where [PTL] and common practice have them, the rest
is ours.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, section 3, "Extended BIOS Data Area".
"""

from __future__ import annotations

from typing import Final

from devices.backplane import GuestMemory
from vmm.firmware import bda as b

MOUSE_HANDLER: Final = 0x22  # far pointer
MOUSE_COUNT: Final = 0x26  # bits 0-2: bytes of the packet that have come
MOUSE_SIZE: Final = 0x27  # bits 0-2: bytes of a packet less one; bit 7: a handler is there
MOUSE_DATA: Final = 0x28  # the packet, at most eight bytes
DISK_TABLES: Final = 0x3D  # two of 16 bytes: INT 41h and INT 46h point here
DISK_TABLE_BYTES: Final = 16
CONTROLLER_TABLE: Final = 0x60  # that EDD's function 48h tells of, 16 bytes
EMULATION: Final = 0x70  # the El Torito specification packet of what was booted, 19 bytes
NEXT_BOOT: Final = 0x88  # how many boot candidates were tried
DEADLINE: Final = 0x8C  # of INT 14h and 17h, microseconds
PRINT_POSITION: Final = 0x94  # in the screen that INT 5 prints
KEY_ARGUMENT: Final = 0x90  # what the keyboard gets when it has acknowledged: a byte, and whether
EXCHANGE: Final = 0xA0  # with the pointing device: 16 bytes
DISK_SHAPES: Final = 0xC0  # heads, sectors a track of each hard disk, as found at power-on
DISK_SHAPES_MOST: Final = 16
CD_LOCKS: Final = 0xE0  # how often each CD-ROM drive was locked
CD_LOCKS_MOST: Final = 32


class Ebda:
    """Reads and writes fields by their offset."""

    __slots__ = ("_memory",)

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory

    @property
    def segment(self) -> int:
        """Its segment, from 40:0E."""
        return int.from_bytes(self._memory.read(b.BASE + b.EBDA_SEGMENT, 2), "little")

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes."""
        return self._memory.read((self.segment << 4) + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes."""
        self._memory.write((self.segment << 4) + offset, data)

    def byte(self, offset: int) -> int:
        """Return the byte at `offset`."""
        return self.read(offset, 1)[0]

    def set_byte(self, offset: int, value: int) -> None:
        """Store a byte."""
        self.write(offset, bytes((value & 0xFF,)))

    def dword(self, offset: int) -> int:
        """Return the double word at `offset`."""
        return int.from_bytes(self.read(offset, 4), "little")

    def set_dword(self, offset: int, value: int) -> None:
        """Store a double word."""
        self.write(offset, (value & 0xFFFF_FFFF).to_bytes(4, "little"))
