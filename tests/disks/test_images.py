"""Every kind of image against a bytearray: what is written is read back, and nothing else changes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disks.errors import DiskError, ReadOnlyError, UnsupportedImageError
from disks.image import BlockImage, DirectImage
from disks.open import ImageFormat, open_image
from disks.overlay import SnapshotImage
from disks.raw import RawImage
from disks.sync import SyncPolicy
from disks.vhd.opening import open_vhd
from tests.disks.crash_recorder import RecordingFile

MakeVhd = Callable[..., Path]
SECTORS = 3 * 1024 + 5  # three blocks of 512 KiB and a bit of a fourth

Operation = tuple[str, int, int, int]
operations = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "read", "flush", "reopen"]),
        st.integers(0, SECTORS - 1),
        st.one_of(st.integers(1, 9), st.integers(1, 1500)),
        st.integers(0, 255),
    ),
    max_size=12,
)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def raw(make_vhd: MakeVhd) -> Path:
    path = make_vhd(SECTORS * 512, name="never.vhd").with_name("disk.img")
    path.write_bytes(bytes(SECTORS * 512))
    return path


def check_against_model(path: Path, steps: list[Operation], sync: SyncPolicy) -> None:
    image: BlockImage = open_image(path, sync=sync)
    model = bytearray(SECTORS * 512)
    for step, lba, wanted, seed in steps:
        sectors = min(wanted, SECTORS - lba)
        if step == "write":
            data = bytes((seed + i) & 0xFF for i in range(256)) * 2 * sectors
            image.write(lba, data)
            model[lba * 512 : (lba + sectors) * 512] = data
        elif step == "read":
            assert image.read(lba, sectors) == model[lba * 512 : (lba + sectors) * 512]
        elif step == "flush":
            image.flush()
        else:
            image.close()
            image = open_image(path, sync=sync)
    assert image.read(0, SECTORS) == model
    image.close()
    with_readers = [open_image(path, read_only=True) for _ in range(2)]
    assert all(reader.read(0, SECTORS) == model for reader in with_readers)
    for reader in with_readers:
        reader.close()


@pytest.mark.quick(
    "raw-SyncPolicy.ON_FLUSH",
    "fixed-SyncPolicy.ON_FLUSH",
    "dynamic-SyncPolicy.ON_FLUSH",
    "dynamic-SyncPolicy.ALWAYS",
)
@pytest.mark.parametrize("sync", SyncPolicy)
@pytest.mark.parametrize("kind", ["raw", "fixed", "dynamic"])
def test_image_behaves_as_a_bytearray(make_vhd: MakeVhd, kind: str, sync: SyncPolicy) -> None:
    @quick
    @given(operations)
    def run(steps: list[Operation]) -> None:
        if kind == "raw":
            path = raw(make_vhd)
        else:
            path = make_vhd(SECTORS * 512, fixed=kind == "fixed", **_blocks(kind))
        check_against_model(path, steps, sync)
        for leftover in path.parent.iterdir():
            leftover.unlink()

    run()


def _blocks(kind: str) -> dict[str, int]:
    return {"block_bytes": 512 << 10} if kind == "dynamic" else {}


def test_snapshot_keeps_writes_to_itself(make_vhd: MakeVhd) -> None:
    @quick
    @given(operations, operations)
    def run(before: list[Operation], after: list[Operation]) -> None:
        path = make_vhd(SECTORS * 512, block_bytes=512 << 10)
        check_against_model(path, before, SyncPolicy.NEVER)
        stored = path.read_bytes()
        overlay = SnapshotImage(open_image(path, read_only=True))
        model = bytearray(overlay.read(0, SECTORS))
        for _, lba, wanted, seed in after:
            sectors = min(wanted, SECTORS - lba)
            overlay.write(lba, bytes([seed]) * 512 * sectors)
            model[lba * 512 : (lba + sectors) * 512] = bytes([seed]) * 512 * sectors
            assert overlay.read(lba // 2, lba - lba // 2) == model[lba // 2 * 512 : lba * 512]
        assert overlay.read(0, SECTORS) == model
        overlay.close()
        assert path.read_bytes() == stored
        path.unlink()

    run()


@pytest.mark.parametrize("fixed", [True, False])
def test_read_only_image_refuses_writes(make_vhd: MakeVhd, fixed: bool) -> None:
    image = open_image(make_vhd(1 << 20, fixed=fixed), read_only=True)
    with pytest.raises(ReadOnlyError):
        image.write(0, bytes(512))
    image.close()


@pytest.mark.parametrize(("lba", "sectors"), [(-1, 1), (SECTORS, 1), (SECTORS - 1, 2), (0, -1)])
@pytest.mark.parametrize("fixed", [True, False])
def test_requests_outside_the_image_raise(make_vhd: MakeVhd, fixed: bool, lba: int, sectors: int) -> None:
    image = open_image(make_vhd(SECTORS * 512, fixed=fixed))
    with pytest.raises(ValueError, match="outside"):
        image.read(lba, sectors)
    image.close()


def test_half_a_sector_cannot_be_written(make_vhd: MakeVhd) -> None:
    image = open_image(make_vhd(1 << 20))
    with pytest.raises(ValueError, match="whole sectors"):
        image.write(0, bytes(100))
    image.close()


def test_raw_image_that_ends_inside_a_sector_is_padded(tmp_path: Path) -> None:
    path = tmp_path / "boot.img"
    path.write_bytes(b"\x55" * 700)
    image = open_image(path)
    assert image.size_bytes == 1024
    assert image.read(0, 2) == b"\x55" * 700 + bytes(324)
    assert image.read(2, 0) == b""
    image.write(1, b"\xaa" * 512)
    assert image.read(0, 2) == b"\x55" * 512 + b"\xaa" * 512
    image.close()


def test_close_is_idempotent(make_vhd: MakeVhd) -> None:
    for fixed in (True, False):
        image = open_image(make_vhd(1 << 20, fixed=fixed, name=f"{fixed}.vhd"))
        image.close()
        image.close()


@pytest.mark.parametrize("policy", list(SyncPolicy))
@pytest.mark.parametrize("fixed", [False, True])
def test_a_flush_syncs_the_file_of_sectors_as_the_policy_says(
    make_vhd: MakeVhd, fixed: bool, policy: SyncPolicy
) -> None:
    contents = make_vhd(64 << 10, fixed=True).read_bytes()
    file = RecordingFile(contents if fixed else contents[:-512])
    image = open_vhd(file, policy) if fixed else RawImage(file, policy)
    before = len(file.epochs)

    image.write(0, bytes(512))
    assert len(file.epochs) - before == (policy is SyncPolicy.ALWAYS)
    image.flush()
    assert (len(file.epochs) > before) == (policy is not SyncPolicy.NEVER)


def test_what_the_host_failed_to_store_is_never_called_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(4096))
    image = open_image(path)
    image.write(0, b"\x01" * 512)

    def fail_once(descriptor: int) -> None:
        monkeypatch.undo()
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail_once)
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output error"):
            image.flush()
    with pytest.raises(OSError, match="earlier sync"):
        image.close()


def test_the_format_given_wins_over_what_a_guest_wrote(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"QFI\xfb".ljust(4096, b"\0"))
    with pytest.raises(UnsupportedImageError):
        open_image(path)

    image = open_image(path, image_format=ImageFormat.RAW)

    assert image.size_bytes == 4096
    image.close()


@pytest.mark.parametrize("kind", ["raw", "fixed"])
def test_sectors_are_read_into_any_number_of_views(kind: str, make_vhd: MakeVhd) -> None:
    path = raw(make_vhd) if kind == "raw" else make_vhd(SECTORS * 512, fixed=True)
    with closing(open_image(path)) as image:
        assert isinstance(image, DirectImage)
        image.write(0, os.urandom(SECTORS * 512))
        buffer = bytearray(1500 * 512)
        whole = memoryview(buffer)
        views = [whole[at : at + 256] for at in range(0, len(buffer), 256)]  # more than one preadv(2) takes
        image.read_into(7, views)
        assert buffer == image.read(7, 1500)
        with pytest.raises(ValueError, match="outside"):
            image.read_into(SECTORS - 1499, views)
        os.truncate(path, 1000 * 512)
        with pytest.raises(DiskError, match="ends"):
            image.read_into(0, views)
