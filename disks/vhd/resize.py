"""Giving a disk another size: the footer says it, the table has an entry for each block.

Order, so that a crash at any moment leaves the old size or the new one, and contents to match:
  - growing: room, zeros and table entries are durable first, then the footer says the new size
  - shrinking: the footer says the new size first, then what lies past it goes
Only zeros are ever cut off. Partition tables and file systems are the guest's affair.

NOT modelled: differencing images, whose size is their parent's.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from disks.errors import DiskError
from disks.hostfile import ByteFile, HostFile
from disks.image import SECTOR_BYTES
from disks.newfile import Progress
from disks.vhd import layout
from disks.vhd.blocks import new_bitmap
from disks.vhd.family import children_of
from disks.vhd.footer import CREATOR_APPLICATION, SIZED_BY_GEOMETRY
from disks.vhd.geometry import geometry_for
from disks.vhd.header import MAX_BLOCKS
from disks.vhd.moving import Move, move_blocks
from disks.vhd.opening import find_footer, open_level
from disks.vhd.rewrite import (
    Anatomy,
    dissect,
    put_footer,
    replace_header,
    require_vhd,
    whole_sectors,
    with_field,
)
from disks.vhd.sparse import SparseVhd, VhdImage

_PIECE_SECTORS: Final = 2048
_ZEROS: Final = bytes(_PIECE_SECTORS * SECTOR_BYTES)
_ALLOCATE_STEP_BYTES: Final = 64 << 20
_ENTRY_BYTES: Final = 4


class Resizing(NamedTuple):
    """What `resize` did, or would do."""

    disk_type: str
    old_bytes: int
    new_bytes: int
    blocks_moved: int
    children: tuple[Path, ...]


def resize(
    path: Path,
    size_bytes: int,
    *,
    search: Iterable[Path] = (),
    force: bool = False,
    sparse: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Resizing:
    """Give the disk at `path` another size; raise DiskError where that would lose or break something."""
    file = HostFile.open(path, read_only=dry_run)
    try:
        require_vhd(file)
        image = open_level(file)
        old = image.size_bytes
        if find_footer(file).is_copy:
            raise DiskError(f"{path}: the footer at the end is missing or damaged; repair it first")
        children = tuple(children_of(image.footer.unique_id, [path.resolve().parent, *search]))
        if children and not force:
            named = ", ".join(map(str, children))
            raise DiskError(
                f"{path}: other images stand on it, which go by its size: {named}. --force resizes it"
            )
        check_resize(file, image, size_bytes)
        moves = len(_in_the_way(dissect(file), size_bytes)) if isinstance(image, SparseVhd) else 0
        if not dry_run and size_bytes != old:
            if isinstance(image, SparseVhd):
                resize_dynamic(file, size_bytes, progress)
            else:
                resize_fixed(
                    file, size_bytes, None if sparse else lambda: _allocate(file, old, size_bytes, progress)
                )
    finally:
        file.close()
    return Resizing(image.footer.type_name, old, size_bytes, moves, children)


def check_resize(file: ByteFile, image: VhdImage, size_bytes: int) -> None:
    """Raise DiskError for a size the disk cannot have, or which would cut off more than zeros."""
    path = file.path
    if image.footer.disk_type == layout.TYPE_DIFFERENCING:
        raise DiskError(
            f"{path}: a differencing VHD has the size of its parent. Flatten it (trapline disk convert) and "
            "resize the result, or resize the base before children are made"
        )
    if size_bytes <= 0 or size_bytes % SECTOR_BYTES:
        raise DiskError(
            f"{path}: a disk of {size_bytes} bytes: it must be a positive multiple of {SECTOR_BYTES}"
        )
    if size_bytes > layout.MAX_SIZE_BYTES:
        raise DiskError(
            f"{path}: a disk of {size_bytes} bytes: a VHD ends at {layout.MAX_SIZE_BYTES} (2040 GiB)"
        )
    if isinstance(image, SparseVhd) and -(-size_bytes // image.store.header.block_bytes) > MAX_BLOCKS:
        raise DiskError(f"{path}: too many blocks of {image.store.header.block_bytes} bytes; use larger ones")
    last = _first_data(file, image, size_bytes // SECTOR_BYTES)
    if last is not None:
        raise DiskError(
            f"{path}: sector {last} holds data, and would be cut off: {size_bytes} bytes are "
            f"{size_bytes // SECTOR_BYTES} sectors. Let the guest free and zero that room first"
        )


def resize_fixed(file: ByteFile, size_bytes: int, allocate: Callable[[], None] | None = None) -> None:
    """Move the footer of a fixed disk; new room takes none on the host unless `allocate` takes it."""
    found = find_footer(file)
    old = found.footer.current_size
    past = whole_sectors(file.size())
    spare = found.offset
    if size_bytes > found.offset or found.offset % SECTOR_BYTES:
        spare = max(size_bytes, past)
        file.write_at(spare, found.record)
        file.sync()
    if size_bytes > old:
        if allocate is not None:
            try:
                allocate()
            except BaseException:
                put_footer(file, found.record, found.offset)
                raise
        _write_zeros(file, old, min(size_bytes, past))
        file.sync()
    record = _resized(found.record, size_bytes)
    file.write_at(spare, record)
    file.sync()
    put_footer(file, record, size_bytes)


def resize_dynamic(file: ByteFile, size_bytes: int, progress: Progress | None = None) -> None:
    """Give a dynamic disk another size; `check_resize` has let it pass."""
    now = dissect(file)
    replace_header(file, now.parts.header, ())  # header and footer are now where they usually lie
    if size_bytes > now.found.footer.current_size:
        _clear_past_the_end(file, size_bytes)
        _make_room_for_table(file, size_bytes, progress)
        _say(file, size_bytes)
        return
    _say(file, size_bytes)
    _clear_past_the_end(file, size_bytes)
    _forget_past_the_end(file)


def _say(file: ByteFile, size_bytes: int) -> None:
    """Make the footer at the end, then its copy, name the size."""
    found = find_footer(file)
    record = _resized(found.record, size_bytes)
    file.write_at(found.offset, record)
    file.sync()
    file.write_at(0, record)
    file.sync()


def _resized(record: bytes, size_bytes: int) -> bytes:
    """Return a footer with another size and the geometry for it."""
    geometry = geometry_for(size_bytes // SECTOR_BYTES)
    record = with_field(record, 48, size_bytes.to_bytes(8, "big"))  # [VHD] "Current Size"
    packed = geometry.cylinders.to_bytes(2, "big") + bytes((geometry.heads, geometry.sectors_per_track))
    record = with_field(record, 56, packed)  # [VHD] "Disk Geometry"
    if record[28:32] in SIZED_BY_GEOMETRY:
        record = with_field(record, 28, CREATOR_APPLICATION)
    return record


def _clear_past_the_end(file: ByteFile, size_bytes: int) -> None:
    """Zero what the last block holds past the end of the disk, and mark what `size_bytes` shows of that."""
    now = dissect(file)
    header, table = now.parts.header, now.parts.table
    inside = now.found.footer.current_size // SECTOR_BYTES % header.block_sectors
    start = table[table.blocks - 1] * SECTOR_BYTES
    if inside == 0 or start == layout.BLOCK_ABSENT * SECTOR_BYTES:
        return
    bitmap = int.from_bytes(file.read_at(start, header.block_sectors // 8), "big")
    past = header.block_sectors - inside
    shown = new_bitmap(header.block_sectors, table.blocks - 1, size_bytes // SECTOR_BYTES)
    bitmap = bitmap >> past << past | shown & ((1 << past) - 1)
    file.write_at(start, bitmap.to_bytes(header.block_sectors // 8, "big"))
    data = start + header.bitmap_bytes
    _write_zeros(file, data + inside * SECTOR_BYTES, data + header.block_bytes)
    file.sync()


def _table_end(now: Anatomy, size_bytes: int) -> int:
    """Return where the table ends when it has an entry for each block of a disk of `size_bytes`."""
    header = now.parts.header
    entries = max(-(-size_bytes // header.block_bytes), 1)
    return header.table_offset + whole_sectors(entries * _ENTRY_BYTES)


def _in_the_way(now: Anatomy, size_bytes: int) -> list[int]:
    """Return the blocks that lie where the longer table is to be, in the order of the file."""
    end = _table_end(now, size_bytes)
    return [block for sector, block in now.parts.table.used() if sector * SECTOR_BYTES < end]


def _make_room_for_table(file: ByteFile, size_bytes: int, progress: Progress | None) -> None:
    """Move blocks out of the way of the longer table, and make all its new entries absent."""
    now = dissect(file)
    header, table = now.parts.header, now.parts.table
    table_end = _table_end(now, size_bytes)
    if header.table_offset <= now.parts.header_at < table_end:
        raise DiskError(
            f"{file.path}: the header lies behind the table, which cannot grow; convert the image"
        )
    moving = _in_the_way(now, size_bytes)
    blocks_end = max(now.parts.end, table_end)
    tail = blocks_end + len(moving) * header.stride_bytes
    if tail > now.found.offset:
        file.write_at(tail, now.found.record)
        file.sync()
    moves = [Move(block, blocks_end + at * header.stride_bytes) for at, block in enumerate(moving)]
    move_blocks(file, header, table, moves, progress)
    used = table.blocks * _ENTRY_BYTES
    shared = header.table_offset + used // SECTOR_BYTES * SECTOR_BYTES
    kept = file.read_at(shared, used % SECTOR_BYTES)
    absent = b"\xff" * (table_end - shared - len(kept))
    file.write_at(shared, kept + absent)
    file.sync()
    blocks = -(-size_bytes // header.block_bytes)
    replace_header(file, replace(header, max_table_entries=blocks), ())


def _forget_past_the_end(file: ByteFile) -> None:
    """Take blocks past the end out of the table, and shorten it and the file."""
    now = dissect(file)
    header, table = now.parts.header, now.parts.table
    first = header.table_offset + table.blocks * _ENTRY_BYTES
    shared = first // SECTOR_BYTES * SECTOR_BYTES
    kept = file.read_at(shared, first - shared)
    end = header.table_offset + header.table_bytes
    if shared < end:
        file.write_at(shared, kept + b"\xff" * (end - shared - len(kept)))
        file.sync()
    replace_header(file, replace(header, max_table_entries=table.blocks), ())


def _first_data(file: ByteFile, image: VhdImage, lba: int) -> int | None:
    """Return a sector from `lba` on that holds more than zeros, None if there is none."""
    rest = image.size_bytes // SECTOR_BYTES - lba
    if rest <= 0:
        return None
    for extent in image.resolve(lba, rest):
        if extent.file is not None:
            length = extent.sectors * SECTOR_BYTES
            for start, stored in file.stored(extent.offset, length):
                for at in range(start, start + stored, len(_ZEROS)):
                    data = file.read_at(at, min(len(_ZEROS), start + stored - at))
                    if data != _ZEROS[: len(data)]:
                        return lba + (at - extent.offset + _first_not_zero(data)) // SECTOR_BYTES
        lba += extent.sectors
    return None


def _first_not_zero(data: bytes) -> int:
    return len(data) - len(data.lstrip(b"\0"))


def _write_zeros(file: ByteFile, first: int, end: int) -> None:
    for at in range(first, end, len(_ZEROS)):
        file.write_at(at, _ZEROS[: min(len(_ZEROS), end - at)])


def _allocate(file: HostFile, first: int, end: int, progress: Progress | None) -> None:
    """Take room on the host for what a fixed disk has grown by."""
    for at in range(first, end, _ALLOCATE_STEP_BYTES):
        step = min(_ALLOCATE_STEP_BYTES, end - at)
        file.reserve(at, step)
        if progress is not None:
            progress(at + step - first)
