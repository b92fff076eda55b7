"""El Torito emulation: [ET] §2.5, §4."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.firmware.rig import Rig, hard_disk, numbered_disk
from tests.vmm.firmware.test_boot import IMAGE_BLOCK, disc
from vmm.firmware.host import BootDrive

FIRST = IMAGE_BLOCK * 4  # the image's first 512-byte sector
BUFFER = 0x20000
PACKET = 0x600


def emulating(media: int, *others: BootDrive, sectors: int = 1, segment: int = 0) -> Rig:
    """A machine booted from a disc whose sectors hold their numbers."""
    image = disc(media=media, sectors=sectors, segment=segment)
    image.data[FIRST * 512 :] = numbered_disk(12_000).data[FIRST * 512 :]
    if media == 4:  # a partition that ends at 100/15/63
        image.data[FIRST * 512 + 446 : FIRST * 512 + 512] = (
            struct.pack("<B3sB3sII", 0x80, b"\1\1\0", 6, bytes((15, 63, 100)), 63, 2000)
            + bytes(48)
            + b"\x55\xaa"
        )
    rig = Rig([BootDrive(0xE0, "cd", image), *others], boot_order=("cd",))
    rig.call(0x19)
    assert rig.target == ((segment << 4) >> 4 & 0xF000 if segment else 0, (segment << 4 & 0xFFFF) or 0x7C00)
    return rig


def read_first(rig: Rig, drive: int, cx: int, dh: int = 0) -> int:
    rig.call(0x13, ax=0x0201, bx=0, cx=cx, dx=dh << 8 | drive, es=BUFFER >> 4)
    assert not rig.carry
    return int.from_bytes(rig.memory.read(BUFFER, 2), "little")


@pytest.mark.parametrize(("media", "track", "kind"), [(1, 15, 2), (2, 18, 4), (3, 36, 6)])
def test_emulated_floppy_is_drive_0_with_the_shape_of_its_medium(media: int, track: int, kind: int) -> None:
    rig = emulating(media)
    assert rig.reg("dl") == 0
    assert read_first(rig, 0, 0x0001, 1) == FIRST + track
    assert read_first(rig, 0, 0x0102) == FIRST + 2 * track + 1
    rig.call(0x13, ax=0x0800, dx=0)
    assert (rig.reg("bl"), rig.reg("cl"), rig.reg("ch"), rig.reg("dl")) == (kind, track, 79, 1)


def test_emulated_hard_disk_has_the_shape_in_its_partition_table() -> None:
    rig = emulating(4)
    assert rig.reg("dl") == 0x80
    rig.call(0x13, ax=0x0800, dx=0x80)
    assert (rig.reg("ch"), rig.reg("cl"), rig.reg("dh"), rig.reg("dl")) == (100, 63, 15, 1)
    assert read_first(rig, 0x80, 0x0001, 1) == FIRST + 63
    assert rig.bda.byte(0x75) == 1


def test_real_drives_move_up_by_one() -> None:
    rig = emulating(2, BootDrive(0, "floppy", numbered_disk(2880)), hard_disk(numbered_disk(1000)))
    assert read_first(rig, 1, 0x0005) == 4
    assert read_first(rig, 0x80, 0x0003) == 2  # of the other kind: where it was
    assert rig.bda.word(0x10) & 0xC1 == 0x41
    rig.call(0x13, ax=0x0201, dx=2, cx=1, bx=0)
    assert rig.carry
    hd = emulating(4, hard_disk(numbered_disk(1000)))
    assert read_first(hd, 0x81, 0x0003) == 2
    assert hd.bda.byte(0x75) == 2


def test_nothing_can_be_written() -> None:
    rig = emulating(2)
    rig.call(0x13, ax=0x0301, bx=0, cx=1, dx=0, es=BUFFER >> 4)
    assert (rig.reg("ah"), rig.carry) == (3, True)


def test_status_tells_what_is_emulated_and_ends_it() -> None:
    rig = emulating(2, BootDrive(0, "floppy", numbered_disk(2880)))
    rig.call(0x13, ax=0x4B01, dx=0, si=PACKET, ds=0)
    packet = struct.pack("<BBBBIHHHHBBB", 19, 2, 0, 0, IMAGE_BLOCK, 0, 0, 0x7C0, 1, 79, 18, 1)
    assert rig.memory.read(PACKET, 19) == packet
    assert read_first(rig, 0, 1) == FIRST
    rig.call(0x13, ax=0x4B00, dx=0, si=PACKET, ds=0)
    assert (rig.carry, rig.memory.read(PACKET, 19)) == (False, packet)
    assert read_first(rig, 0, 0x0003) == 2
    assert rig.bda.word(0x10) & 0xC1 == 0x01


def test_caller_can_start_an_emulation() -> None:
    rig = Rig([BootDrive(0xE0, "cd", disc())])
    packet = struct.pack("<BBBBIHHHHBBB", 19, 2, 0, 0, IMAGE_BLOCK, 0, 0, 0, 1, 79, 18, 1)
    rig.memory.write(PACKET, packet)
    rig.call(0x13, ax=0x4A00, dx=0xE0, si=PACKET, ds=0)
    assert not rig.carry
    assert read_first(rig, 0, 1) == 0x9090
    rig.memory.write(PACKET, packet)
    rig.call(0x13, ax=0x4C00, dx=0xE0, si=PACKET, ds=0)
    assert (rig.target, rig.reg("dl"), rig.memory.read(0x7C00, 1)) == ((0, 0x7C00), 0, b"\x90")


@pytest.mark.parametrize(
    "packet", [b"\x12" + bytes(18), b"\x13\x02" + bytes(17), b"\x13\x04\x80" + b"\xff" * 16]
)
def test_packets_that_make_no_sense_are_refused(packet: bytes) -> None:
    rig = Rig([BootDrive(0xE0, "cd", disc())])
    rig.memory.write(PACKET, packet)
    for function in (0x4A00, 0x4C00):
        rig.call(0x13, ax=function, dx=0xE0, si=PACKET, ds=0)
        assert (rig.reg("ah"), rig.carry) == (1, True)


def test_catalog_can_be_read() -> None:
    rig = Rig([BootDrive(0xE0, "cd", disc())])
    rig.memory.write(PACKET, struct.pack("<BBIH", 8, 1, 0x2000_0000, 0))
    rig.call(0x13, ax=0x4D00, dx=0xE0, si=PACKET, ds=0)
    assert not rig.carry
    assert rig.memory.read(BUFFER, 1) + rig.memory.read(BUFFER + 30, 2) == b"\x01\x55\xaa"


def test_disc_for_another_platform_is_not_booted() -> None:
    image = disc()
    image.data[19 * 2048 + 1] = 0xEF  # EFI
    image.data[19 * 2048 + 29] = (image.data[19 * 2048 + 29] - 0xEF) & 0xFF
    rig = Rig([BootDrive(0xE0, "cd", image)])
    rig.call(0x19)
    assert rig.reasons == ["no bootable device (cd E0h: no El Torito boot entry for a PC)"]


def test_hard_disk_image_without_partitions_is_not_booted() -> None:
    image = disc(media=4)
    image.data[FIRST * 512 : FIRST * 512 + 512] = bytes(512)
    rig = Rig([BootDrive(0xE0, "cd", image)])
    rig.call(0x19)
    assert "emulates is not told" in rig.reasons[0]
