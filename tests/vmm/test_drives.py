"""How the images behind a machine's drives are opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from disks.errors import ImageBusyError
from vmm.config import DriveConfig, MachineConfig
from vmm.errors import ConfigError
from vmm.power_on import Drives

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


def test_a_format_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of raw, vhd"):
        DriveConfig.parse("disk.img,format=qcow2")
