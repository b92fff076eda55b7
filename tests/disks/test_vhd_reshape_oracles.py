"""Images compacted, resized and reparented, as 7-Zip and QEMU read them; and interrupted anywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from disks.hostfile import HostFile
from disks.open import open_image
from disks.vhd.compact import compact
from disks.vhd.parents import OWN_DIRECTORY
from disks.vhd.reparent import reparent
from disks.vhd.resize import resize
from tests.disks.conftest import make_child
from tests.disks.scribbles import contents_of, scribble, seven_zip
from tests.oracles import run_tool

MakeVhd = Callable[..., Path]
MakeChain = Callable[..., list[Path]]
MIB = 1 << 20
SIZE = 11 * MIB + 512 * 3
BLOCKS = [{"block_bytes": 2 << 20}, {"block_bytes": 512 << 10}]


def fill_and_zero(path: Path, seed: int, first: int = 0) -> bytes:
    """Fill a disk from byte `first` on with random MiBs and zeros, many of them; return what it holds."""
    chance = Random(seed)
    model = bytearray(scribble(path, seed))
    image = open_image(path)
    for at in range(first, len(model) - MIB, MIB):
        data = bytes(MIB) if chance.random() < 0.6 else chance.randbytes(4096).ljust(MIB, b"\0")
        image.write(at // 512, data)
        model[at : at + MIB] = data
    image.close()
    return bytes(model)


def qemu_compares(path: Path, contents: bytes) -> None:
    raw = path.with_suffix(".expected")
    raw.write_bytes(contents)
    run_tool("qemu-img", "compare", "-f", "vpc", "-F", "raw", path, raw)


@pytest.mark.oracle
@pytest.mark.parametrize("block", BLOCKS)
def test_others_read_a_compacted_disk(make_vhd: MakeVhd, block: dict[str, int]) -> None:
    path = make_vhd(SIZE, **block)
    expected = fill_and_zero(path, 1)
    before = path.stat()
    plan, _ = compact(path, OWN_DIRECTORY)
    assert plan.dropped
    assert path.stat().st_size == plan.bytes_after < before.st_size
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert contents_of(path) == seven_zip(path) == expected
    qemu_compares(path, expected)
    expected = scribble(path, 5)
    assert seven_zip(path) == expected


@pytest.mark.oracle
def test_others_read_a_compacted_chain(make_chain: MakeChain) -> None:
    base = make_chain(1, SIZE)[0]
    below = fill_and_zero(base, 2)
    child = make_child(base.with_name("child.vhd"), base)
    top = make_child(base.with_name("top.vhd"), child)
    image = open_image(child)
    image.write(0, below[: 5 * MIB])  # what the base holds anyway
    image.write(9 * 2048, b"\x99" * 512)
    image.close()
    plan, _ = compact(child, OWN_DIRECTORY)
    assert plan.dropped == (0, 1, 2)
    expected = below[: 9 * MIB] + b"\x99" * 512 + below[9 * MIB + 512 :]
    assert contents_of(top) == seven_zip(child) == seven_zip(top) == expected


@pytest.mark.oracle
@pytest.mark.long("314573312-kind0", "314573312-kind1")
@pytest.mark.parametrize("kind", [{"fixed": True}, *BLOCKS])
@pytest.mark.parametrize("size", [SIZE + 512, 64 * MIB, 300 * MIB + 512])
def test_others_read_a_grown_disk(make_vhd: MakeVhd, kind: dict[str, int], size: int) -> None:
    path = make_vhd(SIZE, **kind)
    expected = scribble(path, 3).ljust(size, b"\0")
    resize(path, size, sparse=True)
    assert f"({size} bytes)" in run_tool("qemu-img", "info", "-f", "vpc", path)
    assert contents_of(path) == seven_zip(path) == expected
    qemu_compares(path, expected)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", [{"fixed": True}, *BLOCKS])
def test_others_read_a_shrunk_disk(make_vhd: MakeVhd, kind: dict[str, int]) -> None:
    path, size = make_vhd(SIZE, **kind), 3 * MIB + 512
    expected = scribble(path, 4)[:size]
    image = open_image(path)
    image.write(size // 512, bytes(SIZE - size))
    image.close()
    resize(path, size)
    assert f"({size} bytes)" in run_tool("qemu-img", "info", "-f", "vpc", path)
    assert contents_of(path) == seven_zip(path) == expected
    qemu_compares(path, expected)


@pytest.mark.oracle
@pytest.mark.parametrize("subformat", ["fixed", "dynamic"])
def test_a_disk_of_qemu_is_resized(tmp_path: Path, subformat: str) -> None:
    path, size = tmp_path / "disk.vhd", 40 * MIB + 512
    run_tool("qemu-img", "create", "-f", "vpc", "-o", f"subformat={subformat}", path, "10M")
    run_tool("qemu-io", "-f", "vpc", "-c", "write -P 0x42 1M 64k", path)
    old = contents_of(path)
    resize(path, size)
    assert f"({size} bytes)" in run_tool("qemu-img", "info", "-f", "vpc", path)
    assert seven_zip(path) == old.ljust(size, b"\0")
    qemu_compares(path, old.ljust(size, b"\0"))


@pytest.mark.oracle
@pytest.mark.parametrize("block", BLOCKS)
def test_a_disk_grows_to_2040_gib(make_vhd: MakeVhd, block: dict[str, int]) -> None:
    path, size = make_vhd(SIZE, **block), 2040 << 30
    expected = scribble(path, 6)
    assert resize(path, size).blocks_moved > 0
    image = open_image(path)
    assert image.read(0, SIZE // 512) == expected
    image.write(size // 512 - 1, b"\x77" * 512)
    image.close()
    assert f"({size} bytes)" in run_tool("qemu-img", "info", "-f", "vpc", path)
    read = run_tool("qemu-io", "-r", "-f", "vpc", "-c", f"read -P 0x77 {size - 512} 512", path)
    assert "read 512/512" in read
    assert "failed" not in read


@pytest.mark.oracle
def test_others_read_a_reparented_chain(make_chain: MakeChain, tmp_path: Path) -> None:
    base, child, top = make_chain(3, SIZE)
    for path, seed in ((base, 1), (child, 2), (top, 3)):
        path.unlink()
        if path is base:
            make_chain(1, SIZE)
        else:
            make_child(path, base if path is child else child)
        expected = scribble(path, seed)
    moved = base.with_name("a-base-with-another-and-much-longer-name.vhd")
    base.rename(moved)
    reparent(child, moved, OWN_DIRECTORY)
    reparent(top, None, OWN_DIRECTORY, only_timestamp=True)
    image = open_image(top, read_only=True)
    assert image.warnings == ()  # type: ignore[attr-defined]
    image.close()
    assert contents_of(top) == seven_zip(top) == expected
    assert seven_zip(child) == contents_of(child)
    assert child.read_bytes()[512:520] == b"cxsparse"


WORK: dict[str, Callable[[Path], object]] = {
    "compact": lambda path: compact(path, OWN_DIRECTORY),
    "grow": lambda path: resize(path, 200 << 30),
    "reparent": lambda path: reparent(path, path.with_name("new.vhd"), OWN_DIRECTORY),
}


@pytest.mark.parametrize("verb", WORK)
def test_control_c_at_any_write_leaves_a_good_image(
    make_vhd: MakeVhd, verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = make_vhd(3 * MIB, block_bytes=512 << 10)
    expected = fill_and_zero(path, 8)
    if verb == "reparent":
        child = make_child(tmp_path / "child.vhd", path)
        path.rename(tmp_path / "new.vhd")
        path = child
    kept = tmp_path / "kept"
    shutil.copyfile(path, kept)
    left = -1
    write = HostFile.write_at

    def interrupted(self: HostFile, offset: int, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise KeyboardInterrupt
        write(self, offset, data)

    for number in range(50):
        shutil.copyfile(kept, path)
        with monkeypatch.context() as patch:
            patch.setattr(HostFile, "write_at", interrupted)
            left = number
            try:
                WORK[verb](path)
            except KeyboardInterrupt:
                pass
            else:
                break
        image = open_image(path) if verb != "reparent" else None
        if image is not None:
            assert image.read(0, len(expected) // 512) == expected
            image.close()
        WORK[verb](path)
        assert contents_of_start(path, len(expected)) == expected
    assert 2 < number < 49


def contents_of_start(path: Path, length: int) -> bytes:
    image = open_image(path, read_only=True)
    try:
        return image.read(0, length // 512)
    finally:
        image.close()


def test_a_parent_in_use_and_a_child_in_use_are_left_alone(make_chain: MakeChain) -> None:
    base, child = make_chain(2, SIZE)
    image = open_image(child)
    before = child.read_bytes()
    for work in (
        lambda: compact(child, OWN_DIRECTORY),
        lambda: compact(base, OWN_DIRECTORY),
        lambda: resize(base, 2 * SIZE, force=True),
        lambda: reparent(child, base, OWN_DIRECTORY),
    ):
        with pytest.raises(Exception, match="by another machine or program"):
            work()
    image.close()
    assert child.read_bytes() == before
    os.utime(base)
