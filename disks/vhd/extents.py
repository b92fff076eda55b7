"""Who holds which sectors: extents, and a cache of them by block.

A read through ten levels asks no level but the one that owns the sectors: the answer for a block is
worked out once, and stays good until the block is written, since parents are never written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final, NamedTuple

from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES

_MAX_BLOCKS: Final = 4096
_MAX_EXTENTS: Final = 1 << 18  # about 30 MiB


class Extent(NamedTuple):
    """Consecutive sectors that lie together in one file, or (`file` None) read as zeros.

    `offset` is in bytes from the start of the file, 0 for zeros. `level` is how far up the chain the
    file is: 0 for the image itself, 1 for its parent; for zeros, the deepest level that was asked.
    """

    sectors: int
    file: ByteFile | None
    offset: int
    level: int

    def part(self, first: int, sectors: int) -> Extent:
        """Return `sectors` of the extent from its sector `first` on."""
        offset = self.offset + first * SECTOR_BYTES if self.file is not None else 0
        return Extent(sectors, self.file, offset, self.level)

    def leads_to(self, other: Extent) -> bool:
        """Tell whether `other` continues this extent."""
        return self.file is other.file and (
            self.file is None or self.offset + self.sectors * SECTOR_BYTES == other.offset
        )


def append(found: list[Extent], extent: Extent) -> None:
    """Add an extent to a list in order, merging it with the last one where they are neighbours."""
    if found and (last := found[-1]).leads_to(extent):
        found[-1] = Extent(last.sectors + extent.sectors, last.file, last.offset, last.level)
    else:
        found.append(extent)


class ExtentCache:
    """The extents of whole blocks, worked out by `resolve(first sector, sectors)` when asked for."""

    def __init__(
        self, block_sectors: int, disk_sectors: int, resolve: Callable[[int, int], list[Extent]]
    ) -> None:
        self._per_block = block_sectors
        self._disk_sectors = disk_sectors
        self._resolve = resolve
        self._blocks: dict[int, tuple[list[int], list[Extent]]] = {}
        self._extents = 0

    def find(self, lba: int, sectors: int) -> list[Extent]:
        """Return the extents that make up the range, in order, neighbours merged."""
        block, first = divmod(lba, self._per_block)
        starts, extents = self._blocks.get(block) or self._load(block)
        index = bisect_right(starts, first) - 1
        extent = extents[index]
        skipped = first - starts[index]
        if skipped + sectors <= extent.sectors:
            return [extent.part(skipped, sectors)]
        return self._find_across(lba, sectors)

    def forget(self, block: int) -> None:
        """Drop what is known of a block, since a write changes who holds it."""
        known = self._blocks.pop(block, None)
        if known is not None:
            self._extents -= len(known[1])

    def _find_across(self, lba: int, sectors: int) -> list[Extent]:
        found: list[Extent] = []
        while sectors:
            block, first = divmod(lba, self._per_block)
            starts, extents = self._blocks.get(block) or self._load(block)
            for index in range(bisect_right(starts, first) - 1, len(starts)):
                skipped = lba - block * self._per_block - starts[index]
                length = min(extents[index].sectors - skipped, sectors)
                append(found, extents[index].part(skipped, length))
                lba, sectors = lba + length, sectors - length
                if not sectors:
                    break
        return found

    def _load(self, block: int) -> tuple[list[int], list[Extent]]:
        first = block * self._per_block
        extents = self._resolve(first, min(self._per_block, self._disk_sectors - first))
        while self._blocks and (
            len(self._blocks) >= _MAX_BLOCKS or self._extents + len(extents) > _MAX_EXTENTS
        ):
            self.forget(next(iter(self._blocks)))
        starts, at = [], 0
        for extent in extents:
            starts.append(at)
            at += extent.sectors
        self._blocks[block] = starts, extents
        self._extents += len(extents)
        return starts, extents
