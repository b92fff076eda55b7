"""Who holds which sectors in a chain: the bitmaps of its levels laid over each other.

Each level is asked once for a window of sectors, whatever the pattern: what it holds of those still
wanted is its own, the rest is wanted of the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from disks import bits
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.vhd.extents import Extent, append

SURVEY_SECTORS: Final = 1 << 17  # 64 MiB: what is asked for at once by who goes through a disk
_WINDOW_SECTORS: Final = 1 << 15


class Level(Protocol):
    """One image of a chain, taken by itself. Ranges lie inside its size."""

    @property
    def file(self) -> ByteFile:
        """The file that holds what the level holds itself."""

    @property
    def size_bytes(self) -> int:
        """Size of its disk; a parent may be smaller than its child, or larger."""

    def held(self, lba: int, sectors: int) -> int:
        """Return the bitmap of the range: a one for each sector that lies in the file."""

    def first_held(self, lba: int, end: int) -> int:
        """Return the first sector from `lba` on that may lie in the file, or `end`."""

    def offsets(self, lba: int, sectors: int) -> list[tuple[int, int]]:
        """Return (sectors, offset in the file) of the runs that make up a range that is held."""


def resolve(levels: Sequence[Level], lba: int, sectors: int) -> list[Extent]:
    """Return who holds the range, in order, neighbours merged."""
    found: list[Extent] = []
    end = lba + sectors
    while lba < end:
        held_from, level = _nothing_until(levels, lba, end)
        if held_from > lba:
            append(found, Extent(held_from - lba, None, 0, level))
            lba = held_from
        else:
            window = min(end - lba, _WINDOW_SECTORS)
            for _, extent in sorted(_window(levels, lba, window), key=_first):
                append(found, extent)
            lba += window
    return found


def _nothing_until(levels: Sequence[Level], lba: int, end: int) -> tuple[int, int]:
    """Return where a stretch that reads as zeros ends (`lba` if there is none), and the last level asked."""
    for number, level in enumerate(levels):
        size = level.size_bytes // SECTOR_BYTES
        if lba >= size:
            return end, number
        end = level.first_held(lba, min(end, size))
        if end == lba:
            break
    return end, number


def _window(levels: Sequence[Level], first: int, total: int) -> list[tuple[int, Extent]]:
    """Return (place in the window, extent) of a window, by level."""
    found: list[tuple[int, Extent]] = []
    wanted = (1 << total) - 1
    for number, level in enumerate(levels):
        inside = max(0, min(total, level.size_bytes // SECTOR_BYTES - first))
        held = level.held(first, inside) << (total - inside)
        for at, length in _ones(wanted & held, total):
            for sectors, offset in level.offsets(first + at, length):
                found.append((at, Extent(sectors, level.file, offset, number)))
                at += sectors
        beyond = (1 << (total - inside)) - 1  # past the end of a level there are zeros
        ends_here = number == len(levels) - 1
        zeros = wanted & ~held if ends_here else wanted & beyond
        found += [(at, Extent(length, None, 0, number)) for at, length in _ones(zeros, total)]
        wanted &= ~(held | beyond)
        if not wanted or ends_here:
            break
    return found


def _ones(bitmap: int, total: int) -> list[tuple[int, int]]:
    if not bitmap:
        return []
    return [(at, length) for at, length, is_set in bits.runs(bitmap, total, 0, total) if is_set]


def _first(place: tuple[int, Extent]) -> int:
    return place[0]
