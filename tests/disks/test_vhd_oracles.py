"""Our images read by other programs, and theirs read by us, with random contents."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from disks.open import open_image
from tests.disks.scribbles import scribble, seven_zip
from tests.oracles import run_tool

pytestmark = pytest.mark.oracle
MakeVhd = Callable[..., Path]
SIZE = 11 * (1 << 20) + 512 * 3


@pytest.mark.parametrize(("fixed", "block"), [(True, 2 << 20), (False, 2 << 20), (False, 512 << 10)])
def test_others_read_what_we_write(make_vhd: MakeVhd, tmp_path: Path, fixed: bool, block: int) -> None:
    path = make_vhd(SIZE, fixed=fixed, block_bytes=block)
    expected = scribble(path, seed=block + fixed)
    raw = tmp_path / "expected.raw"
    raw.write_bytes(expected)
    assert seven_zip(path) == expected
    run_tool("qemu-img", "compare", "-f", "vpc", "-F", "raw", path, raw)


@pytest.mark.parametrize("subformat", ["fixed", "dynamic"])
def test_we_read_and_extend_what_qemu_writes(tmp_path: Path, subformat: str) -> None:
    raw, path = tmp_path / "in.raw", tmp_path / "disk.vhd"
    contents = bytearray(random.Random(7).randbytes(3 << 20) + bytes(8 << 20))
    raw.write_bytes(contents)
    options = f"subformat={subformat},force_size=on"
    run_tool("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, raw, path)
    image = open_image(path, read_only=True)
    assert image.read(0, image.size_bytes // 512) == contents
    image.close()
    raw.write_bytes(scribble(path, seed=8))
    run_tool("qemu-img", "compare", "-f", "vpc", "-F", "raw", path, raw)
    assert seven_zip(path) == raw.read_bytes()


@pytest.mark.parametrize("fixed", [True, False])
def test_we_read_what_qemu_writes_into_our_image(make_vhd: MakeVhd, fixed: bool) -> None:
    path = make_vhd(SIZE, fixed=fixed)
    writes = ["write -P 0x11 0 512", "write -P 0x22 2096640 1M", "write -P 0x33 11534336 1536"]
    commands = [argument for write in writes for argument in ("-c", write)]
    run_tool("qemu-io", "-f", "vpc", *commands, path)
    image = open_image(path, read_only=True)
    contents = image.read(0, image.size_bytes // 512)
    image.close()
    assert contents[:513] == b"\x11" * 512 + b"\0"
    assert contents[2096639 : 2096640 + (1 << 20) + 1] == b"\0" + b"\x22" * (1 << 20) + b"\0"
    assert contents[11534336:] == b"\x33" * 1536


@pytest.mark.parametrize("size", [10 << 20, 504 << 20, 3 << 30, 200 << 30])
def test_qemu_sees_the_size_we_made(make_vhd: MakeVhd, size: int) -> None:
    assert f"({size} bytes)" in run_tool("qemu-img", "info", "-f", "vpc", make_vhd(size))
