"""INT 13h 41h-4Eh: [EDD] BIOS Enhanced Disk Drive Specification 3.0."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.firmware.rig import RamDisk, Rig, numbered_disk
from vmm.firmware.host import BootDrive, ScsiPlace

SECTORS = 16 * 63 * 2
RESULT = 0x600


def rig_with(*drives: BootDrive) -> Rig:
    return Rig(drives or [BootDrive(0x80, "hd", numbered_disk(SECTORS), place=1), cd()])


def cd(number: int = 0xE0) -> BootDrive:
    return BootDrive(number, "cd", RamDisk(bytearray(20 * 2048)), place=2)


def parameters(rig: Rig, drive: int, room: int) -> bytes:
    rig.memory.write(RESULT, struct.pack("<H", room) + b"\xee" * 0x60)
    rig.call(0x13, ax=0x4800, dx=drive, si=RESULT, ds=0)
    return rig.memory.read(RESULT, 0x60)


def test_subsets_offer_removal_for_discs_only() -> None:
    rig = rig_with()
    for drive, subsets in ((0x80, 5), (0xE0, 7)):
        rig.call(0x13, ax=0x4100, bx=0x55AA, dx=drive)
        assert (rig.reg("bx"), rig.reg("ah"), rig.reg("cx"), rig.carry) == (0xAA55, 0x30, subsets, False)


def test_floppies_have_no_extensions() -> None:
    rig = rig_with(BootDrive(0, "floppy", numbered_disk(2880)))
    rig.call(0x13, ax=0x4100, bx=0x55AA, dx=0)
    assert (rig.reg("ah"), rig.carry) == (1, True)


@pytest.mark.parametrize(
    ("room", "size"),
    [(0x1A, 0x1A), (0x1D, 0x1A), (0x1E, 0x1E), (0x41, 0x1E), (0x42, 0x42), (0x49, 0x42), (0x4A, 0x4A)],
)
def test_result_is_as_long_as_there_is_room_for(room: int, size: int) -> None:
    result = parameters(rig_with(), 0x80, room)
    assert int.from_bytes(result[:2], "little") == size
    assert result[size : size + 2] == b"\xee\xee"


def test_no_room_is_an_error() -> None:
    rig = rig_with()
    parameters(rig, 0x80, 0x19)
    assert (rig.reg("ah"), rig.carry) == (1, True)


def test_controller_table_names_ports_unit_and_interrupt() -> None:
    rig = rig_with()
    offset, segment = struct.unpack_from("<HH", parameters(rig, 0x80, 0x1E), 0x1A)
    table = rig.memory.read(segment * 16 + offset, 16)
    ports, control, head, _, irq = struct.unpack_from("<HHBBB", table)
    assert (ports, control, head, irq, sum(table) & 0xFF) == (0x1F0, 0x3F6, 0xF0, 14, 0)


@pytest.mark.parametrize("room", [0x42, 0x4A])
def test_device_path_leads_to_the_ide_function_and_the_unit(room: int) -> None:
    for drive, interface, channel, unit in ((0x80, b"ATA     ", 0, 1), (0xE0, b"ATAPI   ", 1, 0)):
        path = parameters(rig_with(), drive, room)[0x1E:room]
        key, length = struct.unpack_from("<HB", path)
        assert (key, length, sum(path) & 0xFF) == (0xBEDD, room - 0x1E, 0)
        assert path[6:18] == b"PCI " + interface
        assert path[18:22] == bytes((0, 1, 1, channel))
        assert path[26] == unit


@pytest.mark.parametrize("room", [0x42, 0x4A])
def test_device_path_leads_to_the_scsi_adapter_id_and_unit(room: int) -> None:
    scsi = BootDrive(0x80, "hd", numbered_disk(SECTORS), scsi=ScsiPlace(slot=4, target=9, lun=2))
    result = parameters(rig_with(scsi), 0x80, room)
    path = result[0x1E:room]
    assert (path[:3], sum(path) & 0xFF) == (bytes((0xDD, 0xBE, room - 0x1E)), 0)
    assert path[6:22] == b"PCI SCSI    " + bytes((0, 4, 0, 0))
    assert path[26:-2] == struct.pack("<HQ", 9, 2).ljust(16, b"\0")[: room - 0x3A]
    assert result[0x1A:0x1E] == b"\xff" * 4  # no table of ATA registers


def test_disc_counts_blocks_of_2048_bytes_and_has_no_geometry() -> None:
    result = parameters(rig_with(), 0xE0, 0x1A)
    flags, cylinders, heads, sectors, total, size = struct.unpack_from("<HIIIQH", result, 2)
    assert (flags, cylinders, heads, sectors, total, size) == (0x74, *(0xFFFFFFFF,) * 3, 20, 2048)


def test_locks_are_counted() -> None:
    rig = rig_with()
    for function, answer in (
        (0x4502, (0, 0)),
        (0x4500, (0, 1)),
        (0x4500, (0, 1)),
        (0x4501, (0, 1)),
        (0x4501, (0, 0)),
    ):
        rig.call(0x13, ax=function, dx=0xE0)
        assert (rig.reg("ah"), rig.reg("al")) == answer
    rig.call(0x13, ax=0x4501, dx=0xE0)
    assert (rig.reg("ah"), rig.carry) == (0xB0, True)


def test_locked_tray_and_fixed_disk_refuse_to_eject() -> None:
    rig = rig_with()
    for drive, lock, status in ((0xE0, False, 0xB5), (0xE0, True, 0xB1), (0x80, False, 0xB2)):
        if lock:
            rig.call(0x13, ax=0x4500, dx=drive)
        rig.call(0x13, ax=0x4600, dx=drive)
        assert (rig.reg("ah"), rig.carry) == (status, True)


def test_seek_and_hardware_settings_succeed() -> None:
    rig = rig_with()
    rig.memory.write(RESULT, struct.pack("<BBHHHQ", 16, 0, 0, 0, 0, 5))
    for function in (0x4700, 0x4E06, 0x4900):
        rig.call(0x13, ax=function, dx=0x80, si=RESULT, ds=0)
        assert not rig.carry, hex(function)


def test_packets_beyond_127_blocks_are_refused() -> None:
    rig = rig_with()
    rig.memory.write(RESULT, struct.pack("<BBHHHQ", 16, 0, 128, 0, 0x2000, 0))
    rig.call(0x13, ax=0x4200, dx=0x80, si=RESULT, ds=0)
    assert (rig.reg("ah"), rig.carry) == (1, True)
