"""How the images behind a machine's drives are opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from disks.errors import ImageBusyError
from vmm.config import DriveConfig, MachineConfig, is_floppy_size
from vmm.errors import ConfigError
from vmm.power_on import (
    CMOS_BOOT_FLAG1,
    CMOS_BOOT_FLAG2,
    CMOS_EQUIPMENT,
    CMOS_FLOPPY_TYPES,
    Drives,
    cmos_contents,
)

FOOTER_COOKIE = b"conectix"


def config(path: Path, **options: object) -> MachineConfig:
    return MachineConfig(hd=(DriveConfig(path=str(path), **options),)).check()  # type: ignore[arg-type]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(1 << 20))
    return path


def test_machines_with_snapshots_share_their_base(disk: Path) -> None:
    disk.chmod(0o444)
    one, other = Drives(config(disk, snapshot=True)), Drives(config(disk, snapshot=True))
    one.images[0].write(0, b"\x01" * 512)

    assert other.images[0].read(0, 1) == bytes(512)
    one.close()
    other.close()


def test_a_disk_that_can_be_written_belongs_to_one_machine(disk: Path) -> None:
    drives = Drives(config(disk))
    with pytest.raises(ImageBusyError):
        Drives(config(disk, snapshot=True))
    drives.close()


def test_a_cd_is_its_sectors_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "cd.iso"
    path.write_bytes(bytes(4096 - 512) + FOOTER_COOKIE.ljust(512, b"\0"))
    drives = Drives(MachineConfig(cd=(DriveConfig(path=str(path)),)).check())

    assert drives.images[0].size_bytes == 4096
    drives.close()


def test_the_format_of_a_disk_can_be_given(disk: Path) -> None:
    disk.write_bytes(b"QFI\xfb".ljust(1 << 20, b"\0"))
    given = DriveConfig.parse(f"{disk},format=raw")
    assert given == DriveConfig(path=str(disk), format="raw")
    drives = Drives(MachineConfig(hd=(given,)).check())

    assert drives.images[0].read(0, 1)[:4] == b"QFI\xfb"
    drives.close()


def test_options_of_a_drive_come_in_any_order_and_commas_may_be_in_the_path() -> None:
    given = DriveConfig.parse("a,b=c.vhd,sync=never,parent-writable=yes,format=vhd")
    assert given == DriveConfig(path="a,b=c.vhd", format="vhd", sync="never", parent_writable=True)


@pytest.mark.parametrize("option", ["sync=sometimes", "parent-writable=maybe"])
def test_a_value_that_an_option_of_a_drive_does_not_take_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match="expected one of"):
        DriveConfig.parse(f"disk.vhd,{option}")


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of raw, vhd"):
        DriveConfig.parse("disk.img,format=qcow2")


FLOPPY_BYTES = 1440 << 10


@pytest.fixture
def floppy(tmp_path: Path) -> Path:
    path = tmp_path / "floppy.img"
    path.write_bytes(bytes(FLOPPY_BYTES))
    return path


def test_floppies_are_drives_a_and_b_and_cmos_names_their_types(floppy: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.img"
    small.write_bytes(bytes(1200 << 10))
    given = (DriveConfig(path=str(floppy)), DriveConfig(path=str(small)))
    machine = MachineConfig(floppy=given).check()
    drives = Drives(machine)
    cmos = cmos_contents(machine, drives)
    drives.close()

    assert [(drive.number, drive.kind) for drive in drives.boot] == [(0, "floppy"), (1, "floppy")]
    assert cmos[CMOS_FLOPPY_TYPES] == 0x42
    assert cmos[CMOS_EQUIPMENT] == 0x47


def test_kernel_behind_a_bios_is_first_in_the_boot_order_that_cmos_holds(disk: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"kernel")
    machine = MachineConfig(hd=(DriveConfig(path=str(disk)),), kernel=str(kernel), boot=("cd", "hd")).check()
    drives = Drives(machine)
    cmos = cmos_contents(machine, drives)
    drives.close()

    assert (cmos[CMOS_BOOT_FLAG2], cmos[CMOS_BOOT_FLAG1]) == (0x34, 0x20)  # ROM, CD, hard disk


def test_without_floppies_cmos_names_none(disk: Path) -> None:
    machine = config(disk)
    drives = Drives(machine)
    cmos = cmos_contents(machine, drives)
    drives.close()

    assert (cmos[CMOS_FLOPPY_TYPES], cmos[CMOS_EQUIPMENT]) == (0x00, 0x06)  # FPU, mouse


def test_a_floppy_can_be_write_protected_or_a_snapshot(floppy: Path) -> None:
    for options, protected in (({"read_only": True}, True), ({"snapshot": True}, False), ({}, False)):
        given = DriveConfig(path=str(floppy), **options)
        drives = Drives(MachineConfig(floppy=(given,)).check())
        assert drives.floppies[0].write_protected == protected
        if not protected:
            drives.floppies[0].write(0, 1, b"\x01" * 512)
        drives.close()
        assert floppy.read_bytes()[:1] == (b"\0" if options else b"\1")


@pytest.mark.parametrize(
    ("size", "count", "message"),
    [(1000 << 10, 1, "no floppy disk's size; expected one of 160, "), (FLOPPY_BYTES, 3, "two floppy drives")],
)
def test_what_is_no_floppy_is_refused(tmp_path: Path, size: int, count: int, message: str) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(bytes(size))
    with pytest.raises(ConfigError, match=message):
        MachineConfig(floppy=(DriveConfig(path=str(path), read_only=True),) * count).check()


def test_a_file_of_a_floppys_size_is_one(floppy: Path) -> None:
    assert is_floppy_size(floppy.stat().st_size)
    assert not is_floppy_size(1 << 20)
