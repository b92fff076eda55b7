"""SCSI adapters and drives: where each ends up, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from vmm.cli import build_app, supervisor
from vmm.cli.job import Job
from vmm.config import MachineConfig
from vmm.errors import ConfigError
from vmm.scsi_config import ScsiAdapter, ScsiDrive, parse_adapter, read_fault


@pytest.fixture
def disk(tmp_path: Path) -> str:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(512))
    return str(path)


def drives(path: str, *places: tuple[int, int | None]) -> tuple[ScsiDrive, ...]:
    return tuple(ScsiDrive(path=path, read_only=True, adapter=adapter, id=id) for adapter, id in places)


def places(found: tuple[ScsiDrive, ...]) -> list[tuple[int, int | None]]:
    return [(drive.adapter, drive.id) for drive in found]


def test_drives_take_the_next_free_id_of_their_adapter_disks_before_cds(disk: str) -> None:
    config = MachineConfig(
        scsi_hd=drives(disk, (0, None), (0, 1), (1, None), (0, None)), scsi_cd=drives(disk, (0, None))
    ).check()

    assert places(config.scsi_hd) == [(0, 0), (0, 1), (1, 0), (0, 2)]
    assert places(config.scsi_cd) == [(0, 3)]


def test_the_adapters_own_id_is_not_given_to_a_drive(disk: str) -> None:
    config = MachineConfig(scsi_hd=drives(disk, *[(0, None)] * 7), scsi_cd=drives(disk, (0, None))).check()

    assert places(config.scsi_cd) == [(0, 8)]


def test_an_adapter_that_only_a_drive_names_is_an_aic7870(disk: str) -> None:
    asked = (ScsiAdapter("virtio"),)
    config = MachineConfig(scsi_adapters=asked, scsi_cd=drives(disk, (2, None))).check()

    assert [adapter.kind for adapter in config.scsi_adapters] == ["virtio", "aic7870", "aic7870"]


def test_placing_a_machine_twice_changes_nothing(disk: str) -> None:
    config = MachineConfig(scsi_hd=drives(disk, (1, None)), scsi_cd=drives(disk, (1, None))).check()

    assert config.check() == config


@pytest.mark.parametrize(
    ("hd", "cd", "message"),
    [
        ([(0, 7)], [], "id 7 is the adapter's own on the bus"),
        ([], [(0, 7)], "id 7 is the adapter's own on the bus"),
        ([(0, 16)], [], "id 16, expected 0 to 6 or 8 to 15"),
        ([(4, 0)], [], "SCSI adapter 4, expected 0 to 3"),
        ([(-1, 0)], [], "SCSI adapter -1, expected 0 to 3"),
        ([(0, None)] * 8, [], "8 disks on SCSI adapter 0: it takes 7"),
        ([], [(0, None)] * 16, "SCSI adapter 0 has no free id"),
    ],
)
def test_a_drive_that_has_no_place_is_refused(
    disk: str, hd: list[tuple[int, int | None]], cd: list[tuple[int, int | None]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        MachineConfig(scsi_hd=drives(disk, *hd), scsi_cd=drives(disk, *cd)).check()


def test_two_drives_on_one_id_are_refused_naming_both(disk: str, tmp_path: Path) -> None:
    other = tmp_path / "other.iso"
    other.write_bytes(bytes(2048))
    with pytest.raises(ConfigError) as refused:
        MachineConfig(scsi_hd=drives(disk, (1, 3)), scsi_cd=drives(str(other), (1, 3))).check()
    assert str(refused.value) == f"{other}: id 3 of SCSI adapter 1 is taken by {disk}"


def test_a_fifth_adapter_is_refused(disk: str) -> None:
    with pytest.raises(ConfigError, match="5 SCSI adapters: a machine has at most 4"):
        MachineConfig(scsi_adapters=(ScsiAdapter(),) * 5, scsi_hd=drives(disk, (0, 0))).check()


@pytest.mark.parametrize("path", ["/nowhere/x", "/"])
def test_an_image_that_is_none_is_told(path: str) -> None:
    with pytest.raises(ConfigError, match=f"disk image {path}: "):
        MachineConfig(scsi_hd=(ScsiDrive(path=path),)).check()
    with pytest.raises(ConfigError, match=f"CD image {path}: "):
        MachineConfig(scsi_cd=(ScsiDrive(path=path),)).check()


def test_one_image_cannot_be_two_writable_disks(disk: str) -> None:
    with pytest.raises(ConfigError, match="two writable disks"):
        MachineConfig(scsi_hd=(ScsiDrive(path=disk), ScsiDrive(path=disk))).check()


def test_options_of_a_drive_come_in_any_order_and_commas_may_be_in_the_path() -> None:
    given = ScsiDrive.parse_disk("a,b=c.vhd,sync=never,id=9,parent-writable=yes,adapter=3,format=vhd")
    assert given == ScsiDrive(
        path="a,b=c.vhd", adapter=3, id=9, format="vhd", sync="never", parent_writable=True
    )
    assert ScsiDrive.parse_cd("x.iso,id=0") == ScsiDrive(path="x.iso", read_only=True, id=0)


@pytest.mark.parametrize("option", ["id=16", "id=", "adapter=4", "adapter=one", "sync=sometimes"])
def test_a_value_that_an_option_of_a_drive_does_not_take_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match="expected one of"):
        ScsiDrive.parse_disk(f"disk.vhd,{option}")


def test_a_kind_of_adapter_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of aic7870, virtio"):
        parse_adapter("lsi")


def test_the_command_hands_adapters_and_drives_on(disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Job] = []

    def supervised(job: Job, process: object = None) -> int:
        jobs.append(job)
        return 0

    monkeypatch.setattr(supervisor, "supervise", supervised)
    words = ["run", "--scsi-adapter", "virtio", "--scsi-hd", f"{disk},id=4,format=raw"]
    words += ["--scsi-cd", f"{disk},adapter=1"]
    assert CliRunner().invoke(build_app(["run"]), words).exit_code == 0
    config = Job.unpack(jobs[0].pack()).config
    assert config.scsi_adapters == (ScsiAdapter("virtio"), ScsiAdapter("aic7870"))
    assert config.scsi_hd == (ScsiDrive(path=disk, id=4, format="raw"),)
    assert config.scsi_cd == (ScsiDrive(path=disk, read_only=True, adapter=1, id=0),)


def test_a_drive_says_when_it_disconnects(disk: str) -> None:
    found = ScsiDrive.parse_disk(f"{disk},disconnect=mid-data,id=3")
    assert (found.disconnect, found.id) == ("mid-data", 3)
    with pytest.raises(ConfigError, match="never, before-data"):
        ScsiDrive.parse_cd(f"{disk},disconnect=often")


def test_a_fault_names_its_adapter_and_what_it_hits() -> None:
    adapter, fault = read_fault("hang,adapter=2,id=1,op=28,times=3")
    assert (adapter, fault.kind, fault.target, fault.operation, fault.times) == (2, "hang", 1, 0x28, 3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("explode", "write hang or absent"),
        ("hang,op=zz", "is not a number"),
        ("hang,adapter=4", "'4'"),
        ("hang,lun=1", "the options are"),
        ("absent,op=28", "the options are id=N, times=N"),
        ("hang,id=16", "id=16 .*: expected 0 to 15"),
        ("hang,id=-1", "expected 0 to 15"),
        ("hang,op=100", "expected 00 to ff"),
        ("hang,lba=-1", "expected a block"),
        ("hang,times=0", "expected 1 or more"),
        ("hang,id=3", "adapter 0 has no drive with id 3; its drives have 0"),
        ("hang,id=7", "no drive with id 7"),
        ("absent,adapter=1", "adapter 1 has no drive$"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(text: str, why: str, disk: str) -> None:
    with pytest.raises(ConfigError, match=why):
        MachineConfig(scsi_hd=drives(disk, (0, 0)), scsi_faults=(text,)).check()


def test_only_a_parallel_bus_has_disconnection_and_faults(disk: str) -> None:
    virtio = (ScsiAdapter("virtio"),)
    drive = ScsiDrive(path=disk, read_only=True, disconnect="mid-data")
    with pytest.raises(ConfigError, match="no parallel bus"):
        MachineConfig(scsi_adapters=virtio, scsi_hd=(drive,)).check()
    with pytest.raises(ConfigError, match="no parallel bus"):
        MachineConfig(scsi_adapters=virtio, scsi_hd=drives(disk, (0, 0)), scsi_faults=("hang",)).check()
