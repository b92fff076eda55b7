"""The geometry of a disk follows what is on it."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.firmware.rig import RamDisk, Rig, hard_disk
from vmm.firmware.geometry import logical_geometry, shape_of
from vmm.firmware.host import Geometry

MIB = 2048  # sectors


class Disk(RamDisk):
    """A disk of which only the first sectors hold something."""

    def __init__(self, sectors: int, head: bytes) -> None:
        super().__init__(bytearray(head))
        self._sectors = sectors

    @property
    def size_bytes(self) -> int:
        return self._sectors * 512

    def read(self, lba: int, sectors: int) -> bytes:
        self.reads = getattr(self, "reads", 0) + 1
        return bytes(self.data[lba * 512 : (lba + sectors) * 512]).ljust(sectors * 512, b"\0")


def chs(lba: int, heads: int, sectors: int) -> bytes:
    cylinder, rest = divmod(lba, heads * sectors)
    head, sector = divmod(rest, sectors)
    if cylinder > 1023:
        cylinder, head, sector = 1023, heads - 1, sectors - 1
    return bytes((head, sector + 1 | cylinder >> 2 & 0xC0, cylinder & 0xFF))


def partitioned(shape: tuple[int, int], first: int, length: int, total: int, kind: int = 6) -> Disk:
    table = struct.pack(
        "<B3sB3sII", 0x80, chs(first, *shape), kind, chs(first + length - 1, *shape), first, length
    )
    return Disk(total, bytes(446) + table + bytes(48) + b"\x55\xaa")


@pytest.mark.parametrize("shape", [(15, 17), (16, 63), (32, 63), (64, 63), (128, 63), (240, 63), (255, 63)])
def test_partition_aligned_to_tracks_and_cylinders_tells_its_geometry(shape: tuple[int, int]) -> None:
    heads, sectors = shape
    cylinder = heads * sectors
    disk = partitioned(shape, sectors, 500 * cylinder - sectors, 600 * cylinder)
    assert logical_geometry(hard_disk(disk)) == Geometry(600, heads, sectors)


def test_partition_aligned_to_mebibytes_tells_it_too() -> None:
    disk = partitioned((255, 63), 2048, 3000 * MIB - 2048, 4000 * MIB)
    assert logical_geometry(hard_disk(disk)) == Geometry(509, 255, 63)


def test_partition_beyond_the_last_cylinder_has_the_heads_of_its_last_mark() -> None:
    disk = partitioned((255, 63), 63, 20_000 * MIB, 20_001 * MIB)
    assert logical_geometry(hard_disk(disk)) == Geometry(1024, 255, 63)


def test_boot_record_decides_where_the_table_allows_several() -> None:
    disk = partitioned((16, 63), 1, 10, 100 * MIB)
    record = bytearray(b"\xeb\x3c\x90".ljust(510, b"\0") + b"\x55\xaa")
    struct.pack_into("<H", record, 11, 512)
    struct.pack_into("<HH", record, 24, 32, 64)
    disk.data[512:1024] = record
    assert shape_of(disk) == (64, 32)


def test_disk_without_partitions_has_the_geometry_of_its_boot_record() -> None:
    record = bytearray(b"\xeb\x3c\x90".ljust(510, b"\0") + b"\x55\xaa")
    struct.pack_into("<H", record, 11, 512)
    struct.pack_into("<HH", record, 24, 32, 64)
    assert logical_geometry(hard_disk(Disk(64 * 32 * 77, bytes(record)))) == Geometry(77, 64, 32)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x55\xaa".rjust(512, b"\0"),
        partitioned((16, 63), 63, 1000, 2000, kind=0xEE).data,
        b"\xff" * 510 + b"\x55\xaa",
        partitioned((16, 63), 63, 1000, 2000).data[:454] + b"\x99" * 56 + b"\x55\xaa",
        bytes(446) + struct.pack("<B3xB3xII", 0x80, 6, 63, 1000) + bytes(48) + b"\x55\xaa",
    ],
    ids=["empty", "no table", "GPT", "code", "table that contradicts itself", "table of LBAs only"],
)
def test_disk_that_tells_nothing_gets_the_drives_geometry(head: bytes) -> None:
    disk = Disk(100 * 16 * 63, bytes(head))
    assert shape_of(disk) is None
    assert logical_geometry(hard_disk(disk)) == Geometry(100, 16, 63)


def test_geometry_is_that_of_power_on_until_the_next_one() -> None:
    disk = partitioned((16, 63), 63, 1008 * 50 - 63, 1008 * 100)
    rig = Rig([hard_disk(disk)])
    disk.data[:] = partitioned((32, 63), 63, 2016 * 40 - 63, 1008 * 100).data
    rig.call(0x13, ax=0x0800, dx=0x80)
    assert rig.reg("dh") == 15
    rig.call(0xF0)
    rig.call(0x13, ax=0x0800, dx=0x80)
    assert rig.reg("dh") == 31


def test_disk_tables_behind_int_41h_hold_the_translation() -> None:
    disk = partitioned((255, 63), 63, 255 * 63 * 60 - 63, 255 * 63 * 100)
    rig = Rig([hard_disk(disk)])
    offset, segment = struct.unpack("<HH", rig.memory.read(0x41 * 4, 4))
    table = rig.memory.read(segment * 16 + offset, 16)
    assert sum(table) & 0xFF == 0
    cylinders, heads, mark, sectors = struct.unpack_from("<HBBB", table)
    assert (cylinders, heads, mark, sectors) == (100, 255, 0xA0, 63)
    assert struct.unpack_from("<HB", table, 9) == (1593, 16)
    assert table[14] == 63
