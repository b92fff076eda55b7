"""How INT 13h shows a disk in cylinders, heads and sectors: at most 1024, 255 and 63.

Sources: [EDD] BIOS Enhanced Disk Drive Specification 3.0; [SEA] SeaBIOS `src/block.c`, whose
choices disks in the field were partitioned under.
"""

from __future__ import annotations

from typing import Final

from disks.image import SECTOR_BYTES
from vmm.firmware.host import BootDrive, Geometry

MAX_CYLINDERS: Final = 1024
MAX_HEADS: Final = 255
MAX_SECTORS: Final = 63
ATA_MAX_CYLINDERS: Final = 16383
ATA_HEADS: Final = 16
LARGE_LIMIT: Final = 131_072  # cylinders * heads that bit-shift translation can hold
FLOPPIES: Final = {
    size * 1024: Geometry(cylinders, heads, sectors)
    for size, cylinders, heads, sectors in (
        (160, 40, 1, 8), (180, 40, 1, 9), (320, 40, 2, 8), (360, 40, 2, 9),
        (720, 80, 2, 9), (1200, 80, 2, 15), (1440, 80, 2, 18), (2880, 80, 2, 36),
    )
}  # fmt: skip


def own_geometry(drive: BootDrive) -> Geometry:
    """Return the geometry the drive itself reports."""
    if drive.geometry is not None:
        return drive.geometry
    if drive.kind == "floppy":
        return FLOPPIES.get(drive.image.size_bytes, FLOPPIES[1440 * 1024])
    sectors = drive.image.size_bytes // SECTOR_BYTES
    cylinders = sectors // (ATA_HEADS * MAX_SECTORS)
    return Geometry(max(1, min(cylinders, ATA_MAX_CYLINDERS)), ATA_HEADS, MAX_SECTORS)


def logical_geometry(drive: BootDrive) -> Geometry:
    """Return the geometry INT 13h shows: the drive's own, shifted, or made from its size, [SEA]."""
    own = own_geometry(drive)
    if own.cylinders <= MAX_CYLINDERS and own.heads <= ATA_HEADS and own.sectors <= MAX_SECTORS:
        return own
    if own.cylinders * own.heads <= LARGE_LIMIT and own.sectors <= MAX_SECTORS:
        return _shifted(own)
    return _from_size(drive.image.size_bytes // SECTOR_BYTES)


def _shifted(own: Geometry) -> Geometry:
    cylinders, heads = own.cylinders, own.heads
    while cylinders > MAX_CYLINDERS and heads <= MAX_HEADS // 2:
        cylinders, heads = cylinders >> 1, heads << 1
    return Geometry(min(cylinders, MAX_CYLINDERS), heads, own.sectors)


def _from_size(sectors: int) -> Geometry:
    tracks = sectors // MAX_SECTORS
    wanted = tracks // MAX_CYLINDERS
    heads = MAX_HEADS
    for candidate in (128, 64, 32, 16):
        if wanted <= candidate:
            heads = candidate
    return Geometry(max(1, min(tracks // heads, MAX_CYLINDERS)), heads, MAX_SECTORS)
