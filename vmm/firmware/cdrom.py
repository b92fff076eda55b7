"""El Torito: what on a CD-ROM is booted.

The default entry of the boot catalog is taken, if it is for PCs; entries of other sections are not looked at.

Sources: [ET] Phoenix/IBM "El Torito" Bootable CD-ROM Format Specification 1.0.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from disks.errors import HOST_ERRORS
from disks.image import SECTOR_BYTES, BlockImage

BLOCK_BYTES: Final = 2048
SECTORS_PER_BLOCK: Final = BLOCK_BYTES // SECTOR_BYTES
BOOT_RECORD_BLOCK: Final = 17  # [ET] §2.0
BOOT_RECORD_ID: Final = b"\0CD001\1EL TORITO SPECIFICATION\0"
CATALOG_POINTER: Final = 0x47
VALIDATION_HEADER: Final = 1
VALIDATION_KEY: Final = b"\x55\xaa"
PLATFORM_PC: Final = 0
BOOTABLE: Final = 0x88
KNOWN_MEDIA: Final = range(5)  # none, three floppies, a hard disk
ENTRY_BYTES: Final = 32
DEFAULT_SEGMENT: Final = 0x07C0


class BootEntry(NamedTuple):
    """The default entry of a boot catalog, [ET] figure 3, and the first sector of its image."""

    media: int
    segment: int
    sectors: int  # of 512 bytes, to load
    block: int  # of 2048 bytes, where the image starts
    first_sector: bytes


def blocks(image: BlockImage) -> int:
    """Return the size of a disc in 2048-byte blocks."""
    return image.size_bytes // BLOCK_BYTES


def read_blocks(image: BlockImage, first: int, count: int) -> bytes | None:
    """Return `count` blocks, or None if they are not there or cannot be read."""
    if first < 0 or first + count > blocks(image):
        return None
    try:
        return image.read(first * SECTORS_PER_BLOCK, count * SECTORS_PER_BLOCK)
    except HOST_ERRORS:
        return None


def catalog_block(image: BlockImage) -> int | None:
    """Return where the boot catalog is, or None if the disc has no boot record."""
    record = read_blocks(image, BOOT_RECORD_BLOCK, 1)
    if record is None or not record.startswith(BOOT_RECORD_ID):
        return None
    return int.from_bytes(record[CATALOG_POINTER : CATALOG_POINTER + 4], "little")


def boot_entry(image: BlockImage) -> BootEntry | None:
    """Return what the disc wants booted on a PC, or None if it wants nothing that we can boot."""
    place = catalog_block(image)
    catalog = None if place is None else read_blocks(image, place, 1)
    if catalog is None or catalog[:2] != bytes((VALIDATION_HEADER, PLATFORM_PC)):
        return None
    if catalog[30:32] != VALIDATION_KEY or sum(struct.unpack_from("<16H", catalog)) & 0xFFFF:
        return None
    indicator, media, segment, _type, _unused, sectors, block = struct.unpack_from(
        "<BBHBBHI", catalog, ENTRY_BYTES
    )
    first = read_blocks(image, block, 1)
    if indicator != BOOTABLE or media & 0x0F not in KNOWN_MEDIA or first is None:
        return None
    return BootEntry(media, segment or DEFAULT_SEGMENT, sectors, block, first[:SECTOR_BYTES])
