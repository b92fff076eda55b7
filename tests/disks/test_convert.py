"""Conversion: the same disk in another kind of file, without holes and zeros, whole or not at all."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disks.convert import DynamicTarget, FixedTarget, RawTarget, Target, convert
from disks.copying import AnyImage, copy, held_bytes
from disks.errors import DiskError
from disks.hostfile import HostFile
from disks.open import ImageFormat, open_image
from disks.raw import RawImage
from disks.vhd.create import DynamicBuilder
from disks.vhd.sparse import SparseVhd
from tests.disks.conftest import MakeChain, MakeVhd
from tests.disks.scribbles import contents_of, scribble, seven_zip
from tests.oracles import run_tool

MIB = 1 << 20
SIZE = 11 * MIB + 512 * 3
TARGETS: dict[str, Callable[[], Target]] = {
    "raw": RawTarget,
    "fixed": FixedTarget,
    "sparse fixed": lambda: FixedTarget(sparse=True),
    "dynamic": DynamicTarget,
    "dynamic 512K": lambda: DynamicTarget(block_bytes=512 << 10),
}


def converted(source: Path, path: Path, target: Target) -> int:
    image = open_image(source, read_only=True)
    try:
        return convert(image, path, target)  # type: ignore[arg-type]
    finally:
        image.close()


def room(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.fixture
def sources(make_vhd: MakeVhd, make_chain: MakeChain, tmp_path: Path) -> dict[str, tuple[Path, bytes]]:
    """An image of each kind with what it holds."""
    raw = tmp_path / "source.img"
    raw.write_bytes(random.Random(1).randbytes(3 * MIB) + bytes(4 * MIB) + b"end")
    images = {
        "fixed": make_vhd(SIZE, fixed=True, name="fixed.vhd"),
        "dynamic": make_vhd(SIZE, name="dynamic.vhd", block_bytes=512 << 10),
    }
    found = {name: (path, scribble(path, seed=len(name))) for name, path in images.items()}
    chain = make_chain(3, SIZE)
    for level in range(1, 3):  # a parent is written before its children
        chain[level].unlink()
    scribble(chain[0], seed=30)
    from tests.disks.conftest import make_child

    for level in range(1, 3):
        make_child(chain[level], chain[level - 1])
        contents = scribble(chain[level], seed=30 + level)
    return found | {"chain": (chain[2], contents), "raw": (raw, raw.read_bytes().ljust(7 * MIB + 512, b"\0"))}


@pytest.mark.quick(
    "raw-fixed",
    "raw-dynamic",
    "fixed-raw",
    "fixed-chain",
    "sparse fixed-dynamic",
    "dynamic-raw",
    "dynamic-fixed",
    "dynamic-chain",
    "dynamic 512K-dynamic",
)
@pytest.mark.parametrize("kind", ["raw", "fixed", "dynamic", "chain"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_kind_becomes_every_other_with_the_same_contents(
    sources: dict[str, tuple[Path, bytes]], tmp_path: Path, kind: str, target: str
) -> None:
    source, expected = sources[kind]
    path = tmp_path / ("out.img" if target == "raw" else "out.vhd")

    converted(source, path, TARGETS[target]())

    assert contents_of(path) == expected


@pytest.mark.oracle
@pytest.mark.parametrize("target", TARGETS)
def test_others_read_the_flattened_chain_as_they_read_the_chain(
    sources: dict[str, tuple[Path, bytes]], tmp_path: Path, target: str
) -> None:
    chain, expected = sources["chain"]
    path, raw = tmp_path / "out.image", tmp_path / "expected.raw"
    raw.write_bytes(seven_zip(chain))

    converted(chain, path, TARGETS[target]())

    assert raw.read_bytes() == expected
    form = "raw" if target == "raw" else "vpc"
    run_tool("qemu-img", "compare", "-f", form, "-F", "raw", path, raw)
    if target != "raw":
        assert seven_zip(path) == expected


@pytest.mark.oracle
@pytest.mark.parametrize("subformat", ["fixed", "dynamic"])
def test_what_qemu_made_is_converted(
    sources: dict[str, tuple[Path, bytes]], tmp_path: Path, subformat: str
) -> None:
    raw, expected = sources["raw"]
    path, back = tmp_path / "qemu.vhd", tmp_path / "back.img"
    options = f"subformat={subformat},force_size=on"
    run_tool("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, raw, path)

    converted(path, back, RawTarget())

    assert back.read_bytes() == expected
    assert room(back) < 4 * MIB  # its bitmaps are all ones, its zeros are found nevertheless


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4090), st.integers(1, 600), st.booleans())),
    target=st.sampled_from(sorted(TARGETS)),
)
def test_any_writes_to_any_level_come_out_as_a_bytearray_holds_them(
    tmp_path: Path, writes: list[tuple[int, int, int, bool]], target: str
) -> None:
    import shutil

    from disks.newfile import new_file
    from disks.vhd.create import write_dynamic
    from tests.disks.conftest import make_child

    folder = tmp_path / "property"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    sectors = 4099  # past four blocks of 512 KiB
    model = bytearray(sectors * 512)
    top = folder / "0.vhd"
    with new_file(top) as file:
        write_dynamic(file, len(model), block_bytes=512 << 10)
    for level in range(3):
        image = open_image(top)
        for _, lba, length, zeros in (write for write in writes if write[0] == level):
            length = min(length, sectors - lba)
            data = bytes(length * 512) if zeros else bytes([1 + lba % 255]) * (length * 512)
            image.write(lba, data)
            model[lba * 512 : (lba + length) * 512] = data
        image.close()
        if level < 2:
            top = make_child(folder / f"{level + 1}.vhd", top)

    out = folder / ("out.img" if target == "raw" else "out.vhd")
    converted(top, out, TARGETS[target]())

    assert contents_of(out) == model


def test_zeros_take_no_room_and_holes_none_either(tmp_path: Path) -> None:
    source = tmp_path / "source.img"
    source.write_bytes(b"\x01" * 4096 + bytes(8 * MIB) + b"\x02" * 4096)
    os.truncate(source, 64 * MIB)

    assert converted(source, tmp_path / "out.img", RawTarget()) == 8192
    assert room(tmp_path / "out.img") <= 64 << 10
    assert converted(source, tmp_path / "sparse.vhd", FixedTarget(sparse=True)) == 8192
    assert room(tmp_path / "sparse.vhd") <= 64 << 10
    converted(source, tmp_path / "fixed.vhd", FixedTarget())
    assert room(tmp_path / "fixed.vhd") >= 64 * MIB

    converted(source, tmp_path / "out.vhd", DynamicTarget())
    image = open_image(tmp_path / "out.vhd", read_only=True)
    assert isinstance(image, SparseVhd)
    assert [block for _, block in image.store.table.used()] == [0, 4]
    image.close()
    assert room(tmp_path / "out.vhd") <= 64 << 10


@pytest.mark.parametrize("inside", [4096, 8])
def test_blocks_of_a_dynamic_disk_are_marked_whole_up_to_its_end(inside: int, tmp_path: Path) -> None:
    source = tmp_path / "source.img"
    source.write_bytes(bytes(2 * MIB) + b"\x01" * 512)
    os.truncate(source, 2 * MIB + inside * 512)
    converted(source, tmp_path / "out.vhd", DynamicTarget())
    bitmap = (tmp_path / "out.vhd").read_bytes()[2048:2560]
    assert bitmap == (b"\xff" * (inside // 8)).ljust(512, b"\0")


class CountingFile:
    """A file that counts what is read of it."""

    def __init__(self, file: HostFile) -> None:
        self._file, self.bytes_read = file, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def read_into(self, offset: int, view: memoryview) -> None:
        self.bytes_read += len(view)
        self._file.read_into(offset, view)


def test_holes_of_a_raw_file_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "source.img"
    with path.open("wb") as file:
        file.seek(1 << 30)
        file.write(b"\x01" * 4096)
        file.truncate(2 << 30)
    counting = CountingFile(HostFile.open(path, read_only=True))
    image = RawImage(counting)  # type: ignore[arg-type]
    assert copy(image, lambda at, data: None) == 4096
    assert counting.bytes_read <= 128 << 10
    image.close()


def test_largest_empty_disk_becomes_a_raw_file_that_takes_no_room(make_vhd: MakeVhd, tmp_path: Path) -> None:
    source = make_vhd(2040 << 30, block_bytes=512 << 10)
    assert converted(source, tmp_path / "out.img", RawTarget()) == 0
    assert (tmp_path / "out.img").stat().st_size == 2040 << 30
    assert room(tmp_path / "out.img") <= 64 << 10


def test_block_at_the_end_of_the_largest_disk_is_found(make_vhd: MakeVhd, tmp_path: Path) -> None:
    source = make_vhd(2040 << 30)
    image = open_image(source)
    image.write((2040 << 21) - 1, b"\x07" * 512)
    image.close()
    assert converted(source, tmp_path / "out.vhd", DynamicTarget()) == 4096
    image = open_image(tmp_path / "out.vhd", read_only=True)
    assert image.read((2040 << 21) - 2, 2) == bytes(512) + b"\x07" * 512
    image.close()


def test_host_that_cannot_tell_of_holes_has_all_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.img"
    source.write_bytes(b"\x01" * 4096 + bytes(MIB))
    seek = os.lseek

    def lseek(descriptor: int, offset: int, whence: int) -> int:
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "no such whence")
        return seek(descriptor, offset, whence)

    monkeypatch.setattr(os, "lseek", lseek)
    assert converted(source, tmp_path / "out.img", RawTarget()) == 4096
    assert contents_of(tmp_path / "out.img") == source.read_bytes()


def test_raw_file_that_ends_inside_a_sector_is_padded(tmp_path: Path) -> None:
    source = tmp_path / "source.img"
    source.write_bytes(b"\x05" * 1000)
    converted(source, tmp_path / "out.img", RawTarget())
    assert (tmp_path / "out.img").read_bytes() == b"\x05" * 1000 + bytes(24)
    converted(source, tmp_path / "out.vhd", DynamicTarget())
    assert contents_of(tmp_path / "out.vhd") == b"\x05" * 1000 + bytes(24)


def test_vhd_can_be_taken_for_raw(make_vhd: MakeVhd, tmp_path: Path) -> None:
    source = make_vhd(MIB, fixed=True)
    image = open_image(source, read_only=True, image_format=ImageFormat.RAW)
    convert(image, tmp_path / "out.img", RawTarget())  # type: ignore[arg-type]
    image.close()
    assert (tmp_path / "out.img").read_bytes() == source.read_bytes()


def test_new_vhds_have_identities_of_their_own(make_vhd: MakeVhd, tmp_path: Path) -> None:
    source = make_vhd(MIB)
    ids = set()
    for number, target in enumerate((DynamicTarget(), FixedTarget(), DynamicTarget())):
        converted(source, tmp_path / f"{number}.vhd", target)
    for path in (source, *(tmp_path / f"{number}.vhd" for number in range(3))):
        image = open_image(path, read_only=True)
        ids.add(image.footer.unique_id)  # type: ignore[attr-defined]
        image.close()
    assert len(ids) == 4


@pytest.mark.parametrize("target", TARGETS)
def test_interrupted_conversion_leaves_nothing(make_vhd: MakeVhd, tmp_path: Path, target: str) -> None:
    source = make_vhd(8 * MIB)
    scribble(source, seed=9)
    before = sorted(tmp_path.iterdir())
    image = open_image(source, read_only=True)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(image, tmp_path / "out", TARGETS[target](), progress=interrupt)  # type: ignore[arg-type]
    image.close()
    assert sorted(tmp_path.iterdir()) == before


def test_progress_reaches_what_is_held(make_vhd: MakeVhd, tmp_path: Path) -> None:
    source = make_vhd(8 * MIB)
    scribble(source, seed=3)
    image: AnyImage = open_image(source, read_only=True)  # type: ignore[assignment]
    told: list[int] = []
    convert(image, tmp_path / "out.img", RawTarget(), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == held_bytes(image)
    image.close()


def test_builder_takes_sectors_in_the_order_of_the_disk_only(tmp_path: Path) -> None:
    file = HostFile.create(tmp_path / "out.vhd")
    builder = DynamicBuilder(file, 8 * MIB)
    builder.write(4 * MIB, memoryview(b"\x01" * 512))
    with pytest.raises(ValueError, match="after"):
        builder.write(0, memoryview(b"\x01" * 512))
    file.close()


def test_other_block_sizes_than_those_others_take_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source.img"
    source.write_bytes(bytes(MIB))
    with pytest.raises(DiskError, match="block size"):
        converted(source, tmp_path / "out.vhd", DynamicTarget(block_bytes=4096))
    assert not (tmp_path / "out.vhd").exists()
