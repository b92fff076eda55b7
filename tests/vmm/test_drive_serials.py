"""Serial numbers of hard disks: what a guest reads by IDENTIFY DEVICE and INQUIRY, wherever one hangs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from devices.backplane import IrqLine
from devices.ide import commands as ata
from devices.ide import registers as r
from devices.ide.channel import IdeChannel
from devices.scsi.inquiry import IDENTIFICATION, SERIAL_NUMBER
from disks.open import open_image
from disks.vhd.fixed import FixedVhd
from disks.vhd.sparse import SparseVhd
from tests.disks.conftest import make_child, make_vhd  # noqa: F401 - a fixture
from vmm.config import DriveConfig, MachineConfig
from vmm.drive_serials import DiskFile, serial_numbers
from vmm.power_on import Drives
from vmm.scsi_config import AdapterKind, ScsiAdapter, ScsiDrive

MakeVhd = Callable[..., Path]
SIZE = 3 << 20
MODEL_BYTES = 24  # vendor and product before the serial number in page 83h


@pytest.fixture(params=["dynamic", "fixed", "raw"])
def disk(request: pytest.FixtureRequest, tmp_path: Path, make_vhd: MakeVhd) -> Path:  # noqa: F811
    if request.param != "raw":
        return make_vhd(SIZE, fixed=request.param == "fixed")
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(SIZE))
    return path


def identify(drives: Drives, place: int = 0) -> str:
    """The serial number of an IDE disk."""
    channel = IdeChannel("ide0", IrqLine(lambda level: None))
    channel.attach(0, drives.by_place[place])
    ports = channel.command_bank
    ports.write(r.DEVICE, 1, 0)
    ports.write(r.COMMAND, 1, ata.IDENTIFY_DEVICE)
    words = [ports.read(r.DATA, 2) for _ in range(256)]
    return b"".join(word.to_bytes(2, "big") for word in words[10:20]).decode().strip()


def inquire(drives: Drives, target: int = 0) -> str:
    """The serial number of a SCSI disk of the first adapter; both pages say the same."""
    unit = drives.adapters[0].targets[target]
    pages = []
    for page in (SERIAL_NUMBER, IDENTIFICATION):
        task = unit.start(0, bytes((0x12, 1, page, 0, 255, 0)))
        pages.append(task.give(255)[4:])
    assert pages[1][4 + MODEL_BYTES :] == pages[0]
    return pages[0].decode()


def on_ide(path: Path, **options: bool) -> str:
    return read(MachineConfig(hd=(DriveConfig(path=str(path), **options),)), identify)


def read(config: MachineConfig, ask: Callable[..., str], *which: int) -> str:
    drives = Drives(config.check())
    try:
        return ask(drives, *which)
    finally:
        drives.close()


@pytest.mark.parametrize("kind", ["aic7870", "virtio"])
@pytest.mark.parametrize("number", [0, 3])
def test_a_disk_keeps_its_number_when_it_moves(disk: Path, kind: AdapterKind, number: int) -> None:
    scsi = MachineConfig(scsi_adapters=(ScsiAdapter(kind),), scsi_hd=(ScsiDrive(path=str(disk), id=number),))
    assert read(scsi, inquire, number) == on_ide(disk)
    slave = MachineConfig(hd=(DriveConfig(path=str(disk), index=3),))
    assert read(slave, identify, 3) == on_ide(disk)


def test_a_number_fits_identify_device_whole(disk: Path) -> None:
    """Words 10-19, [ATA-6] table 27: it must not be cut, or two might look the same."""
    (number,) = serial_numbers([DiskFile(disk, None)])
    assert on_ide(disk)[:2] == "TL"
    assert len(on_ide(disk)) == len(number) <= 20
    assert number.isalnum()


def test_a_vhds_number_is_in_its_footer_and_not_in_its_name(make_vhd: MakeVhd) -> None:  # noqa: F811
    first = make_vhd(SIZE, name="first.vhd")
    before = on_ide(first)
    assert on_ide(first.rename(first.with_name("renamed.vhd"))) == before
    assert on_ide(make_vhd(SIZE, name="first.vhd")) != before


def test_a_child_is_another_disk_than_its_parent(make_vhd: MakeVhd, tmp_path: Path) -> None:  # noqa: F811
    parent = make_vhd(SIZE)
    children = [make_child(tmp_path / f"child{number}.vhd", parent) for number in range(2)]
    assert len({on_ide(parent, read_only=True), *map(on_ide, children)}) == 3


def test_a_snapshot_and_an_undo_disk_are_the_disk(make_vhd: MakeVhd) -> None:  # noqa: F811
    disk = make_vhd(SIZE)
    plain = on_ide(disk)
    assert on_ide(disk, snapshot=True) == plain
    undo = MachineConfig(hd=(DriveConfig(path=str(disk)),), undo="ask")
    assert read(undo, identify) == plain
    assert read(undo, identify) == plain  # the undo disk is there now


def test_disks_of_one_machine_have_numbers_of_their_own(make_vhd: MakeVhd, tmp_path: Path) -> None:  # noqa: F811
    """A copy of a VHD has its identity, and two files in two folders may have one name."""
    disk = make_vhd(SIZE)
    copy = Path(shutil.copy(disk, tmp_path / "copy.vhd"))
    other = make_vhd(SIZE, name="other.vhd")
    raws = [tmp_path / folder / "disk.raw" for folder in "ab"]
    for raw in raws:
        raw.parent.mkdir()
        raw.write_bytes(bytes(SIZE))
    ide = tuple(DriveConfig(path=str(path)) for path in (disk, raws[0]))
    scsi = tuple(ScsiDrive(path=str(path)) for path in (copy, other, raws[1]))
    config = MachineConfig(hd=ide, scsi_hd=scsi).check()
    drives = Drives(config)
    numbers = [identify(drives, 0), identify(drives, 1), *(inquire(drives, at) for at in range(3))]
    drives.close()
    assert len(set(numbers)) == len(numbers)
    assert numbers[3] == on_ide(other)  # what is unlike all others is as it is elsewhere
    moved = msgspec.structs.replace(config, hd=(DriveConfig(path=str(copy)), ide[1]), scsi_hd=scsi[1:])
    moved = msgspec.structs.replace(moved, scsi_hd=(ScsiDrive(path=str(disk)), *moved.scsi_hd)).check()
    drives = Drives(moved)
    assert [identify(drives, 0), inquire(drives, 0)] == [numbers[2], numbers[0]]  # they changed places
    drives.close()


def test_the_footers_identity_is_what_counts(disk: Path) -> None:
    image = open_image(disk, read_only=True)
    unique_id = image.footer.unique_id if isinstance(image, FixedVhd | SparseVhd) else None
    image.close()
    assert serial_numbers([DiskFile(disk, unique_id)]) == [on_ide(disk)]
