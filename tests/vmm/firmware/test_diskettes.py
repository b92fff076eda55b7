"""INT 13h for floppies: [PTL] "Interrupt 13h", diskette functions."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.vmm.firmware.rig import RamDisk, Rig, numbered_disk
from vmm.firmware.host import BootDrive

BUFFER = 0x20000


@dataclass
class Unit:
    """A drive with a change line."""

    image: RamDisk | None
    changed: bool = True


def floppy(kib: int = 1440, number: int = 0) -> BootDrive:
    return BootDrive(number, "floppy", numbered_disk(kib * 2))


def changeable(image: RamDisk | None) -> tuple[Rig, Unit]:
    unit = Unit(image)
    return Rig([BootDrive(0, "floppy", RamDisk(bytearray()), unit=unit)]), unit


@pytest.mark.parametrize(
    ("kib", "kind", "cylinder", "sector", "table"),
    [
        (360, 1, 39, 9, 9),
        (720, 3, 79, 9, 9),
        (1200, 2, 79, 15, 15),
        (1440, 4, 79, 18, 18),
        (2880, 6, 79, 36, 36),
    ],
)
def test_parameters_give_type_and_shape_and_their_table(
    kib: int, kind: int, cylinder: int, sector: int, table: int
) -> None:
    rig = Rig([floppy(kib)])
    rig.call(0x13, ax=0x0800, dx=0)
    assert (rig.reg("bl"), rig.reg("ch"), rig.reg("cl"), rig.reg("dh"), rig.reg("dl")) == (
        kind, cylinder, sector, 1, 1,
    )  # fmt: skip
    assert rig.es == 0xF000
    parameters = rig.bios.rom[rig.reg("di") :][:11]
    assert (parameters[3], parameters[4]) == (2, table)  # 512 bytes, last sector


def test_read_crosses_heads_and_cylinders() -> None:
    rig = Rig([floppy()])
    rig.call(0x13, ax=0x0203, bx=0, cx=0x0011, dx=0x0100, es=BUFFER >> 4)
    assert not rig.carry
    assert [rig.memory.read(BUFFER + 512 * n, 1)[0] for n in range(3)] == [34, 35, 36]


def test_equipment_and_data_area_count_floppies() -> None:
    rig = Rig([floppy(), floppy(number=1)])
    rig.call(0x11, ax=0)
    assert rig.reg("ax") & 0xC1 == 0x41
    assert Rig().bda.word(0x10) & 0xC1 == 0
    assert (rig.bda.byte(0x8F), rig.bda.byte(0x90)) == (0x77, 0x17)


def test_disk_type_of_a_floppy_has_a_change_line() -> None:
    rig = Rig([floppy()])
    rig.call(0x13, ax=0x1500, dx=0)
    assert (rig.reg("ah"), rig.carry) == (2, False)
    rig.call(0x13, ax=0x1500, dx=1)
    assert (rig.reg("ah"), rig.carry) == (0, False)


def test_changed_disk_is_told_once_and_not_read_then() -> None:
    rig, unit = changeable(numbered_disk(2880))
    assert not unit.changed  # power-on has moved the heads
    unit.changed = True
    rig.call(0x13, ax=0x1600, dx=0)
    assert (rig.reg("ah"), rig.carry) == (6, True)
    rig.call(0x13, ax=0x0201, bx=0, cx=2, dx=0, es=BUFFER >> 4)
    assert (rig.reg("ah"), rig.reg("al"), rig.carry) == (6, 0, True)
    rig.call(0x13, ax=0x0201, bx=0, cx=2, dx=0)
    assert (rig.carry, rig.memory.read(BUFFER, 1)) == (False, b"\x01")
    rig.call(0x13, ax=0x1600, dx=0)
    assert (rig.reg("ah"), rig.carry) == (0, False)


def test_other_disk_has_its_own_shape() -> None:
    rig, unit = changeable(numbered_disk(2880))
    unit.image = numbered_disk(1440)
    rig.call(0x13, ax=0x0800, dx=0)
    assert rig.reg("cl") == 9


def test_empty_drive_times_out() -> None:
    rig, _ = changeable(None)
    for function in (0x0201, 0x0301, 0x0401, 0x0501, 0x1600, 0x1800):
        rig.call(0x13, ax=function, bx=0, cx=1, dx=0, es=BUFFER >> 4)
        assert (rig.reg("ah"), rig.carry) == (0x80, True), hex(function)


def test_format_fills_the_track_with_the_byte_of_the_parameter_table() -> None:
    image = numbered_disk(2880)
    rig = Rig([BootDrive(0, "floppy", image)])
    rig.memory.write(BUFFER, b"".join(bytes((5, 1, sector, 2)) for sector in range(1, 19)))
    rig.call(0x13, ax=0x0512, bx=0, cx=0x0501, dx=0x0100, es=BUFFER >> 4)
    assert not rig.carry
    track = (5 * 2 + 1) * 18 * 512
    assert image.data[track : track + 18 * 512] == b"\xf6" * 18 * 512
    assert image.data[track - 2 : track] == (197).to_bytes(2, "little")
    assert image.data[track + 18 * 512 :][:2] == (216).to_bytes(2, "little")


@pytest.mark.parametrize(
    "field", [(4, 1, 1, 2), (5, 0, 1, 2), (5, 1, 19, 2), (5, 1, 0, 2), (5, 1, 1, 3)],
    ids=["cylinder", "head", "sector 19", "sector 0", "1024 bytes"],
)  # fmt: skip
def test_format_refuses_address_fields_of_another_track(field: tuple[int, ...]) -> None:
    rig = Rig([floppy()])
    rig.memory.write(BUFFER, bytes(field))
    rig.call(0x13, ax=0x0501, bx=0, cx=0x0501, dx=0x0100, es=BUFFER >> 4)
    assert (rig.reg("ah"), rig.carry) == (1, True)


def test_write_protected_disk_cannot_be_formatted_or_written() -> None:
    image = numbered_disk(2880)
    image.read_only = True
    rig = Rig([BootDrive(0, "floppy", image)])
    rig.memory.write(BUFFER, bytes((0, 0, 1, 2)))
    for function in (0x0501, 0x0301):
        rig.call(0x13, ax=function, bx=0, cx=1, dx=0, es=BUFFER >> 4)
        assert (rig.reg("ah"), rig.carry) == (3, True)


def test_media_type_is_accepted_if_it_is_the_disks() -> None:
    rig = Rig([floppy()])
    rig.call(0x13, ax=0x1800, cx=0x4F12, dx=0)
    assert (rig.carry, rig.es) == (False, 0xF000)
    assert rig.bios.rom[rig.reg("di") + 4] == 18
    rig.call(0x13, ax=0x1800, cx=0x4F09, dx=0)
    assert (rig.reg("ah"), rig.carry) == (0x0C, True)
    rig.call(0x13, ax=0x1703, dx=0)
    assert (rig.reg("ah"), rig.carry) == (0x0C, True)


def test_parameters_of_a_drive_that_is_not_there_count_the_others() -> None:
    rig = Rig([floppy()])
    rig.call(0x13, ax=0x0800, dx=1)
    assert (rig.reg("dl"), rig.reg("cx"), rig.carry) == (1, 0, False)


def test_int_40h_is_the_diskette_service() -> None:
    rig = Rig()
    assert rig.memory.read(0x40 * 4, 4) == rig.memory.read(0x13 * 4, 4)
    assert rig.memory.read(0x1E * 4, 4) == bytes.fromhex("c7ef00f0")
