"""El Torito emulation: part of a disc that INT 13h shows as a floppy or a hard disk.

What is emulated is kept in the EBDA, as the specification packet of [ET] figure 4 and the number of
the CD-ROM drive, so that memory is the firmware's whole state. Other drives of the kind move up by one.

Sources: [ET] Phoenix/IBM "El Torito" Bootable CD-ROM Format Specification 1.0, §2, §4.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from disks.errors import ReadOnlyError
from disks.image import SECTOR_BYTES, BlockImage, check_range
from vmm.firmware import cdrom, ebda
from vmm.firmware.cdrom import BootEntry
from vmm.firmware.ebda import Ebda
from vmm.firmware.geometry import MAX_CYLINDERS, MAX_HEADS
from vmm.firmware.host import BootDrive, DriveKind, Geometry

NO_EMULATION: Final = 0
FLOPPY_SHAPES: Final = {1: Geometry(80, 2, 15), 2: Geometry(80, 2, 18), 3: Geometry(80, 2, 36)}
HARD_DISK: Final = 4
FIRST_HARD_DISK: Final = 0x80
MEDIA_MASK: Final = 0x0F
PACKET: Final = struct.Struct("<BBBBIHHHHBBB")
PARTITION_KIND: Final = 450  # of the first partition: type, last CHS


class Packet(NamedTuple):
    """The specification packet, [ET] figure 4."""

    size: int
    media: int
    number: int  # that INT 13h gives the emulated drive; of the CD-ROM drive without emulation
    controller: int
    block: int
    device: int
    buffer_segment: int
    load_segment: int
    sectors: int
    low_cylinder: int
    sector: int  # and the high bits of the cylinder
    head: int

    def pack(self) -> bytes:
        """Return the packet as callers get it."""
        return PACKET.pack(*self)


class DiscSlice:
    """Sectors of a disc as a disk of their own; read-only. What the disc lacks reads as zeros."""

    read_only = True

    def __init__(self, disc: BlockImage, first: int, sectors: int) -> None:
        self._disc, self._first = disc, first
        self.size_bytes = sectors * SECTOR_BYTES

    def read(self, lba: int, sectors: int) -> bytes:
        """Return sectors."""
        check_range(self.size_bytes, lba, sectors)
        there = max(0, min(sectors, self._disc.size_bytes // SECTOR_BYTES - self._first - lba))
        data = self._disc.read(self._first + lba, there) if there else b""
        return data.ljust(sectors * SECTOR_BYTES, b"\0")

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        """Refuse."""
        raise ReadOnlyError(f"sector {lba} ({len(data)} bytes) of an emulated disk")

    def flush(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """The disc belongs to its drive."""


def packet_for(entry: BootEntry, number: int) -> Packet:
    """Return the packet for a boot entry of the disc in drive `number`."""
    media = entry.media & MEDIA_MASK
    shape = shape_of(entry)
    shown = number if media == NO_EMULATION else FIRST_HARD_DISK if media == HARD_DISK else 0
    chs = (0, 0, 0)
    if shape is not None:
        last = shape.cylinders - 1
        chs = (last & 0xFF, shape.sectors | last >> 2 & 0xC0, shape.heads - 1)
    return Packet(PACKET.size, entry.media, shown, 0, entry.block, 0, 0, entry.segment, entry.sectors, *chs)


def shape_of(entry: BootEntry) -> Geometry | None:
    """Return the shape of what a boot entry emulates; a hard disk's is in its own partition table."""
    media = entry.media & MEDIA_MASK
    if media != HARD_DISK:
        return FLOPPY_SHAPES.get(media)
    head, sector, low = entry.first_sector[PARTITION_KIND + 1 : PARTITION_KIND + 4]
    if not sector & 0x3F or head >= MAX_HEADS:
        return None
    return Geometry((low | (sector & 0xC0) << 2) + 1, head + 1, sector & 0x3F)


class Emulation:
    """The emulation that is on, if one is."""

    def __init__(self, area: Ebda) -> None:
        self._ebda = area

    @property
    def cd_number(self) -> int:
        """The number of the CD-ROM drive whose disc is shown; 0: none is."""
        return self._ebda.byte(ebda.EMULATION + PACKET.size)

    @property
    def packet(self) -> Packet:
        """What was started last."""
        return Packet(*PACKET.unpack(self._ebda.read(ebda.EMULATION, PACKET.size)))

    def start(self, packet: Packet, cd_number: int) -> None:
        """Show what `packet` describes, on the disc in drive `cd_number`."""
        self._ebda.write(ebda.EMULATION, packet.pack() + bytes((cd_number,)))

    def stop(self) -> None:
        """Show the real drives only."""
        self._ebda.set_byte(ebda.EMULATION + PACKET.size, 0)

    def drive(self, disc: BlockImage) -> BootDrive | None:
        """Return the emulated drive on `disc`; None if the packet makes no sense."""
        packet = self.packet
        last = packet.low_cylinder | (packet.sector & 0xC0) << 2
        shape = Geometry(last + 1, packet.head + 1, packet.sector & 0x3F)
        if not shape.sectors or shape.heads > MAX_HEADS or shape.cylinders > MAX_CYLINDERS:
            return None
        total = shape.cylinders * shape.heads * shape.sectors
        image = DiscSlice(disc, packet.block * cdrom.SECTORS_PER_BLOCK, total)
        kind: DriveKind = "hd" if packet.number & FIRST_HARD_DISK else "floppy"
        return BootDrive(packet.number & FIRST_HARD_DISK, kind, image, shape, shape)
