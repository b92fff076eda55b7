"""Where a sector comes from: through which table entry and which bit of which bitmap, of which file.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Block Allocation Table and Data Blocks".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from disks.image import SECTOR_BYTES, check_range
from disks.vhd.fixed import FixedVhd
from disks.vhd.layout import BLOCK_ABSENT
from disks.vhd.sparse import SparseVhd, VhdImage


class Lookup(NamedTuple):
    """What one level's table and bitmap say of a sector; offsets are in bytes from the start of its file.

    `bitmap_byte` and `mask` are those of the first sector of a run, None for an absent block.
    """

    block: int
    entry_offset: int
    entry: int
    bitmap_byte: int | None = None
    mask: int | None = None
    data_offset: int | None = None


class Passed(NamedTuple):
    """A level that does not hold the sectors, and why: `absent`, `clear` or `beyond`."""

    path: Path
    why: str
    lookup: Lookup | None


class Origin(NamedTuple):
    """A run of sectors with one origin; `path` None for the zeros that nobody holds.

    `lookup` is None in a fixed disk; `passed` are the levels above, the image first.
    """

    lba: int
    sectors: int
    level: int
    path: Path | None
    data_offset: int | None
    lookup: Lookup | None
    passed: tuple[Passed, ...]


def whence(image: VhdImage, lba: int, sectors: int) -> Iterator[Origin]:
    """Yield who supplies the sectors, in order; a run ends where its block or its bit does."""
    check_range(image.size_bytes, lba, sectors)
    yield from _ask([*image.levels], 0, lba, sectors, ())


def _ask(
    levels: list[VhdImage], number: int, lba: int, sectors: int, passed: tuple[Passed, ...]
) -> Iterator[Origin]:
    if not sectors:
        return
    if number == len(levels):
        yield Origin(lba, sectors, number - 1, None, None, None, passed)
        return
    level = levels[number]
    inside = max(0, min(sectors, level.size_bytes // SECTOR_BYTES - lba))
    if isinstance(level, FixedVhd):
        if inside:
            yield Origin(lba, inside, number, level.path, lba * SECTOR_BYTES, None, passed)
    else:
        yield from _ask_blocks(levels, number, lba, inside, passed)
    if sectors > inside:  # behind a parent's end there are zeros, whoever stands behind it
        gone = (*passed, Passed(level.path, "beyond", None))
        yield Origin(lba + inside, sectors - inside, number, None, None, None, gone)


def _ask_blocks(
    levels: list[VhdImage], number: int, lba: int, sectors: int, passed: tuple[Passed, ...]
) -> Iterator[Origin]:
    """Ask the table and the bitmaps of a dynamic or differencing level."""
    level = levels[number]
    assert isinstance(level, SparseVhd)
    store = level.store
    per_block, end = store.header.block_sectors, lba + sectors
    while lba < end:
        block, first = divmod(lba, per_block)
        length = min(end - lba, per_block - first)
        for run in store.runs(lba, length):
            lookup = _lookup(level, block, lba % per_block)
            if run.offset is not None:
                yield Origin(lba, run.sectors, number, level.path, run.offset, lookup, passed)
            else:
                why = "absent" if lookup.entry == BLOCK_ABSENT else "clear"
                below = (*passed, Passed(level.path, why, lookup))
                yield from _ask(levels, number + 1, lba, run.sectors, below)
            lba += run.sectors


def _lookup(level: SparseVhd, block: int, sector: int) -> Lookup:
    """Return what is looked up for one sector of a block."""
    header, entry = level.store.header, level.store.table[block]
    entry_offset = header.table_offset + block * 4
    if entry == BLOCK_ABSENT:
        return Lookup(block, entry_offset, entry)
    start = entry * SECTOR_BYTES
    data = start + header.bitmap_bytes + sector * SECTOR_BYTES
    return Lookup(block, entry_offset, entry, start + (sector >> 3), 0x80 >> (sector & 7), data)
