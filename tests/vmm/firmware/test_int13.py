"""INT 13h: disks."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.firmware.rig import RamDisk, Rig, hard_disk, numbered_disk
from vmm.firmware.geometry import logical_geometry, own_geometry
from vmm.firmware.host import BootDrive, Geometry

SECTORS = 16 * 63 * 2
BUFFER = 0x20000


def disk_rig() -> Rig:
    return Rig([hard_disk(numbered_disk(SECTORS))])


def packet(rig: Rig, count: int, lba: int, size: int = 16) -> None:
    rig.memory.write(0x600, struct.pack("<BBHHHQ", size, 0, count, 0, BUFFER >> 4, lba))


@pytest.mark.parametrize(
    ("megabytes", "expected"),
    [
        (8, Geometry(16, 16, 63)),
        (504, Geometry(1024, 16, 63)),
        (1000, Geometry(1015, 32, 63)),
        (2000, Geometry(1015, 64, 63)),
        (4000, Geometry(1015, 128, 63)),
        (20_000, Geometry(1024, 255, 63)),
    ],
)
def test_geometry_is_translated_as_seabios_does(megabytes: int, expected: Geometry) -> None:
    class Size(RamDisk):
        @property
        def size_bytes(self) -> int:
            return megabytes << 20

        def read(self, lba: int, sectors: int) -> bytes:
            return bytes(sectors * 512)

    assert logical_geometry(hard_disk(Size(bytearray()))) == expected


def test_floppies_have_the_geometry_of_their_size() -> None:
    assert own_geometry(BootDrive(0, "floppy", RamDisk(bytearray(1440 * 1024)))) == Geometry(80, 2, 18)


def test_chs_read_crosses_tracks() -> None:
    rig = disk_rig()
    rig.call(0x13, ax=0x0204, bx=0, cx=0x003E, dx=0x0180, es=BUFFER >> 4)
    assert not rig.carry
    assert (rig.reg("ah"), rig.reg("al")) == (0, 4)
    first = 63 + 61
    assert struct.unpack("<4H", b"".join(rig.memory.read(BUFFER + 512 * n, 2) for n in range(4))) == tuple(
        range(first, first + 4)
    )


def test_chs_write_reaches_the_image() -> None:
    image = numbered_disk(SECTORS)
    rig = Rig([hard_disk(image)])
    rig.memory.write(BUFFER, b"\xa5" * 512)
    rig.call(0x13, ax=0x0301, bx=0, cx=0x0002, dx=0x0080, es=BUFFER >> 4)
    assert not rig.carry
    assert image.data[512:1024] == b"\xa5" * 512


@pytest.mark.parametrize(
    ("registers", "status"),
    [
        ({"ax": 0x0200, "cx": 1, "dx": 0x80}, 0x01),  # no sectors
        ({"ax": 0x0201, "cx": 0, "dx": 0x80}, 0x04),  # there is no sector 0
        ({"ax": 0x0201, "cx": 1, "dx": 0x1080}, 0x04),  # head 16 of 16
        ({"ax": 0x0201, "cx": 0x0201, "dx": 0x80}, 0x04),  # cylinder 2 of 2
        ({"ax": 0x0202, "cx": 0x013F, "dx": 0x0F80}, 0x04),  # past the end
        ({"ax": 0x0201, "cx": 1, "dx": 0x81}, 0x01),  # no such drive
        ({"ax": 0xEE00, "cx": 1, "dx": 0x80}, 0x01),  # no such function
    ],
)
def test_what_cannot_be_done_gives_its_status(registers: dict[str, int], status: int) -> None:
    rig = disk_rig()
    rig.call(0x13, bx=0, es=BUFFER >> 4, **registers)
    assert rig.carry
    assert rig.reg("ah") == status
    rig.call(0x13, ax=0x0100, dx=0x80)
    assert rig.reg("ah") == status


def test_host_failures_become_a_controller_error() -> None:
    image = numbered_disk(SECTORS)
    image.broken = True
    rig = Rig([hard_disk(image)])
    rig.call(0x13, ax=0x0201, bx=0, cx=1, dx=0x80)
    assert rig.reg("ah") == 0x20


def test_read_only_images_are_write_protected() -> None:
    image = numbered_disk(SECTORS)
    image.read_only = True
    rig = Rig([hard_disk(image)])
    rig.call(0x13, ax=0x0301, bx=0, cx=1, dx=0x80)
    assert rig.reg("ah") == 0x03


def test_parameters_give_the_last_cylinder_head_and_sector() -> None:
    rig = Rig([hard_disk(numbered_disk(64), Geometry(700, 15, 17))])
    rig.call(0x13, ax=0x0800, dx=0x80)
    assert (rig.reg("ch"), rig.reg("cl"), rig.reg("dh"), rig.reg("dl")) == (699 & 0xFF, 0x80 | 17, 14, 1)


def test_disk_type_counts_sectors() -> None:
    rig = disk_rig()
    rig.call(0x13, ax=0x1500, dx=0x80)
    assert (rig.reg("ah"), rig.reg("cx"), rig.reg("dx")) == (3, 0, SECTORS)
    assert not rig.carry


def test_disk_that_is_not_there_has_no_type_and_no_count() -> None:
    rig = disk_rig()
    rig.call(0x13, ax=0x1500, cx=0x1234, dx=0x81)
    assert (rig.reg("ah"), rig.reg("cx"), rig.reg("dx")) == (0, 0x1234, 0x81)
    assert not rig.carry


def test_extensions_are_announced_to_who_asks_rightly() -> None:
    rig = disk_rig()
    rig.call(0x13, ax=0x4100, bx=0x55AA, dx=0x80)
    assert (rig.reg("bx"), rig.reg("ah"), rig.reg("cx"), rig.carry) == (0xAA55, 0x30, 5, False)
    rig.call(0x13, ax=0x4100, bx=0, dx=0x80)
    assert rig.carry


def test_packet_read_write_and_verify() -> None:
    image = numbered_disk(SECTORS)
    rig = Rig([hard_disk(image)])
    packet(rig, 2, 100)
    rig.call(0x13, ax=0x4200, dx=0x80, si=0x600, ds=0)
    assert rig.memory.read(BUFFER + 512, 2) == b"\x65\x00"
    packet(rig, 1, 7)
    rig.call(0x13, ax=0x4300, dx=0x80, si=0x600)
    assert image.data[7 * 512] == 100
    rig.call(0x13, ax=0x4400, dx=0x80, si=0x600)
    assert not rig.carry


def test_packet_beyond_the_disk_moves_nothing_and_says_so() -> None:
    rig = disk_rig()
    packet(rig, 2, SECTORS - 1)
    rig.call(0x13, ax=0x4200, dx=0x80, si=0x600, ds=0)
    assert rig.reg("ah") == 0x04
    assert rig.memory.read(0x602, 2) == b"\0\0"


def test_packet_with_a_flat_address_reads_above_1_mib() -> None:
    rig = disk_rig()
    rig.memory.write(0x600, struct.pack("<BBHIQQ", 24, 0, 1, 0xFFFFFFFF, 9, 0x200000))
    rig.call(0x13, ax=0x4200, dx=0x80, si=0x600, ds=0)
    assert rig.memory.read(0x200000, 2) == b"\x09\x00"


def test_extended_parameters_give_size_and_sector_bytes() -> None:
    rig = disk_rig()
    rig.memory.write(0x600, struct.pack("<H", 0x1E) + b"\xee" * 40)
    rig.call(0x13, ax=0x4800, dx=0x80, si=0x600, ds=0)
    size, flags, cylinders, heads, sectors, total, unit = struct.unpack(
        "<HHIIIQH", rig.memory.read(0x600, 26)
    )
    assert (size, flags, cylinders, heads, sectors, total, unit) == (0x1E, 2, 2, 16, 63, SECTORS, 512)
    assert rig.memory.read(0x600 + 0x1E, 1) == b"\xee"


def test_buffers_wrap_where_addresses_do() -> None:
    rig = disk_rig()
    rig.control.values[0] = 0  # A20 off: FFFF:0010 is 0000:0000
    rig.call(0x13, ax=0x0201, bx=0x0810, cx=0x0006, dx=0x80, es=0xFFFF)
    assert rig.memory.read(0x800, 2) == b"\x05\x00"
