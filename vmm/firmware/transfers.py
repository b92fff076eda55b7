"""What INT 13h functions share: status codes, and moves between an image and the caller's memory.

Reads and writes go straight to the image, beside the drive's own interface, and take no virtual time.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 13h"; [EDD] BIOS
Enhanced Disk Drive Specification 3.0 §8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from disks.errors import HOST_ERRORS, ReadOnlyError
from disks.image import SECTOR_BYTES, BlockImage
from vmm.firmware.caller import Caller
from vmm.firmware.host import BootDrive

# Status codes, [PTL] "Interrupt 13h", [EDD] §8
OK: Final = 0x00
BAD_COMMAND: Final = 0x01
WRITE_PROTECTED: Final = 0x03
NOT_FOUND: Final = 0x04
CHANGED: Final = 0x06
PARAMETER_FAILED: Final = 0x07
BAD_MEDIA_TYPE: Final = 0x0C
CONTROLLER_FAILED: Final = 0x20
TIME_OUT: Final = 0x80
NOT_LOCKED: Final = 0xB0
LOCKED: Final = 0xB1
NOT_REMOVABLE: Final = 0xB2
LOCKED_TOO_OFTEN: Final = 0xB4
EJECT_FAILED: Final = 0xB5

Function = Callable[[Caller, BootDrive], int]


def read_sectors(caller: Caller, image: BlockImage, lba: int, sectors: int, linear: int) -> int:
    """Copy sectors to memory; return a status."""
    try:
        data = image.read(lba, sectors)
    except HOST_ERRORS:
        return CONTROLLER_FAILED
    caller.write(linear, data)
    return OK


def write_sectors(caller: Caller, image: BlockImage, lba: int, sectors: int, linear: int) -> int:
    """Copy memory to sectors; return a status."""
    return write_data(image, lba, caller.read(linear, sectors * SECTOR_BYTES))


def write_data(image: BlockImage, lba: int, data: bytes) -> int:
    """Store sectors; return a status."""
    if image.read_only:
        return WRITE_PROTECTED
    try:
        image.write(lba, data)
    except ReadOnlyError:
        return WRITE_PROTECTED
    except HOST_ERRORS:
        return CONTROLLER_FAILED
    return OK
