"""Merging: what a child holds goes into an image it stands on, or a part of the chain into a new file.

Only the image merged into is written, and only in sectors which the child, or an image between the
two, holds: the child shows its own there. So the child reads the same at every moment, whatever part
of the writes is lost in a crash, and a merge that was interrupted is finished by doing it again.

NOT modelled: merging into a raw parent.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Differencing Hard Disk Image".
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.newfile import Progress
from disks.sync import SyncPolicy
from disks.vhd.create import write_child, write_dynamic
from disks.vhd.fixed import FixedVhd
from disks.vhd.header import CREATE_BLOCK_BYTES, DEFAULT_BLOCK_BYTES
from disks.vhd.layout import BLOCK_ABSENT
from disks.vhd.opening import open_level
from disks.vhd.span import Span, held
from disks.vhd.sparse import SparseVhd, VhdImage

_PIECE_SECTORS: Final = 4096  # 2 MiB, the most that is moved at once

Write = Callable[[int, bytes], None]


class Volume(NamedTuple):
    """How much a merge moves: bytes held by the upper part, and blocks the lower one lacks for them."""

    held_bytes: int
    new_blocks: int
    stride_bytes: int

    @property
    def growth_bytes(self) -> int:
        """How much the file merged into grows."""
        return self.new_blocks * self.stride_bytes

    def with_blocks(self, blocks: int) -> Volume:
        """Return the volume once it is known how many blocks there were."""
        return self._replace(new_blocks=blocks)


def volume(upper: VhdImage, target: VhdImage | None) -> Volume:
    """Return what a merge into `target`, or into a new file like the child, will move.

    The blocks are the most there may be: zeros need none in a disk without a parent.
    """
    like = upper if target is None else target
    if not isinstance(like, SparseVhd):
        return Volume(sum(extent.sectors for _, extent in held(upper)) * SECTOR_BYTES, 0, 0)
    header, table = like.store.header, like.store.table
    per_block, sectors, missing = header.block_sectors, 0, set[int]()
    for lba, extent in held(upper):
        sectors += extent.sectors
        blocks = range(lba // per_block, (lba + extent.sectors - 1) // per_block + 1)
        missing.update(block for block in blocks if target is None or table[block] == BLOCK_ABSENT)
    return Volume(sectors * SECTOR_BYTES, len(missing), header.stride_bytes)


def merge_into(upper: VhdImage, target: VhdImage, progress: Progress | None = None) -> None:
    """Write all that the upper part of a span holds to `target`, and make it durable.

    `target` is at least as long as every image of the upper part.
    """
    if isinstance(target, FixedVhd):
        _copy(upper, target.write, None, progress)
        target.flush()
    else:
        _copy(upper, target.write_here, target, progress)
        target.store.close()  # the footer too is where it stays


def is_merged(upper: VhdImage, target: VhdImage) -> bool:
    """Tell whether `target`, on all it stands on, reads as the upper part does wherever that holds data."""
    for lba, extent in held(upper):
        assert extent.file is not None
        for at in range(0, extent.sectors, _PIECE_SECTORS):
            length = min(_PIECE_SECTORS, extent.sectors - at)
            data = extent.file.read_at(extent.offset + at * SECTOR_BYTES, length * SECTOR_BYTES)
            if data != target.read(lba + at, length):
                return False
    return True


def write_span(file: ByteFile, path: Path, span: Span, progress: Progress | None = None) -> int:
    """Make the empty `file`, which is to become `path`, hold what the upper part of a span holds.

    It stands on the lower part; without one it is a dynamic disk. Size and geometry are the child's.
    Return how many blocks it took.
    """
    child = span.upper
    if span.lower is not None:
        write_child(file, path, span.lower, like=child)
    else:
        own = child.store.header.block_bytes if isinstance(child, SparseVhd) else DEFAULT_BLOCK_BYTES
        block_bytes = own if own in CREATE_BLOCK_BYTES else DEFAULT_BLOCK_BYTES
        write_dynamic(file, child.size_bytes, block_bytes=block_bytes, geometry=child.footer.geometry)
    image = open_level(file, SyncPolicy.NEVER)  # who makes the file makes it durable
    assert isinstance(image, SparseVhd)
    merge_into(child, image, progress)
    return image.store.table.present()


def _copy(upper: VhdImage, write: Write, target: SparseVhd | None, progress: Progress | None) -> None:
    """Write what `upper` holds, in pieces that stay inside a block of `target`."""
    per_piece = _PIECE_SECTORS
    if target is not None:
        per_piece = min(per_piece, target.store.header.block_sectors)
    done = 0
    for lba, extent in held(upper):
        at = 0
        assert extent.file is not None
        while at < extent.sectors:
            length = min(per_piece - (lba + at) % per_piece, extent.sectors - at)
            data = extent.file.read_at(extent.offset + at * SECTOR_BYTES, length * SECTOR_BYTES)
            if not (_reads_zeros(target, lba + at) and data == bytes(len(data))):
                write(lba + at, data)
            at += length
            done += len(data)
            if progress is not None:
                progress(done)


def _reads_zeros(target: SparseVhd | None, lba: int) -> bool:
    """Tell whether the block of `lba` is absent from a disk without a parent."""
    if target is None or target.is_differencing:
        return False
    return target.store.table[lba // target.store.header.block_sectors] == BLOCK_ABSENT
