"""The block allocation table (BAT): where in the file each block lies, in sectors.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Block Allocation Table and Data Blocks".
"""

from __future__ import annotations

import sys
from array import array
from typing import Final

from disks.errors import ImageFormatError
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.vhd.header import MAX_BLOCKS, DynamicHeader
from disks.vhd.layout import BLOCK_ABSENT, HEADER_BYTES

_ENTRIES_PER_SECTOR: Final = SECTOR_BYTES // 4
_SORTED_TO_NAME_ONE: Final = 1 << 16  # entries in excess; beyond, a hostile table is refused unsorted
_ALL_ABSENT: Final = b"\xff" * SECTOR_BYTES


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
        part = self.entries[index * _ENTRIES_PER_SECTOR : (index + 1) * _ENTRIES_PER_SECTOR]
        if sys.byteorder == "little":
            part.byteswap()
        return part.tobytes()

    def present(self) -> int:
        """Return how many blocks have a place."""
        return self.blocks - self.entries[: self.blocks].count(BLOCK_ABSENT)

    def used(self) -> list[tuple[int, int]]:
        """Return (first sector, block) of every block present, in the order of the file."""
        found: list[tuple[int, int]] = []
        contents = self.entries.tobytes()
        for first in range(0, self.blocks, _ENTRIES_PER_SECTOR):
            if contents[first * 4 : first * 4 + SECTOR_BYTES] == _ALL_ABSENT:
                continue  # most of a large, young image
            last = min(self.blocks, first + _ENTRIES_PER_SECTOR)
            found.extend(
                (sector, block)
                for block, sector in enumerate(self.entries[first:last], first)
                if sector != BLOCK_ABSENT
            )
        return sorted(found)


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
    stride = header.stride_bytes
    header_end = at + HEADER_BYTES
    first = free_from = header.table_offset + header.table_bytes
    if at < first:
        first = free_from = max(first, header_end)
    room, present = max(end - first, 0) // stride, table.present()
    if present > room + _SORTED_TO_NAME_ONE:
        expected, found = f"at most {room} blocks, which is what the file holds", f"{present}"
        raise ImageFormatError(file.path, header.table_offset, "BAT", expected, found)
    previous = None
    for sector, block in table.used():
        start = sector * SECTOR_BYTES
        expected = ""
        if start < first:
            expected = f"a sector from {first // SECTOR_BYTES} on"
        elif start < free_from:
            expected = f"a block apart from block {previous}"
        elif start < header_end and start + stride > at:
            expected = f"a block apart from the header at {at:#x}"
        elif start + stride > end:
            expected = f"a block that ends before {end:#x}"
        if expected:
            where, field = header.table_offset + block * 4, f"BAT entry {block}"
            raise ImageFormatError(file.path, where, field, expected, f"sector {sector} ({start:#x})")
        free_from, previous = start + stride, block
    return max(free_from, header_end)
