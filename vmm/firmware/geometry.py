"""How INT 13h shows a disk in cylinders, heads and sectors: at most 1024, 255 and 63.

A disk keeps the geometry it was partitioned and formatted under, whatever controller it is on: the
partition table and the boot record in the image are asked first. A disk that says nothing gets the
drive's own geometry, translated as BIOSes do.

Sources: [EDD] BIOS Enhanced Disk Drive Specification 3.0; [SEA] SeaBIOS `src/block.c`, whose
choices disks in the field were partitioned under; [MBR] Microsoft, "Basic Disks": the partition
table; [FAT] Microsoft FAT specification, "BPB".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from disks.errors import HOST_ERRORS
from disks.image import SECTOR_BYTES, BlockImage
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
        (160, 40, 1, 8), (180, 40, 1, 9), (320, 40, 2, 8), (360, 40, 2, 9), (720, 80, 2, 9),
        (1200, 80, 2, 15), (1440, 80, 2, 18), (1680, 80, 2, 21), (1722, 82, 2, 21), (2880, 80, 2, 36),
    )
}  # fmt: skip

BOOT_SIGNATURE: Final = b"\x55\xaa"
PARTITION_TABLE: Final = 446
PARTITIONS: Final = 4
PARTITION: Final = struct.Struct("<B3sB3sII")
STATUSES: Final = (0x00, 0x80)
TYPE_PROTECTIVE: Final = 0xEE  # GPT: its CHS fields mean nothing
BPB_SECTOR_BYTES: Final = 11
BPB_TRACK: Final = 24  # sectors a track, then heads
JUMPS: Final = (0xEB, 0xE9)

Shape = tuple[int, int]  # heads, sectors a track


class _Mark(NamedTuple):
    """One sector that the partition table addresses both ways."""

    lba: int
    cylinder: int
    head: int
    sector: int


def own_geometry(drive: BootDrive) -> Geometry:
    """Return the geometry the drive itself reports."""
    if drive.geometry is not None:
        return drive.geometry
    image = drive.medium
    size = 0 if image is None else image.size_bytes
    if drive.kind == "floppy":
        return FLOPPIES.get(size, FLOPPIES[1440 * 1024])
    cylinders = size // SECTOR_BYTES // (ATA_HEADS * MAX_SECTORS)
    return Geometry(max(1, min(cylinders, ATA_MAX_CYLINDERS)), ATA_HEADS, MAX_SECTORS)


def logical_geometry(drive: BootDrive) -> Geometry:
    """Return the geometry INT 13h shows: what the image says, else the drive's own, translated, [SEA]."""
    if drive.logical is not None:
        return drive.logical
    own = own_geometry(drive)
    if drive.kind == "floppy":
        return own
    shape = shape_of(drive.image)
    if shape is not None:
        return with_shape(drive, shape)
    if own.cylinders <= MAX_CYLINDERS and own.heads <= ATA_HEADS and own.sectors <= MAX_SECTORS:
        return own
    if own.cylinders * own.heads <= LARGE_LIMIT and own.sectors <= MAX_SECTORS:
        return _shifted(own)
    return _from_size(drive.image.size_bytes // SECTOR_BYTES)


def with_shape(drive: BootDrive, shape: Shape) -> Geometry:
    """Return the geometry of a disk whose heads and sectors are known."""
    own = own_geometry(drive)
    if shape == (own.heads, own.sectors):
        return Geometry(min(own.cylinders, MAX_CYLINDERS), *shape)
    heads, sectors = shape
    cylinders = drive.image.size_bytes // SECTOR_BYTES // (heads * sectors)
    return Geometry(max(1, min(cylinders, MAX_CYLINDERS)), heads, sectors)


def shape_of(image: BlockImage) -> Shape | None:
    """Return the heads and sectors a disk's own contents were written for, or None if they do not tell."""
    sector = _sector(image, 0)
    if sector is None or sector[-2:] != BOOT_SIGNATURE:
        return None
    partitions = _partitions(sector)
    if not partitions:
        return _bpb_shape(sector)
    marks = [mark for entry in partitions for mark in _marks(entry)]
    if not any(mark.sector for mark in marks):
        return None  # LBAs only
    shapes = [
        (heads, sectors)
        for heads in range(max(mark.head for mark in marks) + 1, MAX_HEADS + 1)
        for sectors in range(max(mark.sector for mark in marks), MAX_SECTORS + 1)
        if all(_fits(mark, heads, sectors) for mark in marks)
    ]
    return _choose(image, partitions, marks, shapes)


def _choose(
    image: BlockImage, partitions: list[tuple[int, ...]], marks: list[_Mark], shapes: list[Shape]
) -> Shape | None:
    """Of shapes that agree with the table take a boot record's, else that of ends at a cylinder's end."""
    if len(shapes) > 1:
        records = [_sector(image, entry[3]) for entry in partitions]
        wanted = [None if record is None else _bpb_shape(record) for record in records]
        wanted.append((max(mark.head for mark in marks) + 1, max(mark.sector for mark in marks)))
        for shape in wanted:
            if shape in shapes:
                return shape
        return None
    return shapes[0] if shapes else None


def _sector(image: BlockImage, lba: int) -> bytes | None:
    if (lba + 1) * SECTOR_BYTES > image.size_bytes:
        return None
    try:
        return bytes(image.read(lba, 1))
    except HOST_ERRORS:
        return None


def _partitions(sector: bytes) -> list[tuple[int, ...]]:
    """Return (start CHS, type, end CHS, first LBA, length) of each partition; none if this is no table."""
    found: list[tuple[int, ...]] = []
    for status, start, kind, end, first, length in PARTITION.iter_unpack(
        sector[PARTITION_TABLE : PARTITION_TABLE + PARTITIONS * PARTITION.size]
    ):
        if status not in STATUSES or kind == TYPE_PROTECTIVE:
            return []
        if kind and first and length:
            found.append((int.from_bytes(start), kind, int.from_bytes(end), first, length))
    return found


def _marks(entry: tuple[int, ...]) -> Iterator[_Mark]:
    """Return the first and the last sector of a partition, so far as it has CHS addresses."""
    start, _kind, end, first, length = entry
    for packed, lba in ((start, first), (end, first + length - 1)):
        head, sector, low = packed.to_bytes(3)
        yield _Mark(lba, low | (sector & 0xC0) << 2, head, sector & 0x3F)


def _fits(mark: _Mark, heads: int, sectors: int) -> bool:
    """Whether a mark means its LBA; one that CHS cannot reach has the highest cylinder, or nothing."""
    if mark.lba >= (MAX_CYLINDERS - 1) * heads * sectors and mark.cylinder == MAX_CYLINDERS - 1:
        return True
    if not mark.sector:
        return mark.lba >= MAX_CYLINDERS * heads * sectors
    return (mark.cylinder * heads + mark.head) * sectors + mark.sector - 1 == mark.lba


def _bpb_shape(sector: bytes) -> Shape | None:
    """Return what the BIOS parameter block of a FAT boot record says, if there is one."""
    if sector[0] not in JUMPS or sector[-2:] != BOOT_SIGNATURE:
        return None
    (sector_bytes,) = struct.unpack_from("<H", sector, BPB_SECTOR_BYTES)
    sectors, heads = struct.unpack_from("<HH", sector, BPB_TRACK)
    if sector_bytes != SECTOR_BYTES or not 1 <= sectors <= MAX_SECTORS or not 1 <= heads <= MAX_HEADS:
        return None
    return heads, sectors


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
