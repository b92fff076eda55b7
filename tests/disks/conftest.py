"""Images for the tests of disks: made here, none stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from disks.newfile import new_file
from disks.open import open_image
from disks.vhd.create import write_child, write_dynamic, write_fixed
from disks.vhd.fixed import FixedVhd
from disks.vhd.parents import ParentRules
from disks.vhd.sparse import SparseVhd
from tests.disks.damage import BLOCK

MakeVhd = Callable[..., Path]


@pytest.fixture
def make_vhd(tmp_path: Path) -> MakeVhd:
    """Make an empty VHD of `size_bytes` and return its path."""

    def make(
        size_bytes: int, *, fixed: bool = False, name: str = "disk.vhd", block_bytes: int = 2 << 20
    ) -> Path:
        path = tmp_path / name
        with new_file(path) as file:
            if fixed:
                write_fixed(file, size_bytes)
            else:
                write_dynamic(file, size_bytes, block_bytes=block_bytes)
        return path

    return make


def make_child(path: Path, parent: Path) -> Path:
    """Make an empty child of an image."""
    image = open_image(parent, read_only=True, parents=ParentRules((path.parent, parent.parent)))
    assert isinstance(image, FixedVhd | SparseVhd)
    try:
        with new_file(path) as file:
            write_child(file, path, image)
    finally:
        image.close()
    return path


MakeChain = Callable[..., list[Path]]


@pytest.fixture
def make_chain(make_vhd: MakeVhd, tmp_path: Path) -> MakeChain:
    """Make a base and `depth` - 1 children, each of the one before; the top child comes last."""

    def make(depth: int, size_bytes: int, **base: object) -> list[Path]:
        chain = [make_vhd(size_bytes, name="level0.vhd", **base)]
        for level in range(1, depth):
            chain.append(make_child(tmp_path / f"level{level}.vhd", chain[-1]))
        return chain

    return make


@pytest.fixture
def dynamic(make_vhd: MakeVhd) -> Path:
    """A dynamic VHD of four blocks, the first two present; the second holds its last sector."""
    path = make_vhd(4 * BLOCK, block_bytes=BLOCK)
    image = open_image(path)
    image.write(0, b"\x01" * 512)
    image.write(2047, b"\x02" * 512)
    image.close()
    return path


@pytest.fixture
def child(make_vhd: MakeVhd) -> Path:
    """A child that holds one sector of the first block, of a base that holds the whole block."""
    base = make_vhd(4 * BLOCK, block_bytes=BLOCK, name="base.vhd")
    image = open_image(base)
    image.write(0, b"\x03" * BLOCK)
    image.close()
    path = make_child(base.with_name("child.vhd"), base)
    image = open_image(path)
    image.write(5, b"\x04" * 512)
    image.close()
    return path
