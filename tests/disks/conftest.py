"""Images for the tests of disks: made here, none stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from disks.newfile import new_file
from disks.vhd.create import write_dynamic, write_fixed

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
