"""El Torito: what on a CD-ROM is booted.

Only boot entries without emulation; those that emulate a floppy or hard disk are passed over.

Sources: [ET] Phoenix/IBM "El Torito" Bootable CD-ROM Format Specification 1.0.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from disks.errors import DiskError
from disks.image import SECTOR_BYTES, BlockImage

BLOCK_BYTES: Final = 2048
SECTORS_PER_BLOCK: Final = BLOCK_BYTES // SECTOR_BYTES
BOOT_RECORD_BLOCK: Final = 17  # [ET] §2.0
BOOT_RECORD_ID: Final = b"\0CD001\1EL TORITO SPECIFICATION\0"
CATALOG_POINTER: Final = 0x47
VALIDATION_HEADER: Final = 1
VALIDATION_KEY: Final = b"\x55\xaa"
BOOTABLE: Final = 0x88
NO_EMULATION: Final = 0
ENTRY_BYTES: Final = 32
DEFAULT_SEGMENT: Final = 0x07C0


class BootEntry(NamedTuple):
    """The default entry of a boot catalog, [ET] figure 3."""

    media: int
    segment: int
    sectors: int  # of 512 bytes, to load
    block: int  # of 2048 bytes, where the image starts


def blocks(image: BlockImage) -> int:
    """Return the size of a disc in 2048-byte blocks."""
    return image.size_bytes // BLOCK_BYTES


def read_blocks(image: BlockImage, first: int, count: int) -> bytes | None:
    """Return `count` blocks, or None if they are not there or cannot be read."""
    if first < 0 or first + count > blocks(image):
        return None
    try:
        return image.read(first * SECTORS_PER_BLOCK, count * SECTORS_PER_BLOCK)
    except (OSError, DiskError):
        return None


def boot_entry(image: BlockImage) -> BootEntry | None:
    """Return what the disc wants booted, or None if it wants nothing that we can boot."""
    record = read_blocks(image, BOOT_RECORD_BLOCK, 1)
    if record is None or not record.startswith(BOOT_RECORD_ID):
        return None
    catalog = read_blocks(image, struct.unpack_from("<I", record, CATALOG_POINTER)[0], 1)
    if catalog is None or catalog[0] != VALIDATION_HEADER or catalog[30:32] != VALIDATION_KEY:
        return None
    if sum(struct.unpack_from("<16H", catalog)) & 0xFFFF:
        return None
    indicator, media, segment, _type, _unused, sectors, block = struct.unpack_from(
        "<BBHBBHI", catalog, ENTRY_BYTES
    )
    if indicator != BOOTABLE or media & 0x0F != NO_EMULATION:
        return None
    return BootEntry(media, segment or DEFAULT_SEGMENT, sectors, block)
