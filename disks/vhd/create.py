"""Making VHD images.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0.
"""

from __future__ import annotations

import uuid
from array import array
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from disks.errors import DiskError
from disks.hostfile import ByteFile, HostFile
from disks.image import SECTOR_BYTES
from disks.newfile import Progress, reserve
from disks.vhd import layout
from disks.vhd.bat import BlockAllocationTable
from disks.vhd.blocks import new_bitmap
from disks.vhd.footer import Footer
from disks.vhd.geometry import Geometry
from disks.vhd.header import CREATE_BLOCK_BYTES, DEFAULT_BLOCK_BYTES, DynamicHeader
from disks.vhd.locators import names_for, placed
from disks.vhd.record import timestamp
from disks.vhd.sparse import SparseVhd, VhdImage


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Identity:
    """What makes two images of the same contents differ."""

    unique_id: uuid.UUID = field(default_factory=uuid.uuid4)
    created: datetime = field(default_factory=_now)


def write_fixed(
    file: HostFile,
    size_bytes: int,
    *,
    sparse: bool = False,
    identity: Identity | None = None,
    progress: Progress | None = None,
) -> None:
    """Make the empty `file` a fixed VHD; unless `sparse`, its room on the host is taken at once."""
    _check_size(size_bytes)
    who = identity or Identity()
    if not sparse:
        reserve(file, size_bytes, progress)
    file.write_at(
        size_bytes, Footer.new(layout.TYPE_FIXED, size_bytes, who.created, who.unique_id).to_bytes()
    )


def write_dynamic(
    file: ByteFile,
    size_bytes: int,
    *,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    geometry: Geometry | None = None,
    identity: Identity | None = None,
) -> None:
    """Make the empty `file` a dynamic VHD without blocks; `geometry` is for a copy of another disk."""
    DynamicBuilder(file, size_bytes, block_bytes=block_bytes, geometry=geometry, identity=identity).finish()


class DynamicBuilder:
    """Makes the empty `file` a dynamic VHD of contents that are handed over in the order of the disk.

    The file is not an image before `finish`, and no step is synced: for files that take their name
    when they are complete (`newfile.new_file`), as a conversion makes them, or a merge to a new file.
    Blocks come one behind the other, every sector marked present; the table is written at the end.
    """

    def __init__(
        self,
        file: ByteFile,
        size_bytes: int,
        *,
        block_bytes: int = DEFAULT_BLOCK_BYTES,
        geometry: Geometry | None = None,
        identity: Identity | None = None,
    ) -> None:
        _check_size(size_bytes)
        if block_bytes not in CREATE_BLOCK_BYTES:
            why = "other programs take only 512 KiB and 2 MiB"
            raise DiskError(f"a block size of {block_bytes} bytes: {why}")
        who = identity or Identity()
        self._file = file
        self._disk_sectors = size_bytes // SECTOR_BYTES
        footer = Footer.new(layout.TYPE_DYNAMIC, size_bytes, who.created, who.unique_id)
        self._footer = (footer if geometry is None else replace(footer, geometry=geometry)).to_bytes()
        self._header = DynamicHeader(
            table_offset=layout.FOOTER_BYTES + layout.HEADER_BYTES,
            max_table_entries=-(-size_bytes // block_bytes),
            block_bytes=block_bytes,
        )
        blocks = self._header.table_bytes // 4
        self._table = BlockAllocationTable(array("I", [layout.BLOCK_ABSENT]) * blocks, blocks)
        self._end = self._header.table_offset + self._header.table_bytes
        self._block = -1

    def write(self, at: int, data: memoryview) -> None:
        """Store whole sectors from byte `at` of the disk on; what is passed over reads as zeros."""
        size = self._header.block_bytes
        while data:
            block, first = divmod(at, size)
            if block != self._block:
                self._begin(block)
            part = data[: size - first]
            start = self._table[block] * SECTOR_BYTES + self._header.bitmap_bytes
            self._file.write_at(start + first, part)
            at, data = at + len(part), data[len(part) :]

    def finish(self) -> None:
        """Complete the image."""
        self._file.write_at(self._end, self._footer)
        table = self._table.to_bytes()
        self._file.write_at(0, self._footer + self._header.to_bytes() + table)

    def _begin(self, block: int) -> None:
        if block < self._block:
            raise ValueError(f"block {block} comes after block {self._block}")
        if self._end // SECTOR_BYTES >= layout.BLOCK_ABSENT:
            raise DiskError(f"{self._file.path}: the file cannot grow past 2 TiB; use larger blocks")
        self._table[block] = self._end // SECTOR_BYTES
        per_block = self._header.block_sectors
        bitmap = new_bitmap(per_block, block, self._disk_sectors).to_bytes(per_block // 8, "big")
        self._file.write_at(self._end, bitmap)
        self._block = block
        self._end += self._header.stride_bytes


def write_child(
    file: ByteFile,
    path: Path,
    parent: VhdImage,
    *,
    like: VhdImage | None = None,
    identity: Identity | None = None,
) -> None:
    """Make the empty `file`, which is to become `path`, a differencing VHD on `parent`, holding nothing.

    Size, geometry and block size are those of `like`, by default the parent's. Raise DiskError for a
    parent that cannot be named.
    """
    who, like = identity or Identity(), like or parent
    footer = Footer.new(layout.TYPE_DIFFERENCING, like.size_bytes, who.created, who.unique_id)
    footer = replace(footer, geometry=like.footer.geometry)
    block_bytes = like.store.header.block_bytes if isinstance(like, SparseVhd) else DEFAULT_BLOCK_BYTES
    header = DynamicHeader(
        table_offset=layout.FOOTER_BYTES + layout.HEADER_BYTES,
        max_table_entries=-(-like.size_bytes // block_bytes),
        block_bytes=block_bytes,
    )
    texts_at = header.table_offset + header.table_bytes
    names = names_for(path, parent.path)
    locators, tail = placed(names.texts, texts_at)
    header = replace(
        header,
        parent_id=parent.footer.unique_id,
        parent_timestamp=timestamp(parent.path.stat().st_mtime),
        parent_name=names.field,
        locators=locators,
    )
    record = footer.to_bytes()
    file.write_at(0, record + header.to_bytes() + b"\xff" * header.table_bytes + tail + record)


def roots_needed(child: Path, parent: VhdImage) -> list[Path]:
    """Return the directories that must be allowed before `child` opens: those not below its own."""
    home = child.resolve().parent
    places = (level.path.resolve().parent for level in parent.levels)
    return list(dict.fromkeys(place for place in places if not place.is_relative_to(home)))


def _check_size(size_bytes: int) -> None:
    if size_bytes <= 0 or size_bytes % SECTOR_BYTES:
        raise DiskError(f"a disk of {size_bytes} bytes: it must be a positive multiple of {SECTOR_BYTES}")
    if size_bytes > layout.MAX_SIZE_BYTES:
        raise DiskError(f"a disk of {size_bytes} bytes: a VHD ends at {layout.MAX_SIZE_BYTES} (2040 GiB)")
