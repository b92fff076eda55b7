"""Hard disks that are chains: where parents may lie, what is warned of, and a parent that is not written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from typer.testing import CliRunner

from disks.errors import DiskError, ParentError, UnsupportedImageError
from disks.open import open_image
from disks.vhd.parents import ParentRules
from disks.vhd.undo import written_bytes
from disks.vhd.undo_names import committing_path, undo_path
from tests.disks.conftest import make_child, make_vhd  # noqa: F401 - a fixture
from vmm.cli import build_app, supervisor
from vmm.cli.job import Job, RunOptions
from vmm.cli.supervisor import check_disks
from vmm.config import DriveConfig, MachineConfig
from vmm.drive_images import parent_rules
from vmm.errors import ConfigError, UsageError
from vmm.power_on import Drives
from vmm.scsi_config import ScsiDrive

MakeVhd = Callable[..., Path]
SIZE = 3 << 20


@pytest.fixture
def base(make_vhd: MakeVhd) -> Path:  # noqa: F811
    return make_vhd(SIZE, name="base.vhd")


@pytest.fixture
def child(base: Path, tmp_path: Path) -> Path:
    return make_child(tmp_path / "child.vhd", base)


class MakeMachine(Protocol):
    def __call__(
        self, path: Path, *, undo: bool = False, roots: tuple[Path, ...] = (), **drive: object
    ) -> MachineConfig: ...


@pytest.fixture(params=["ide", "scsi"])
def machine(request: pytest.FixtureRequest) -> MakeMachine:
    """Make machines with one hard disk, on either controller."""

    def make(
        path: Path, *, undo: bool = False, roots: tuple[Path, ...] = (), **drive: object
    ) -> MachineConfig:
        options: dict[str, Any] = {"path": str(path), **drive}
        ide = request.param == "ide"
        return MachineConfig(
            hd=(DriveConfig(**options),) if ide else (),
            scsi_hd=() if ide else (ScsiDrive(**options),),
            undo="ask" if undo else None,
            allow_roots=tuple(map(str, roots)),
        ).check()

    return make


def write(config: MachineConfig, lba: int, data: bytes) -> list[str]:
    """Write by the machine's drive; return the warnings."""
    drives = Drives(config)
    drives.images[0].write(lba, data)
    drives.close()
    return drives.warnings


def test_a_child_is_written_and_its_parent_is_not(base: Path, child: Path, machine: MakeMachine) -> None:
    before = base.read_bytes()
    assert write(machine(child), 5, b"\x11" * 512) == []
    assert base.read_bytes() == before


def test_a_parent_is_refused_with_what_to_do_instead(base: Path, child: Path, machine: MakeMachine) -> None:
    with pytest.raises(ConfigError, match=r"is the parent of child\.vhd") as refused:
        Drives(machine(base))
    for advice in (f"disk create NEW.vhd --parent {base}", "--undo", "--snapshot", "parent-writable=yes"):
        assert advice in str(refused.value)


def test_many_children_are_not_all_named(base: Path, tmp_path: Path, machine: MakeMachine) -> None:
    for number in range(5):
        make_child(tmp_path / f"child{number}.vhd", base)
    with pytest.raises(ConfigError, match=r"child0\.vhd, child1\.vhd, child2\.vhd and 2 more"):
        Drives(machine(base))


@pytest.mark.parametrize("drive", [{"read_only": True}, {"snapshot": True}, {"parent_writable": True}])
def test_a_parent_can_be_read_and_its_writing_can_be_insisted_on(
    base: Path, child: Path, drive: dict[str, Any], machine: MakeMachine
) -> None:
    Drives(machine(base, **drive)).close()


def test_an_image_that_nothing_stands_on_is_written(
    base: Path,
    make_vhd: MakeVhd,  # noqa: F811
    machine: MakeMachine,
) -> None:
    make_child(base.with_name("x.vhd"), make_vhd(SIZE, name="other.vhd"))
    write(machine(base), 0, b"\x11" * 512)


def test_another_parent_is_taken_where_asked_for(
    base: Path,
    child: Path,
    make_vhd: MakeVhd,  # noqa: F811
    machine: MakeMachine,
) -> None:
    make_vhd(SIZE, name="other.vhd").replace(base)
    with pytest.raises(ParentError, match="is image"):
        Drives(machine(child))
    config = msgspec.structs.replace(machine(child), ignore_parent_id=True)
    assert "though its identity differs" in write(config, 5, b"\x11" * 512)[0]


