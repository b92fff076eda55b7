"""Cylinders, heads and sectors per track of a disk of a given size.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, appendix "CHS Calculation".
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_CYLINDERS: Final = 65_535
_LARGE_FROM_SECTORS: Final = MAX_CYLINDERS * 16 * 63
_MAX_SECTORS: Final = MAX_CYLINDERS * 16 * 255


class Geometry(NamedTuple):
    """A disk geometry as a drive reports it."""

    cylinders: int
    heads: int
    sectors_per_track: int

    @property
    def sectors(self) -> int:
        """Sectors the geometry reaches."""
        return self.cylinders * self.heads * self.sectors_per_track


def geometry_for(sectors: int) -> Geometry:
    """Return the geometry [VHD] prescribes; it reaches at most `sectors`."""
    total = min(sectors, _MAX_SECTORS)
    if total >= _LARGE_FROM_SECTORS:
        return Geometry(total // 255 // 16, 16, 255)
    per_track = 17
    tracks = total // per_track
    heads = max(4, -(-tracks // 1024))
    if tracks >= heads * 1024 or heads > 16:
        per_track, heads = 31, 16
        tracks = total // per_track
    if tracks >= heads * 1024:
        per_track, heads = 63, 16
        tracks = total // per_track
    return Geometry(tracks // heads, heads, per_track)
