"""Resizing: the old size or the new one, with contents to match, whatever crash comes in between."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from random import Random

import pytest

from disks.errors import DiskError
from disks.vhd import layout
from disks.vhd.footer import Footer
from disks.vhd.geometry import geometry_for
from disks.vhd.opening import find_footer, open_level, read_parts
from disks.vhd.resize import check_resize, resize_dynamic, resize_fixed
from tests.disks.crash_recorder import RecordingFile
from tests.disks.small_images import BASE_ID, BLOCK, blank, filled, open_small, with_header_last

FIXED = 20 * 512


def fixed_image(slack: int = 0, old_footer: bool = False) -> tuple[bytes, bytes]:
    """Return a fixed disk of 20 sectors, `slack` bytes of rubbish behind them, and its contents."""
    contents = Random(7).randbytes(FIXED)
    record = Footer.new(
        layout.TYPE_FIXED, FIXED, datetime(2026, 1, 1, tzinfo=UTC), uuid.UUID(int=0xF1)
    ).to_bytes()
    return contents + b"\xee" * slack + (record[:511] if old_footer else record), contents


def state_of(contents: bytes) -> bytes:
    """Return what a disk reads as."""
    image = open_level(RecordingFile(contents))
    return image.read(0, image.size_bytes // 512)


def crash_everywhere(work: RecordingFile, old: bytes, new: bytes) -> int:
    """Check that every crash leaves one of two disks; return how many were tried."""
    states, seen = 0, set()
    for _, crashed in work.crashes(most_subsets=128):
        found = state_of(crashed)
        assert found in (old, new)
        seen.add(len(found))
        states += 1
    assert seen == {len(old), len(new)}
    return states


@pytest.mark.parametrize("sectors", [21, 23, 29, 60])
@pytest.mark.parametrize("slack", [0, 512, 1536, 700])
@pytest.mark.parametrize("old_footer", [False, True])
def test_growing_a_fixed_disk_survives_any_crash(sectors: int, slack: int, old_footer: bool) -> None:
    if old_footer and slack == 700:
        return  # a file of such a length has no old footer
    start, contents = fixed_image(slack, old_footer)
    work = RecordingFile(start)
    resize_fixed(work, sectors * 512)
    grown = contents.ljust(sectors * 512, b"\0")
    assert state_of(bytes(work.contents)) == grown
    assert work.size() == sectors * 512 + 512
    assert crash_everywhere(work, contents, grown) >= 5


@pytest.mark.parametrize("slack", [0, 512, 700])
def test_shrinking_a_fixed_disk_survives_any_crash(slack: int) -> None:
    start, contents = fixed_image(slack)
    start = start[: 12 * 512] + bytes(8 * 512) + start[FIXED:]
    contents = contents[: 12 * 512]
    work = RecordingFile(start)
    resize_fixed(work, 12 * 512)
    assert work.size() == 13 * 512
    assert crash_everywhere(work, contents + bytes(8 * 512), contents) >= 5


@pytest.mark.parametrize("sectors", [8 * 12 + 1, 8 * 40, 8 * 128, 8 * 129, 8 * 2000 + 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_growing_a_dynamic_disk_survives_any_crash(sectors: int, seed: int) -> None:
    start, contents = filled(12, seed)
    work = RecordingFile(start)
    resize_dynamic(work, sectors * 512)
    grown = contents.ljust(sectors * 512, b"\0")
    assert crash_everywhere(work, contents, grown) >= 5
    assert find_footer(work).warnings == ()
    assert work.read_at(512, 8) == b"cxsparse"


@pytest.mark.parametrize("sectors", [8 * 12 + 1, 8 * 40])
def test_a_header_behind_the_blocks_survives_any_crash_of_growing(sectors: int) -> None:
    start, contents = filled(12, 1)
    work = RecordingFile(with_header_last(start))
    resize_dynamic(work, sectors * 512)
    assert crash_everywhere(work, contents, contents.ljust(sectors * 512, b"\0")) >= 5


def test_growing_an_empty_dynamic_disk_survives_any_crash() -> None:
    work = RecordingFile(blank(3))
    resize_dynamic(work, 300 * BLOCK)
    assert crash_everywhere(work, bytes(3 * BLOCK), bytes(300 * BLOCK)) >= 5
    assert work.size() == 1536 + 3 * 512 + 512


@pytest.mark.parametrize("sectors", [8 * 7, 8 * 6 + 3])
def test_shrinking_a_dynamic_disk_survives_any_crash(sectors: int) -> None:
    file = RecordingFile(filled(12, 3)[0])
    image = open_small(file)
    image.write(sectors, bytes(8 * 12 * 512 - sectors * 512))
    contents = image.read(0, 8 * 12)
    image.close()
    work = RecordingFile(bytes(file.contents))
    check_resize(work, open_level(work), sectors * 512)
    resize_dynamic(work, sectors * 512)
    assert crash_everywhere(work, contents, contents[: sectors * 512]) >= 5
    assert read_parts(work, find_footer(work)).header.max_table_entries == 7


def test_shrinking_and_growing_again_shows_zeros() -> None:
    file = RecordingFile(blank(4))
    image = open_small(file)
    image.write(0, b"\x77" * BLOCK)
    image.close()
    resize_dynamic(file, 3 * 512)  # unchecked: the block holds more
    resize_dynamic(file, 9 * BLOCK)
    assert state_of(bytes(file.contents)) == b"\x77" * 3 * 512 + bytes(9 * BLOCK - 3 * 512)


def last_bitmap(file: RecordingFile) -> int:
    """Return the bitmap of the last block."""
    parts = read_parts(file, find_footer(file))
    return file.contents[parts.table[parts.table.blocks - 1] * 512]


@pytest.mark.parametrize(("sectors", "bits"), [(9, 0x80), (13, 0xF8), (16, 0xFF)])
def test_the_last_block_is_marked_up_to_the_new_end(sectors: int, bits: int) -> None:
    work = RecordingFile(blank(2))
    image = open_small(work)
    image.write(8, bytes(8 * 512))
    image.close()
    for size in (11, sectors):
        resize_dynamic(work, size * 512)
    assert last_bitmap(work) == bits


def test_entries_behind_the_old_table_may_be_rubbish() -> None:
    start, contents = filled(12, 4)
    work = RecordingFile(start[: 1536 + 48] + bytes(512 - 48) + start[2048:])
    resize_dynamic(work, 20 * BLOCK)
    assert state_of(bytes(work.contents)) == contents.ljust(20 * BLOCK, b"\0")


def test_data_past_the_new_end_are_named_and_kept() -> None:
    for start in (fixed_image()[0], filled(12, 3)[0]):
        work = RecordingFile(start)
        with pytest.raises(DiskError, match=r"sector \d+ holds data"):
            check_resize(work, open_level(work), 2 * 512)


def test_a_differencing_image_has_the_size_of_its_parent() -> None:
    work = RecordingFile(blank(3, BASE_ID))
    with pytest.raises(DiskError, match="Flatten it"):
        check_resize(work, open_level(work), 8 * BLOCK)


@pytest.mark.parametrize("size", [0, 1000, (2040 << 30) + 512])
def test_impossible_sizes_are_refused(size: int) -> None:
    work = RecordingFile(fixed_image()[0])
    with pytest.raises(DiskError, match="a disk of"):
        check_resize(work, open_level(work), size)


def test_geometry_follows_the_size_and_the_first_size_stays() -> None:
    work = RecordingFile(fixed_image()[0])
    resize_fixed(work, 64 * 512)
    footer = find_footer(work).footer
    assert footer.geometry == geometry_for(64)
    assert (footer.original_size, footer.current_size) == (FIXED, 64 * 512)


def test_a_disk_that_does_not_fit_the_host_stays_as_it_was() -> None:
    start, _ = fixed_image()
    work = RecordingFile(start)

    def refuse() -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        resize_fixed(work, 64 * 512, refuse)
    assert bytes(work.contents) == start
