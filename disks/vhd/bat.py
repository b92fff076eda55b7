"""The block allocation table (BAT): where in the file each block lies, in sectors.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Block Allocation Table and Data Blocks".
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import sub
from typing import Final

from disks.errors import ImageFormatError
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.vhd.header import MAX_BLOCKS, DynamicHeader
from disks.vhd.layout import BLOCK_ABSENT, HEADER_BYTES

_ENTRIES_PER_SECTOR: Final = SECTOR_BYTES // 4
_ALL_ABSENT: Final = array("I", [BLOCK_ABSENT]) * 4096  # a stretch of table, to compare with
_NUMPY_FROM_BLOCKS: Final = 1 << 18  # from so many on it sorts faster than its import takes


class BlockAllocationTable:
    """The entries a disk can use. Changes stay in memory; `dirty` names the table sectors to write."""

    def __init__(self, entries: array[int], blocks: int) -> None:
        self.entries = entries
        self.blocks = blocks
        self.dirty: set[int] = set()

    @classmethod
    def load(cls, file: ByteFile, header: DynamicHeader, disk_bytes: int) -> BlockAllocationTable:
        """Read as much of the table as `disk_bytes` need; the caller knows that it lies in the file."""
        blocks = -(-disk_bytes // header.block_bytes)
        sectors = -(-blocks // _ENTRIES_PER_SECTOR)
        entries = array("I", file.read_at(header.table_offset, sectors * SECTOR_BYTES))
        if sys.byteorder == "little":
            entries.byteswap()
        return cls(entries, blocks)

    def __getitem__(self, block: int) -> int:
        """Return the first sector of `block` in the file, or BLOCK_ABSENT."""
        return self.entries[block]

    def __setitem__(self, block: int, sector: int) -> None:
        """Place `block` at `sector`."""
        self.entries[block] = sector
        self.dirty.add(block // _ENTRIES_PER_SECTOR)

    def record(self, index: int) -> bytes:
        """Return sector `index` of the table as it goes to disk: entries are never torn."""
        return _big_endian(self.entries[index * _ENTRIES_PER_SECTOR : (index + 1) * _ENTRIES_PER_SECTOR])

    def to_bytes(self) -> bytes:
        """Return the whole table as it goes to disk."""
        return _big_endian(self.entries[:])

    def present(self) -> int:
        """Return how many blocks have a place."""
        return self.blocks - self.entries[: self.blocks].count(BLOCK_ABSENT)

    def used(self) -> list[tuple[int, int]]:
        """Return (first sector, block) of every block present, in the order of the file."""
        found: list[tuple[int, int]] = []
        block = self.next_present(0, self.blocks)
        while block < self.blocks:
            last = min(self.blocks, block + _ENTRIES_PER_SECTOR)
            found.extend(
                (sector, number)
                for number, sector in enumerate(self.entries[block:last], block)
                if sector != BLOCK_ABSENT
            )
            block = self.next_present(last, self.blocks)
        return sorted(found)

    def next_present(self, block: int, end: int) -> int:
        """Return the first block from `block` on that has a place, or `end`.

        Most of a large, young image is absent, so the table is compared a stretch at a time.
        """
        while block < end and self.entries[block] == BLOCK_ABSENT:
            stretch = self.entries[block : min(end, block + len(_ALL_ABSENT))]
            if stretch != _ALL_ABSENT[: len(stretch)]:
                return block + next(index for index, sector in enumerate(stretch) if sector != BLOCK_ABSENT)
            block += len(stretch)
        return block

    def places(self) -> tuple[Sequence[int], int]:
        """Return the first sectors of all blocks present, sorted, and how close any two of them are."""
        found: Sequence[int]
        if self.blocks < _NUMPY_FROM_BLOCKS:
            found = sorted(self.entries[: self.blocks])
            del found[bisect_left(found, BLOCK_ABSENT) :]
            return found, min(map(sub, found[1:], found), default=BLOCK_ABSENT)
        import numpy

        table = numpy.sort(numpy.asarray(self.entries)[: self.blocks])
        table = table[: numpy.searchsorted(table, BLOCK_ABSENT)]
        return table.data, int(numpy.diff(table).min(initial=BLOCK_ABSENT))


def _big_endian(entries: array[int]) -> bytes:
    if sys.byteorder == "little":
        entries.byteswap()
    return entries.tobytes()


def check_table_place(file: ByteFile, header: DynamicHeader, disk_bytes: int, at: int, end: int) -> None:
    """Raise ImageFormatError unless the table is as long as the disk needs and inside the file.

    `at` is where the header lies, `end` where the file's data end. Run before `load`, it keeps a
    hostile header from making us read, or reserve, more than the file holds.
    """
    blocks = -(-disk_bytes // header.block_bytes)
    if blocks > MAX_BLOCKS:
        found = f"{header.block_bytes}, which makes {blocks} blocks"
        raise ImageFormatError(file.path, at + 32, "header block size", f"at most {MAX_BLOCKS} blocks", found)
    entries = header.max_table_entries
    if entries < blocks:
        raise ImageFormatError(file.path, at + 28, "header max table entries", f"at least {blocks}", entries)
    table = header.table_offset
    if table < SECTOR_BYTES or (table < at + SECTOR_BYTES * 2 and table + header.table_bytes > at):
        expected = "clear of footer copy and header"
        raise ImageFormatError(file.path, at + 16, "header table offset", expected, f"{table:#x}")
    if table + header.table_bytes > end:
        found = f"{entries} entries from {table:#x}"
        field = "header max table entries"
        raise ImageFormatError(file.path, at + 28, field, f"a table that ends before {end:#x}", found)


def check_entries(
    file: ByteFile, header: DynamicHeader, table: BlockAllocationTable, at: int, end: int
) -> int:
    """Check that blocks lie apart, clear of header (at `at`) and table, and before `end`.

    Return where the last of all these ends; raise ImageFormatError naming the offending entry.
    """
    stride = header.stride_bytes // SECTOR_BYTES
    header_end = at + HEADER_BYTES
    first = header.table_offset + header.table_bytes
    if at < first:
        first = max(first, header_end)
    lowest, highest = -(-first // SECTOR_BYTES), end // SECTOR_BYTES - stride
    places, closest = table.places()
    if not places:
        return max(first, header_end)
    behind_header = bisect_right(places, at // SECTOR_BYTES - stride)  # the first that does not end before it
    on_header = behind_header < len(places) and places[behind_header] * SECTOR_BYTES < header_end
    if places[0] >= lowest and places[-1] <= highest and closest >= stride and not on_header:
        return max((places[-1] + stride) * SECTOR_BYTES, header_end)
    if places[0] < lowest:
        wrong, expected = 0, f"a sector from {lowest} on"
    elif closest < stride:
        wrong = next(index for index in range(1, len(places)) if places[index] - places[index - 1] < stride)
        expected = f"a block apart from block {table.entries.index(places[wrong - 1])}"
    elif on_header:
        wrong, expected = behind_header, f"a block apart from the header at {at:#x}"
    else:
        wrong, expected = bisect_right(places, highest), f"a block that ends before {end:#x}"
    block = table.entries.index(places[wrong])
    if wrong and places[wrong] == places[wrong - 1]:
        block = table.entries.index(places[wrong], block + 1)
    where, found = header.table_offset + block * 4, f"sector {places[wrong]}"
    raise ImageFormatError(file.path, where, f"BAT entry {block}", expected, found)
