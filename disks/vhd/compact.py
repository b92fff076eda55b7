"""Making an image smaller without changing what it holds: blocks that say nothing go.

A block says nothing where it holds only zeros, or, in a differencing image, only what the parent holds.
Order, so that a crash at any moment leaves the contents as they are:
  1. such blocks leave the table; sync
  2. blocks at the end of the file are copied into the holes; sync; the table names the copies; sync
  3. the footer goes behind the last block, sync, and the rest is cut off; sync

NOT modelled: gaps smaller than a block, which stay.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Block Allocation Table and Data Blocks".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from disks.errors import DiskError, ParentError
from disks.hostfile import ByteFile, HostFile
from disks.image import SECTOR_BYTES
from disks.newfile import Progress
from disks.vhd.layout import BLOCK_ABSENT, FOOTER_BYTES, HEADER_BYTES
from disks.vhd.locators import room_of, texts_of
from disks.vhd.moving import Move, move_blocks, write_table
from disks.vhd.opening import open_level, open_vhd
from disks.vhd.parents import ParentRules
from disks.vhd.rewrite import Anatomy, dissect, places, replace_header, require_vhd
from disks.vhd.sparse import SparseVhd, VhdImage

_PIECE_SECTORS: Final = 2048
_ZEROS: Final = bytes(_PIECE_SECTORS * SECTOR_BYTES)


class Compaction(NamedTuple):
    """What `compact` does: blocks that go, blocks that move, and the bytes of the file before and after."""

    dropped: tuple[int, ...]
    moves: tuple[Move, ...]
    bytes_before: int
    bytes_after: int


def compact(
    path: Path,
    rules: ParentRules,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> tuple[Compaction, tuple[str, ...]]:
    """Compact the image at `path`; return what was done, or would be, and warnings.

    The file keeps its time of modification, which its children note, since its contents stay. `progress`
    is told the bytes read, and then those and the ones moved: together at most twice the file.
    """
    file = HostFile.open(path, read_only=dry_run)
    try:
        image, warnings = _open(file, rules)
    except BaseException:
        file.close()
        raise
    try:
        before = file.status
        plan = plan_compaction(file, image, progress)
        if not dry_run:
            try:
                carry_out(file, plan, progress)
            finally:
                file.set_times(before)
    finally:
        image.close()
    return plan, warnings


def _open(file: HostFile, rules: ParentRules) -> tuple[SparseVhd, tuple[str, ...]]:
    require_vhd(file)
    try:
        image: VhdImage = open_vhd(file, rules=rules)
    except ParentError as error:
        image = open_level(file)
        warnings: tuple[str, ...] = (
            f"only blocks without any sector go, as its chain does not open: {error}",
        )
    else:
        warnings = image.warnings
    if not isinstance(image, SparseVhd):
        raise DiskError(
            f"{file.path}: a fixed VHD holds every sector and cannot be compacted. "
            "Make it dynamic: trapline disk convert"
        )
    return image, warnings


def plan_compaction(file: ByteFile, image: SparseVhd, progress: Progress | None = None) -> Compaction:
    """Read the whole image in `file` and return what can go and what is to move."""
    now = dissect(file)
    header = now.parts.header
    used = now.parts.table.used()
    dropped, kept = [], []
    for number, (sector, block) in enumerate(used, 1):
        if _says_nothing(file, image, block):
            dropped.append(block)
        else:
            kept.append((sector * SECTOR_BYTES, block))
        if progress is not None:
            progress(number * header.stride_bytes)
    texts = texts_of(file, header, now.found.offset)
    front = now.front
    _, start = places(front, None, texts)
    moves = _moves(kept, _slots(kept, header.stride_bytes, start, _obstacles(now)))
    at = {block: offset for offset, block in kept} | {move.block: move.offset for move in moves}
    bounds = (min(at.values()), max(at.values()) + header.stride_bytes) if at else None
    after = places(front, bounds, texts)[1] + FOOTER_BYTES
    return Compaction(tuple(dropped), tuple(moves), file.size(), after)


def carry_out(file: ByteFile, plan: Compaction, progress: Progress | None = None) -> None:
    """Do what was planned for the image in `file`, which is as it was then."""
    now = dissect(file)
    header, table = now.parts.header, now.parts.table
    texts = texts_of(file, header, now.found.offset)
    read = table.present() * header.stride_bytes
    for block in plan.dropped:
        table[block] = BLOCK_ABSENT
    if table.dirty:
        write_table(file, header, table)
    told = None if progress is None else lambda done: progress(read + done)
    move_blocks(file, header, table, plan.moves, told)
    replace_header(file, header, texts)


def _says_nothing(file: ByteFile, image: SparseVhd, block: int) -> bool:
    """Tell whether the image would read the same without the block."""
    per_block = image.store.header.block_sectors
    lba = block * per_block
    inside = min(per_block, image.size_bytes // SECTOR_BYTES - lba)
    for run in image.store.runs(lba, inside):
        if run.offset is not None:
            if image.is_differencing and image.parent is None:
                return False
            if not _is_as_below(file, run.offset, image.parent, lba, run.sectors):
                return False
        lba += run.sectors
    return True


def _is_as_below(file: ByteFile, offset: int, parent: VhdImage | None, lba: int, sectors: int) -> bool:
    """Tell whether sectors of the file are what the disk would hold without them."""
    for first in range(0, sectors, _PIECE_SECTORS):
        length = min(_PIECE_SECTORS, sectors - first)
        data = file.read_at(offset + first * SECTOR_BYTES, length * SECTOR_BYTES)
        if data != _below(parent, lba + first, length):
            return False
    return True


def _below(parent: VhdImage | None, lba: int, sectors: int) -> bytes | bytearray:
    """Return what lies behind a hole: the parent's contents, or zeros."""
    if parent is None:
        return _ZEROS[: sectors * SECTOR_BYTES]
    buffer = bytearray(sectors * SECTOR_BYTES)
    view, at = memoryview(buffer), 0
    for extent in parent.resolve(lba, sectors):
        end = at + extent.sectors * SECTOR_BYTES
        if extent.file is not None:
            extent.file.read_into(extent.offset, view[at:end])
        at = end
    return buffer


def _obstacles(now: Anatomy) -> list[tuple[int, int]]:
    """Return what must not be covered while it counts: the header and the texts, where they lie now."""
    header = now.parts.header
    found = [(now.parts.header_at, now.parts.header_at + HEADER_BYTES)]
    for locator in header.locators:
        if any(locator.platform_code):
            length = max(room_of(locator) or 0, locator.data_length)
            found.append((locator.data_offset, locator.data_offset + length))
    return found


def _slots(
    kept: Sequence[tuple[int, int]], stride: int, start: int, obstacles: Sequence[tuple[int, int]]
) -> Iterator[int]:
    """Yield the places for whole blocks from `start` on that nothing takes, in order."""
    taken = sorted([*((offset, offset + stride) for offset, _ in kept), *obstacles])
    at = -(-start // SECTOR_BYTES) * SECTOR_BYTES
    for first, end in taken:
        while at + stride <= first:
            yield at
            at += stride
        at = max(at, -(-end // SECTOR_BYTES) * SECTOR_BYTES)


def _moves(kept: Sequence[tuple[int, int]], slots: Iterator[int]) -> list[Move]:
    """Give the last blocks of the file the first free places, as long as that leads towards its start."""
    moves = []
    for offset, block in reversed(kept):
        slot = next(slots, None)
        if slot is None or slot >= offset:
            break
        moves.append(Move(block, slot))
    return moves
