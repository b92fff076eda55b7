"""Part of a chain: a child and some images behind it, cut off from those it stands on below the cut.

Every image of the chain is open and locked, also those below the cut, so that nobody changes what
the part is worked on with.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Differencing Hard Disk Image".
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from disks.errors import DiskError, UnsupportedImageError
from disks.hostfile import HostFile
from disks.image import SECTOR_BYTES
from disks.open import open_image
from disks.vhd.extents import Extent
from disks.vhd.layers import SURVEY_SECTORS
from disks.vhd.opening import open_level
from disks.vhd.parents import ParentRules
from disks.vhd.sparse import SparseVhd, VhdImage


class Level(NamedTuple):
    """One image of a chain, as it was found."""

    path: Path
    unique_id: uuid.UUID
    size_bytes: int


class Span:
    """A chain in two parts: `upper` is the child, which holds what the levels above the cut hold.

    `lower` is the image the cut was made above, with all it stands on; None when the cut is at the end.
    """

    def __init__(self, upper: VhdImage, lower: VhdImage | None) -> None:
        self.upper = upper
        self.lower = lower

    def close(self) -> None:
        """Release every image. Idempotent."""
        try:
            if self.lower is not None:
                self.lower.close()
        finally:
            self.upper.close()


def chain_of(child: Path, rules: ParentRules) -> list[Level]:
    """Return the images of a chain, the child first; raise OSError or DiskError."""
    image = open_image(child, read_only=True, parents=rules)
    try:
        if not isinstance(image, SparseVhd) or not image.is_differencing:
            raise UnsupportedImageError(child, "not a differencing VHD: there is no parent to merge into")
        return [Level(level.path, level.footer.unique_id, level.size_bytes) for level in image.levels]
    finally:
        image.close()


def index_of(levels: Sequence[Level], path: Path) -> int:
    """Return where in the chain a file is; raise DiskError, with the chain, if it is not."""
    for index, level in enumerate(levels):
        if path.samefile(level.path):
            return index
    chain = " -> ".join(str(level.path) for level in levels)
    raise DiskError(f"{path}: not an image of the chain, which is {chain}")


def open_span(levels: Sequence[Level], cut: int, *, writable: bool = False) -> Span:
    """Open a chain cut above level `cut`; with `writable`, that level for writing, and only that one.

    Raise ImageBusyError for an image that is in use in a way that excludes this.
    """
    images: list[VhdImage] = []
    with ExitStack() as opened:
        for index, level in enumerate(levels):
            file = HostFile.open(level.path, read_only=not (writable and index == cut), follow=index == 0)
            opened.callback(file.close)
            image = open_level(file)
            if image.footer.unique_id != level.unique_id:
                raise DiskError(f"{level.path}: was replaced by another image; try again")
            images.append(image)
        opened.pop_all()
    lower = _joined(images[cut:]) if cut < len(images) else None
    return Span(_joined(images[:cut]), lower)


def _joined(images: Sequence[VhdImage]) -> VhdImage:
    """Stand each image on the one behind it, the last ones first, and return the first."""
    for parent, child in pairwise(reversed(images)):
        assert isinstance(child, SparseVhd)
        child.stand_on(parent)
    return images[0]


def held(upper: VhdImage) -> Iterator[tuple[int, Extent]]:
    """Yield (first sector, extent) for all that the upper part of a span holds, in order.

    Zeros that were written are held too: they hide what lies below.
    """
    total = upper.size_bytes // SECTOR_BYTES
    for start in range(0, total, SURVEY_SECTORS):
        lba = start
        for extent in upper.resolve(start, min(SURVEY_SECTORS, total - start)):
            if extent.file is not None:
                yield lba, extent
            lba += extent.sectors
