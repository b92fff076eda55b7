"""Who holds which sectors: extents, and a cache of them by block, or by part of a large block.

A read through ten levels asks no level but the one that owns the sectors: the answer for a part is
worked out once, and stays good until its block is written, since parents are never written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final, NamedTuple

from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES

_PART_SECTORS: Final = 4096  # 2 MiB; the largest blocks have 256 MiB, and may be held sector by sector
_MAX_PARTS: Final = 4096
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
    """The extents of whole parts, worked out by `resolve(first sector, sectors)` when asked for."""

    def __init__(
        self, block_sectors: int, disk_sectors: int, resolve: Callable[[int, int], list[Extent]]
    ) -> None:
        self._per_part = min(block_sectors, _PART_SECTORS)
        self._parts_per_block = block_sectors // self._per_part
        self._disk_sectors = disk_sectors
        self._resolve = resolve
        self._parts: dict[int, tuple[list[int], list[Extent]]] = {}
        self._extents = 0

    def find(self, lba: int, sectors: int) -> list[Extent]:
        """Return the extents that make up the range, in order, neighbours merged."""
        part, first = divmod(lba, self._per_part)
        starts, extents = self._parts.get(part) or self._load(part)
        index = bisect_right(starts, first) - 1
        extent = extents[index]
        skipped = first - starts[index]
        if skipped + sectors <= extent.sectors:
            return [extent.part(skipped, sectors)]
        return self._find_across(lba, sectors)

    def forget(self, block: int) -> None:
        """Drop what is known of a block, since a write changes who holds it."""
        first = block * self._parts_per_block
        for part in range(first, first + self._parts_per_block):
            self._forget_part(part)

    def _forget_part(self, part: int) -> None:
        known = self._parts.pop(part, None)
        if known is not None:
            self._extents -= len(known[1])

    def _find_across(self, lba: int, sectors: int) -> list[Extent]:
        found: list[Extent] = []
        while sectors:
            part, first = divmod(lba, self._per_part)
            starts, extents = self._parts.get(part) or self._load(part)
            for index in range(bisect_right(starts, first) - 1, len(starts)):
                skipped = lba - part * self._per_part - starts[index]
                length = min(extents[index].sectors - skipped, sectors)
                append(found, extents[index].part(skipped, length))
                lba, sectors = lba + length, sectors - length
                if not sectors:
                    break
        return found

    def _load(self, part: int) -> tuple[list[int], list[Extent]]:
        first = part * self._per_part
        extents = self._resolve(first, min(self._per_part, self._disk_sectors - first))
        while self._parts and (len(self._parts) >= _MAX_PARTS or self._extents + len(extents) > _MAX_EXTENTS):
            self._forget_part(next(iter(self._parts)))
        starts, at = [], 0
        for extent in extents:
            starts.append(at)
            at += extent.sectors
        self._parts[part] = starts, extents
        self._extents += len(extents)
        return starts, extents