def test_the_command_hands_on_where_parents_lie_and_who_they_are(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def supervised(job: Job, process: object = None) -> int:
        jobs.append(job)
        return 0

    monkeypatch.setattr(supervisor, "supervise", supervised)
    words = ["run", "--hd", str(base), "--allow-root", str(base.parent), "--ignore-parent-id"]
    assert CliRunner().invoke(build_app(["run"]), words).exit_code == 0
    assert parent_rules(jobs[0].config) == ParentRules((base.parent,), ignore_parent_id=True)


def test_a_parent_elsewhere_needs_its_root(base: Path, tmp_path: Path, machine: MakeMachine) -> None:
    (tmp_path / "mine").mkdir()
    child = make_child(tmp_path / "mine" / "child.vhd", base)
    with pytest.raises(ParentError, match=f"--allow-root {base.parent}"):
        Drives(machine(child))
    config = machine(child, roots=(base.parent,))
    write(config, 0, b"\x11" * 512)
    assert check_disks(Job(config, RunOptions())) == [f"disk {child}: intact"]


def test_an_allowed_root_is_a_directory(base: Path, machine: MakeMachine) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        machine(base, roots=(base,))


def test_what_is_odd_about_each_level_is_told_with_its_path(
    base: Path, child: Path, tmp_path: Path, machine: MakeMachine
) -> None:
    top = make_child(tmp_path / "top.vhd", child)
    os.utime(base, (0, base.stat().st_mtime + 3600))
    warnings = write(machine(top), 0, b"\x11" * 512)
    assert [warning.partition(": ")[0] for warning in warnings] == [str(child)]
    assert "summer time" in warnings[0]


def test_undo_disks_take_what_is_written(base: Path, child: Path, machine: MakeMachine) -> None:
    before = child.read_bytes()
    write(machine(child, undo=True), 5, b"\x11" * 512)
    assert child.read_bytes() == before
    assert written_bytes(child) == 512
    assert check_disks(Job(machine(child, undo=True), RunOptions())) == [
        f"disk {child}: intact, unchanged",
        f"disk {undo_path(child)}: intact",
    ]


def test_a_disk_whose_undo_disk_waits_is_not_written(base: Path, machine: MakeMachine) -> None:
    write(machine(base, undo=True), 5, b"\x11" * 512)
    with pytest.raises(ConfigError, match="has an undo disk from an earlier run") as refused:
        Drives(machine(base))
    assert f"trapline disk merge --delete {undo_path(base)}" in str(refused.value)
    drives = Drives(machine(base, snapshot=True))
    assert drives.images[0].read(5, 1) == bytes(512)
    drives.close()
    assert "is not seen without --undo" in drives.warnings[0]


@pytest.mark.parametrize("drive", [{}, {"read_only": True}, {"snapshot": True}, {"parent_writable": True}])
def test_a_half_committed_disk_is_not_run(base: Path, drive: dict[str, Any], machine: MakeMachine) -> None:
    write(machine(base, undo=True), 5, b"\x11" * 512)
    undo_path(base).rename(committing_path(base))
    configs = [machine(base, **drive)] + ([machine(base, undo=True)] if not drive else [])
    for config in configs:
        with pytest.raises(DiskError, match=f"disk merge --delete {committing_path(base)}"):
            Drives(config)


def test_undo_goes_on_where_the_last_run_ended(base: Path, machine: MakeMachine) -> None:
    write(machine(base, undo=True), 5, b"\x11" * 512)
    drives = Drives(machine(base, undo=True))
    assert drives.images[0].read(5, 1) == b"\x11" * 512
    drives.close()


@pytest.mark.parametrize("drive", [{"read_only": True}, {"snapshot": True}])
def test_a_machine_that_writes_no_hard_disk_has_nothing_to_undo(
    base: Path, drive: dict[str, Any], machine: MakeMachine
) -> None:
    with pytest.raises(ConfigError, match="no hard disk that is written"):
        machine(base, undo=True, **drive)


def test_undo_and_snapshot_exclude_each_other(base: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        MachineConfig(hd=(DriveConfig(path=str(base)),), undo="keep", snapshot=True).check()


@pytest.mark.parametrize("image_format", [None, "raw"])
def test_a_raw_disk_cannot_be_undone(tmp_path: Path, image_format: str | None, machine: MakeMachine) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4096))
    with pytest.raises(UnsupportedImageError, match="a raw image can have no undo disk"):
        Drives(machine(disk, undo=True, format=image_format))


def test_a_disk_that_cannot_be_written_can_be_undone(base: Path, machine: MakeMachine) -> None:
    base.chmod(0o444)
    write(machine(base, undo=True), 5, b"\x11" * 512)


@pytest.mark.parametrize(
    ("sync", "on_write", "on_flush"), [("always", 1, 1), ("on-flush", 0, 1), ("never", 0, 0)]
)
def test_sync_says_when_what_is_written_is_durable(
    base: Path, monkeypatch: pytest.MonkeyPatch, sync: str, on_write: int, on_flush: int, machine: MakeMachine
) -> None:
    image = open_image(base)
    image.write(0, b"\x11" * 512)  # a block that exists needs no sync to grow
    image.close()
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    drives = Drives(machine(base, sync=sync))
    drives.images[0].write(8, b"\x22" * 512)
    assert bool(synced) == bool(on_write)
    drives.images[0].flush()
    assert bool(synced) == bool(on_flush)
    drives.close()
