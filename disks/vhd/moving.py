"""Blocks that go to another place of the same file: copied, then found there, then no longer here.

A crash between leaves the block at one place or the other, with the same contents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from disks.errors import DiskError
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.newfile import Progress
from disks.vhd.bat import BlockAllocationTable
from disks.vhd.header import DynamicHeader
from disks.vhd.layout import BLOCK_ABSENT

_BATCH_BYTES: Final = 64 << 20  # copied between two syncs
_PIECE_BYTES: Final = 4 << 20


class Move(NamedTuple):
    """A block and the offset it is to have in the file."""

    block: int
    offset: int


def move_blocks(
    file: ByteFile,
    header: DynamicHeader,
    table: BlockAllocationTable,
    moves: Sequence[Move],
    progress: Progress | None = None,
) -> None:
    """Move blocks to places where nothing that counts lies, and which no other block leaves.

    The footer lies behind all those places, and is durable there.
    """
    per_batch = max(1, _BATCH_BYTES // header.stride_bytes)
    for first in range(0, len(moves), per_batch):
        batch = moves[first : first + per_batch]
        for number, move in enumerate(batch, first):
            if move.offset // SECTOR_BYTES >= BLOCK_ABSENT:
                raise DiskError(f"{file.path}: the file cannot grow past 2 TiB; convert it to larger blocks")
            _copy(file, table[move.block] * SECTOR_BYTES, move.offset, header.stride_bytes)
            if progress is not None:
                progress((number + 1) * header.stride_bytes)
        file.sync()
        for move in batch:
            table[move.block] = move.offset // SECTOR_BYTES
        write_table(file, header, table)


def write_table(file: ByteFile, header: DynamicHeader, table: BlockAllocationTable) -> None:
    """Make the changes of a table durable."""
    for index in sorted(table.dirty):
        file.write_at(header.table_offset + index * SECTOR_BYTES, table.record(index))
    file.sync()
    table.dirty.clear()


def _copy(file: ByteFile, source: int, target: int, length: int) -> None:
    buffer = memoryview(bytearray(min(length, _PIECE_BYTES)))
    for done in range(0, length, len(buffer)):
        part = buffer[: min(len(buffer), length - done)]
        file.read_into(source + done, part)
        file.write_at(target + done, part)
