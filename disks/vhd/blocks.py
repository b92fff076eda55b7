"""Blocks of a dynamic or differencing disk: where sectors lie, and how new ones get a place.

Order of writes, so that a crash at any moment leaves each sector old or new:
  1. the file grows and the footer is written behind the new room; sync
  2. data, and the bitmap of a new block; sync (at a flush)
  3. BAT entries and bitmaps, in any order: either alone shows the old contents; sync
The footer at the old end is overwritten (2) only after the one at the new end is durable (1).
Until (3) table and bitmaps live in memory, so a flush costs two syncs however much was written.
A new block is zeros before anything names it. In a differencing disk its bitmap is empty, so that the
parent shows through; elsewhere every sector is marked present from the start, since QEMU reads what
lies behind clear bits, and must see no other disk than we do whenever the process dies.

NOT modelled: blocks padded so that their data is page aligned.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Block Allocation Table and Data Blocks".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from disks import bits
from disks.errors import DiskError
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES, sectors_in
from disks.sync import SyncPolicy
from disks.vhd.bat import BlockAllocationTable
from disks.vhd.footer import Footer
from disks.vhd.header import DynamicHeader
from disks.vhd.layout import BLOCK_ABSENT, FOOTER_BYTES, TYPE_DIFFERENCING

_GROWTH_BLOCKS: Final = 16  # room made at once: one sync for so many new blocks
_MAX_DIRTY_BLOCKS: Final = 64  # what the death of the process may cost, with 2 MiB blocks 128 MiB
_MAX_CACHED_BITMAPS: Final = 4096


class Run(NamedTuple):
    """Consecutive sectors that lie together in the file, or (`offset` None) nowhere."""

    sectors: int
    offset: int | None


class Placement(NamedTuple):
    """The footer of an open image, and where its variable parts lie."""

    footer: Footer
    footer_record: bytes
    footer_offset: int
    blocks_end: int


class BlockStore:
    """The blocks of one file. The caller checks ranges and owns the meaning of holes."""

    def __init__(
        self,
        file: ByteFile,
        header: DynamicHeader,
        table: BlockAllocationTable,
        placement: Placement,
        sync: SyncPolicy,
    ) -> None:
        self.header = header
        self.table = table
        self._file = file
        self._policy = sync
        is_differencing = placement.footer.disk_type == TYPE_DIFFERENCING
        self._zero_sectors = 0 if is_differencing else placement.footer.current_size // SECTOR_BYTES
        self._footer_record = placement.footer_record
        self._footer_offset = placement.footer_offset
        self._next_offset = -(-placement.blocks_end // SECTOR_BYTES) * SECTOR_BYTES
        self._tail_is_clean = False
        self._bitmaps: dict[int, int] = {}
        self._dirty: set[int] = set()
        self._unsynced = False
        self._per_block = header.block_sectors
        self._full = (1 << header.block_sectors) - 1
        self._bitmap_bytes = header.bitmap_bytes

    def runs(self, lba: int, sectors: int) -> list[Run]:
        """Return the runs that make up the range, in order, neighbours merged."""
        found: list[Run] = []
        for block, first, length in self._spans(lba, sectors):
            start = self.table[block]
            if start == BLOCK_ABSENT:
                _append(found, length, None)
                continue
            data = start * SECTOR_BYTES + self._bitmap_bytes
            bitmap = self._bitmap(block)
            if bitmap == self._full:
                _append(found, length, data + first * SECTOR_BYTES)
                continue
            for at, count, present in bits.runs(bitmap, self._per_block, first, length):
                _append(found, count, data + at * SECTOR_BYTES if present else None)
        return found

    def held(self, lba: int, sectors: int) -> int:
        """Return the bitmap of the range, across blocks: a one for each sector that lies in the file."""
        found = 0
        for block, first, length in self._spans(lba, sectors):
            absent = self.table[block] == BLOCK_ABSENT
            part = 0 if absent else bits.span(self._bitmap(block), self._per_block, first, length)
            found = found << length | part
        return found

    def offsets(self, lba: int, sectors: int) -> list[tuple[int, int]]:
        """Return (sectors, offset in the file) for each block of a range that lies in the file."""
        return [
            (length, self.table[block] * SECTOR_BYTES + self._bitmap_bytes + first * SECTOR_BYTES)
            for block, first, length in self._spans(lba, sectors)
        ]

    def first_held(self, lba: int, end: int) -> int:
        """Return the first sector from `lba` on that lies in a block present, or `end`."""
        block = self.table.next_present(lba // self._per_block, -(-end // self._per_block))
        return max(lba, min(end, block * self._per_block))

    def present_sectors(self) -> int:
        """Return how many sectors the file holds."""
        return sum(self._bitmap(block).bit_count() for _, block in self.table.used())

    def write(
        self, lba: int, data: bytes | bytearray | memoryview, changed: Callable[[int], None] | None = None
    ) -> None:
        """Store sectors, giving absent blocks a place.

        `changed` is told each block that is new, or holds sectors it did not hold before.
        """
        view = memoryview(data)
        done = 0
        for block, first, length in self._spans(lba, sectors_in(data)):
            if self.table[block] == BLOCK_ABSENT:
                self._allocate(block)
                if changed is not None:
                    changed(block)  # now, as what follows may fail
            offset = self.table[block] * SECTOR_BYTES + self._bitmap_bytes + first * SECTOR_BYTES
            self._unsynced = True
            self._file.write_at(offset, view[done : done + length * SECTOR_BYTES])
            done += length * SECTOR_BYTES
            if self._mark(block, bits.mask(self._per_block, first, length)) and changed is not None:
                changed(block)
            if len(self._dirty) >= _MAX_DIRTY_BLOCKS:
                self.flush()
        if self._policy is SyncPolicy.ALWAYS:
            self.flush()

    def flush(self) -> None:
        """Make durable all that was written, in the order the module describes."""
        if not self._unsynced:
            return
        self._sync()
        if self.table.dirty or self._dirty:
            for index in sorted(self.table.dirty):
                self._file.write_at(self.header.table_offset + index * SECTOR_BYTES, self.table.record(index))
            for block in sorted(self._dirty):
                bitmap = self._bitmaps[block].to_bytes(self._per_block // 8, "big")
                self._file.write_at(self.table[block] * SECTOR_BYTES, bitmap)
            self._sync()
        self.table.dirty.clear()
        self._dirty.clear()
        self._unsynced = False

    def close(self) -> None:
        """Flush, then give back the room made in advance."""
        self.flush()
        if self._tail_is_clean:
            self._move_footer_down()

    def _spans(self, lba: int, sectors: int) -> Iterator[tuple[int, int, int]]:
        """Yield (block, first sector in it, length) for each block the range touches."""
        while sectors:
            block, first = divmod(lba, self._per_block)
            length = min(sectors, self._per_block - first)
            yield block, first, length
            lba += length
            sectors -= length

    def _bitmap(self, block: int) -> int:
        """Return the bitmap of a block that is present."""
        cached = self._bitmaps.get(block)
        if cached is not None:
            return cached
        record = self._file.read_at(self.table[block] * SECTOR_BYTES, self._per_block // 8)
        bitmap = int.from_bytes(record, "big")
        self._cache(block, bitmap)
        return bitmap

    def _cache(self, block: int, bitmap: int) -> None:
        """Keep a bitmap that is not cached yet, in place of a clean one when there are too many."""
        if len(self._bitmaps) >= _MAX_CACHED_BITMAPS:
            del self._bitmaps[next(old for old in self._bitmaps if old not in self._dirty)]
        self._bitmaps[block] = bitmap

    def _mark(self, block: int, mask: int) -> bool:
        """Note that the sectors of `mask` hold data now; tell whether that is new of any of them."""
        bitmap = self._bitmap(block)
        if bitmap & mask == mask:
            return False
        self._bitmaps[block] = bitmap | mask
        self._dirty.add(block)
        return True

    def _allocate(self, block: int) -> None:
        """Give `block` a place and the bitmap of a new block; only memory knows of it so far."""
        start = self._next_offset
        if start // SECTOR_BYTES >= BLOCK_ABSENT:
            raise DiskError(f"{self._file.path}: the file cannot grow past 2 TiB; use larger blocks")
        if not self._tail_is_clean:
            self._move_footer_down()
            self._tail_is_clean = True
        if start + self.header.stride_bytes > self._footer_offset:
            self._move_footer_up()
        self._unsynced = True
        bitmap = new_bitmap(self._per_block, block, self._zero_sectors)
        record = bitmap.to_bytes(self._per_block // 8, "big").ljust(self._bitmap_bytes, b"\0")
        self._file.write_at(start, record)
        self._next_offset = start + self.header.stride_bytes
        self.table[block] = start // SECTOR_BYTES
        self._cache(block, bitmap)
        self._dirty.add(block)

    def _move_footer_up(self) -> None:
        """Make room for more blocks; the footer is durable behind it before this returns."""
        self._place_footer(self._next_offset + _GROWTH_BLOCKS * self.header.stride_bytes)

    def _move_footer_down(self) -> None:
        """Put the footer behind the last block and cut what follows.

        What is cut may be data that a crash left without a BAT entry: a later block in its place
        must start from zeros.
        """
        end = self._next_offset
        if self._footer_offset != end or self._file.size() != end + FOOTER_BYTES:
            self._place_footer(end)
            self._file.resize(end + FOOTER_BYTES)
            self._sync()

    def _place_footer(self, offset: int) -> None:
        self._file.write_at(offset, self._footer_record)
        self._sync()
        self._footer_offset = offset

    def _sync(self) -> None:
        if self._policy is not SyncPolicy.NEVER:
            self._file.sync()


def new_bitmap(per_block: int, block: int, zero_sectors: int) -> int:
    """Return the bitmap of a new block; `zero_sectors` from 0 on are zeros where nothing lies."""
    return bits.mask(per_block, 0, max(0, min(per_block, zero_sectors - block * per_block)))


def _append(found: list[Run], sectors: int, offset: int | None) -> None:
    """Add a run, merging it with the one before where they are neighbours."""
    if found:
        last = found[-1]
        expected = None if last.offset is None else last.offset + last.sectors * SECTOR_BYTES
        if offset == expected:
            found[-1] = Run(last.sectors + sectors, last.offset)
            return
    found.append(Run(sectors, offset))
