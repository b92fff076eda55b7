"""What others wrote and we only read: rare block sizes, old footers, a footer that only its copy tells of."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from disks.errors import DiskError
from disks.open import open_image
from disks.vhd import create, layout
from disks.vhd.check import check_chain, worst
from disks.vhd.check_rules import Severity
from disks.vhd.footer import Footer
from disks.vhd.header import DynamicHeader
from disks.vhd.sparse import SparseVhd
from tests.disks.damage import put, u32
from tests.disks.scribbles import contents_of, scribble, seven_zip

MakeVhd = Callable[..., Path]
SIZE = 11 * (1 << 20) + 512 * 3


@pytest.mark.parametrize("block_bytes", [4 << 10, 64 << 10, 1 << 20, 8 << 20])
def test_blocks_of_other_sizes_are_read_and_written(
    make_vhd: MakeVhd, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(create, "CREATE_BLOCK_BYTES", (block_bytes,))
    path = make_vhd(SIZE, block_bytes=block_bytes)
    expected = scribble(path, seed=block_bytes)
    assert contents_of(path) == expected
    (level,) = check_chain(path)
    assert set(level.findings.counts) <= {"block-size-rare", "zeros-held"}


@pytest.mark.oracle
@pytest.mark.parametrize("block_bytes", [1 << 20, 8 << 20])
def test_blocks_of_other_sizes_are_as_seven_zip_reads_them(
    make_vhd: MakeVhd, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(create, "CREATE_BLOCK_BYTES", (block_bytes,))
    path = make_vhd(SIZE, block_bytes=block_bytes)
    assert scribble(path, seed=3) == seven_zip(path)


def test_a_fixed_disk_keeps_its_old_footer(make_vhd: MakeVhd) -> None:
    path = make_vhd(1 << 20, fixed=True)
    path.write_bytes(path.read_bytes()[:-1])
    image = open_image(path)
    image.write(2047, b"\x07" * 512)  # next to the footer
    image.close()
    assert path.stat().st_size == (1 << 20) + 511
    assert set(check_chain(path)[0].findings.counts) == {"footer-511"}


@pytest.mark.parametrize("lost", [512, 300])
def test_a_child_without_its_footer_is_read_by_the_copy(child: Path, lost: int) -> None:
    expected = contents_of(child)
    child.write_bytes(child.read_bytes()[:-lost])
    assert contents_of(child) == expected
    with pytest.raises(DiskError, match="reading only"):
        open_image(child)


def test_a_parent_read_by_its_copy_still_carries_a_child_that_is_written(child: Path) -> None:
    put(-512, b"garbage!")(child.with_name("base.vhd"))
    image = open_image(child)
    image.write(9, b"\x09" * 512)
    assert image.read(8, 2) == b"\x03" * 512 + b"\x09" * 512
    image.close()
    levels = check_chain(child)
    assert "footer-damaged" in levels[1].findings.counts
    assert worst(levels) is Severity.ERROR


def scattered(path: Path) -> Path:
    """Make a disk of one block of 256 MiB that holds every other sector."""
    header = DynamicHeader(table_offset=1536, max_table_entries=1, block_bytes=256 << 20)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    footer = Footer.new(layout.TYPE_DYNAMIC, 256 << 20, now, uuid.UUID(int=1)).to_bytes()
    with path.open("wb") as file:
        file.write(footer + header.to_bytes() + u32(4).ljust(512, b"\xff"))
        file.write(b"\xaa" * header.bitmap_bytes + b"\x01" * 512 * 5)
        file.seek(2048 + header.stride_bytes)
        file.write(footer)
    return path


def test_a_read_of_a_scattered_block_looks_at_2_mib_of_it(tmp_path: Path) -> None:
    image = open_image(scattered(tmp_path / "disk.vhd"))
    assert isinstance(image, SparseVhd)
    assert image.read(0, 4) == (b"\x01" * 512 + bytes(512)) * 2
    assert image._cache._extents == 4096
    image.close()


def test_every_part_of_a_block_is_looked_at_anew_when_it_was_written(tmp_path: Path) -> None:
    image = open_image(scattered(tmp_path / "disk.vhd"))
    assert image.read(4094, 4) == bytes(4 * 512)
    image.write(4095, b"\x02" * 512 * 3)  # across the edge of two parts
    assert image.read(4094, 4) == bytes(512) + b"\x02" * 512 * 3
    image.close()
