"""Undo disks: made beside the disk, gone on with, committed, discarded; the disk itself is not written."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from disks.errors import DiskError, ImageBusyError, UnsupportedImageError
from disks.hostfile import HostFile
from disks.open import open_image
from disks.vhd import mergejob, undo
from disks.vhd.undo_names import committing_path, undo_path
from tests.disks.conftest import make_child
from tests.disks.scribbles import contents_of, scribble

MakeVhd = Callable[..., Path]
SIZE = 5 << 20


@pytest.fixture(params=["dynamic", "fixed", "child"])
def disk(request: pytest.FixtureRequest, make_vhd: MakeVhd, tmp_path: Path) -> Path:
    path = make_vhd(SIZE, fixed=request.param == "fixed")
    scribble(path, seed=1)
    return make_child(tmp_path / "child.vhd", path) if request.param == "child" else path


def write_through(disk: Path, lba: int, data: bytes) -> None:
    image = undo.open_undo(disk)
    image.write(lba, data)
    image.close()


def test_the_name_says_whose_it_is(tmp_path: Path) -> None:
    assert undo_path(tmp_path / "a.vhd") == tmp_path / "a.undo.vhd"
    assert undo_path(tmp_path / "a.VPC") == tmp_path / "a.undo.vhd"
    assert undo_path(tmp_path / "a.bin") == tmp_path / "a.bin.undo.vhd"


def test_it_lies_beside_the_file_that_a_link_leads_to(make_vhd: MakeVhd, tmp_path: Path) -> None:
    disk = make_vhd(SIZE)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.vhd"
    link.symlink_to(disk)
    write_through(link, 3, b"\x77" * 512)
    assert undo.written_bytes(disk) == 512


def test_writes_go_to_it_and_stay_there(disk: Path) -> None:
    before = disk.read_bytes()
    write_through(disk, 9, b"\x55" * 1024)
    write_through(disk, 10, b"\x66" * 512)  # the same undo disk again
    assert disk.read_bytes() == before
    assert undo.written_bytes(disk) == 1024
    assert contents_of(undo_path(disk))[9 * 512 : 11 * 512] == b"\x55" * 512 + b"\x66" * 512


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_who_may_not_read_the_disk_may_not_read_its_undo_disk(disk: Path, mode: int) -> None:
    disk.chmod(mode)
    write_through(disk, 9, b"\x55" * 512)
    assert stat.S_IMODE(undo_path(disk).stat().st_mode) == mode


def test_commit_puts_them_into_the_disk(disk: Path) -> None:
    write_through(disk, 9, b"\x55" * 512)
    write_through(disk, 3, bytes(512))
    expected = contents_of(undo_path(disk))
    undo.commit(disk)
    assert contents_of(disk) == expected
    assert undo.written_bytes(disk) is None


def test_discard_deletes_it(disk: Path) -> None:
    before = contents_of(disk)
    write_through(disk, 9, b"\x55" * 512)
    undo.discard(disk)
    assert not undo_path(disk).exists()
    assert contents_of(disk) == before


def test_it_belongs_to_one_machine(disk: Path) -> None:
    image = undo.open_undo(disk)
    with pytest.raises(ImageBusyError):
        undo.open_undo(disk)
    with pytest.raises(ImageBusyError):
        undo.discard(disk)
    with pytest.raises(ImageBusyError):
        undo.commit(disk)
    with pytest.raises(ImageBusyError):  # and nobody writes the disk meanwhile
        open_image(disk)
    image.close()


def test_a_disk_with_other_children_is_not_committed_to(make_vhd: MakeVhd, tmp_path: Path) -> None:
    disk = make_vhd(SIZE)
    sibling = make_child(tmp_path / "sibling.vhd", disk)
    write_through(disk, 9, b"\x55" * 512)
    with pytest.raises(DiskError, match="sibling"):
        undo.commit(disk)
    assert undo.written_bytes(disk) == 512
    undo.commit(disk, force=True)
    assert contents_of(disk)[9 * 512 : 10 * 512] == b"\x55" * 512
    assert sibling.exists()


def test_an_undo_disk_that_images_stand_on_is_neither_written_nor_deleted(disk: Path, tmp_path: Path) -> None:
    write_through(disk, 9, b"\x55" * 512)
    above = make_child(tmp_path / "above.vhd", undo_path(disk))
    expected = contents_of(above)
    for use in (undo.open_undo, undo.discard, undo.commit):
        with pytest.raises(DiskError, match=r"above\.vhd"):
            use(disk)
    assert contents_of(above) == expected


def test_another_image_of_its_name_is_left_alone(make_vhd: MakeVhd) -> None:
    disk = make_vhd(SIZE)
    stranger = make_vhd(SIZE, name="disk.undo.vhd")
    for use in (undo.open_undo, undo.written_bytes, undo.commit, undo.discard):
        with pytest.raises(DiskError, match="no undo disk of"):
            use(disk)
    assert stranger.exists()


def test_a_raw_image_can_have_none(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4096))
    with pytest.raises(UnsupportedImageError, match="trapline disk convert"):
        undo.open_undo(disk)
    assert list(tmp_path.iterdir()) == [disk]


def half_commit(disk: Path) -> None:
    """Commit what is in the undo disk, and stop after the first write to the disk."""

    class Stopped(BaseException):
        pass

    def stop(done: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        undo.commit(disk, progress=stop)


def test_a_commit_that_has_begun_can_only_be_finished(disk: Path) -> None:
    before = contents_of(disk)
    write_through(disk, 9, b"\x55" * 512)
    write_through(disk, 3000, b"\x66" * 512)
    expected = contents_of(undo_path(disk))
    half_commit(disk)
    assert contents_of(disk) not in (before, expected)
    assert not undo_path(disk).exists()
    for use in (undo.discard, undo.open_undo):
        with pytest.raises(DiskError, match=f"disk merge --delete {committing_path(disk)}"):
            use(disk)
    assert contents_of(committing_path(disk)) == expected
    undo.commit(disk)
    assert contents_of(disk) == expected
    assert not committing_path(disk).exists()


def test_the_mark_is_durable_before_the_first_write(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_through(disk, 9, b"\x55" * 512)
    done: list[str] = []
    rename, write_at, fsync = Path.rename, HostFile.write_at, os.fsync

    def renamed(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    def synced(descriptor: int) -> None:
        done.append("sync directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync")
        fsync(descriptor)

    def written(self: HostFile, offset: int, data: bytes) -> None:
        done.append("write")
        write_at(self, offset, data)

    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(HostFile, "write_at", written)
    undo.commit(disk)
    assert done[:3] == ["rename", "sync directory", "write"]


def test_a_commit_that_is_refused_leaves_no_mark(make_vhd: MakeVhd, tmp_path: Path) -> None:
    disk = make_vhd(SIZE)
    make_child(tmp_path / "sibling.vhd", disk)
    write_through(disk, 9, b"\x55" * 512)
    with pytest.raises(DiskError, match="sibling"):
        undo.commit(disk)
    assert undo_path(disk).exists()
    undo.discard(disk)


def test_a_merge_that_keeps_the_undo_disk_takes_the_mark_away(make_vhd: MakeVhd) -> None:
    disk = make_vhd(SIZE)
    write_through(disk, 9, b"\x55" * 512)
    with mergejob.MergeInto(mergejob.MergeOrder(undo_path(disk))) as job:
        job.run()
    assert contents_of(undo_path(disk)) == contents_of(disk)
    assert job.outcome.warnings == []
    assert not committing_path(disk).exists()
    undo.discard(disk)


def test_the_mark_takes_no_file_away(make_vhd: MakeVhd) -> None:
    disk = make_vhd(SIZE)
    write_through(disk, 9, b"\x55" * 512)
    stranger = make_vhd(SIZE, name="disk.committing.vhd")
    kept = stranger.read_bytes()
    with pytest.raises(DiskError, match="Move it away"):
        undo.commit(disk)
    with (
        pytest.raises(DiskError, match="Move it away"),
        mergejob.MergeInto(mergejob.MergeOrder(undo_path(disk))) as job,
    ):
        job.run()
    assert stranger.read_bytes() == kept
