"""Opening: formats are told apart, foreign ones named, and one image has one writer."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from disks import newfile
from disks.errors import DiskError, ImageBusyError, UnclearFormatError, UnsupportedImageError
from disks.hostfile import HostFile
from disks.image import BlockImage
from disks.newfile import new_file
from disks.open import ImageFormat, open_image
from disks.raw import RawImage
from disks.vhd.create import write_dynamic
from disks.vhd.fixed import FixedVhd
from disks.vhd.layout import FOOTER_CHECKSUM_OFFSET, TYPE_DIFFERENCING
from disks.vhd.record import with_checksum
from disks.vhd.sparse import SparseVhd
from tests.disks.conftest import make_child

MakeVhd = Callable[..., Path]


def test_formats_are_told_by_the_footer(make_vhd: MakeVhd, tmp_path: Path) -> None:
    raw = tmp_path / "raw.img"
    raw.write_bytes(bytes(512))
    expected = (
        (make_vhd(1 << 20, name="d.vhd"), SparseVhd),
        (make_vhd(1 << 20, fixed=True, name="f.vhd"), FixedVhd),
        (raw, RawImage),
    )
    for path, kind in expected:
        image = open_image(path)
        assert isinstance(image, BlockImage)
        assert type(image) is kind
        image.close()


def test_format_can_be_forced(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20, fixed=True)
    image = open_image(path, image_format=ImageFormat.RAW)
    assert image.size_bytes == (1 << 20) + 512
    image.close()


@pytest.mark.parametrize(
    ("magic", "what"),
    [
        (b"QFI\xfb\0\0\0\x03", "QCOW2"),
        (b"vhdxfile", "VHDX"),
        (b"KDMV", "VMDK"),
        (b"# Disk DescriptorFile\n", "VMDK"),
        (bytes(0x40) + b"\x7f\x10\xda\xbe", "VDI"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_foreign_format_is_named(tmp_path: Path, magic: bytes, what: str) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(magic.ljust(4096, b"\0"))
    with pytest.raises(UnsupportedImageError, match=what) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["disk.img", "disk.raw", "disk", "disk.vhd.bak"])
@pytest.mark.parametrize("where", [0, -512, -511])
def test_a_footer_in_a_file_not_named_so_is_not_believed(tmp_path: Path, name: str, where: int) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(1 << 20)
        file.seek(where, os.SEEK_END if where else os.SEEK_SET)
        file.write(b"conectix")
    with pytest.raises(UnclearFormatError, match="format=raw or format=vhd"):
        open_image(path)
    image = open_image(path, image_format=ImageFormat.RAW)
    assert image.size_bytes == 1 << 20
    image.close()


def test_a_guest_cannot_make_its_raw_disk_a_child_of_its_neighbour(make_vhd: MakeVhd, tmp_path: Path) -> None:
    neighbour = make_vhd(1 << 20, name="neighbour.vhd")
    forged = make_child(tmp_path / "forged.vhd", neighbour).rename(tmp_path / "guest.img")
    with pytest.raises(UnclearFormatError):
        open_image(forged)
    open_image(forged, image_format=ImageFormat.VHD).close()


@pytest.mark.parametrize("name", ["a.vhd", "a.VHD", "a.vpc", "a_0F.avhd"])
def test_a_vhd_is_known_by_its_name_and_its_footer(make_vhd: MakeVhd, name: str) -> None:
    image = open_image(make_vhd(1 << 20, name=name))
    assert isinstance(image, SparseVhd)
    image.close()


def test_vhd_without_footer_is_not_taken_for_raw(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    path.write_bytes(bytes(4096))
    with pytest.raises(UnsupportedImageError, match="footer"):
        open_image(path)


def test_differencing_vhd_without_a_parent_is_refused(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20)
    contents = bytearray(path.read_bytes())
    contents[-512 + 63] = TYPE_DIFFERENCING
    contents[-512:] = with_checksum(bytes(contents[-512:]), FOOTER_CHECKSUM_OFFSET)
    path.write_bytes(contents)
    with pytest.raises(DiskError, match="raw image"):
        open_image(path)


@pytest.mark.parametrize("name", ["disk.vhd", "disk.v01"])
def test_piece_of_a_split_vhd_is_named(make_vhd: MakeVhd, name: str) -> None:
    path = make_vhd(1 << 20)
    path.with_suffix(".v01").write_bytes(bytes(512))
    with pytest.raises(UnsupportedImageError, match="split"):
        open_image(path.with_name(name))


@pytest.mark.parametrize("size", [0, 1, 8, 100, 511, 512])
def test_small_files_do_not_confuse(tmp_path: Path, size: int) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"conectix".ljust(size, b"\0")[:size])
    if size in (1, 8, 100):
        open_image(path).close()
    else:
        with pytest.raises(DiskError):
            open_image(path)


def test_missing_file_raises_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "none.img")


def test_directory_and_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="directory"):
        open_image(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DiskError, match="neither"):
        open_image(tmp_path / "pipe", read_only=True)


def test_writer_excludes_everybody(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20)
    writer = open_image(path)
    for read_only in (True, False):
        with pytest.raises(ImageBusyError):
            open_image(path, read_only=read_only)
    writer.close()
    open_image(path).close()


def test_readers_share_and_exclude_a_writer(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20)
    readers = [open_image(path, read_only=True) for _ in range(2)]
    with pytest.raises(ImageBusyError):
        open_image(path)
    for reader in readers:
        reader.close()


def test_refused_image_is_not_left_locked(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20)
    path.write_bytes(path.read_bytes()[:-512] + bytes(512))
    for _ in range(2):
        with pytest.raises(DiskError, match="reading only"):
            open_image(path)


def test_failed_creation_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DiskError), new_file(tmp_path / "disk.vhd") as file:
        write_dynamic(file, 1000)
    assert list(tmp_path.iterdir()) == []


def test_the_draft_of_a_killed_process_goes_when_the_file_is_made_again(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from disks.newfile import new_file\n"
        "with new_file(Path(sys.argv[1])) as file: os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "disk.img"
    subprocess.run([sys.executable, "-c", script, path], check=False, timeout=60)
    assert [left.suffix for left in tmp_path.iterdir()] == [".partial"]
    others = [tmp_path / ".disk.img.x.partial", tmp_path / ".disk2.img.999999999.partial"]
    in_use = tmp_path / ".disk.img.999999999.partial"
    for other in (*others, in_use):
        other.touch()
    user = HostFile.open(in_use, read_only=True)
    with new_file(path):
        pass
    user.close()
    assert sorted(tmp_path.iterdir()) == sorted([path, *others, in_use])


def test_failed_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"precious")
    with pytest.raises(KeyboardInterrupt), new_file(path, replace=True):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"precious"


def test_a_file_that_appears_at_the_last_moment_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.img"

    def look(looked_at: Path) -> None:
        """Find nothing, whereupon the file appears."""
        looked_at.write_bytes(b"precious")

    def make() -> None:
        with new_file(path):
            monkeypatch.setattr(newfile, "refuse_existing", look)
            look(path)

    with pytest.raises(FileExistsError):
        make()
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def without_links(patch: pytest.MonkeyPatch) -> None:
    """Let the file system have no hard links."""

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    patch.setattr(Path, "hardlink_to", refuse)


def test_a_file_appears_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch)
    with new_file(tmp_path / "disk.img") as file:
        file.write_at(0, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["disk.img"]


def test_a_parent_is_not_replaced(make_vhd: MakeVhd, tmp_path: Path) -> None:
    path = make_vhd(1 << 20)
    before = path.read_bytes()
    make_child(tmp_path / "child.vhd", path)
    with pytest.raises(DiskError, match=r"is the parent of child\.vhd"), new_file(path, replace=True):
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o666), (0o444, 0o644)]
)
def test_a_new_file_is_no_more_public_than_what_it_replaces(tmp_path: Path, mode: int, expected: int) -> None:
    path = tmp_path / "disk.img"
    path.touch()
    path.chmod(mode)
    with new_file(tmp_path / "other.img", like=path) as file:
        assert stat.S_IMODE(file.status.st_mode) == expected
    with new_file(path, replace=True):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == expected


def test_image_in_use_is_not_replaced(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20)
    user = open_image(path, read_only=True)
    with pytest.raises(ImageBusyError), new_file(path, replace=True):
        pass
    user.close()


def test_largest_vhd_takes_no_room(make_vhd: MakeVhd) -> None:
    path = make_vhd(2040 << 30)
    image = open_image(path)
    last = image.size_bytes // 512 - 1
    image.write(last, b"\x5a" * 512)
    assert image.read(last - 1, 2) == bytes(512) + b"\x5a" * 512
    image.close()
    assert path.stat().st_size < 8 << 20
