"""Bitmaps against what the blocks hold, and against the parent.

Reads what takes room on the host, once: no more than the file's own bytes, and of the parent only the blocks
that look as if QEMU had written them.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Data Blocks".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from disks import bits
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.newfile import Progress
from disks.vhd.check_rules import Findings
from disks.vhd.header import DynamicHeader

ReadParent = Callable[[int, int], bytes]  # (first sector, sectors) -> what the parent shows there

_PIECE_SECTORS: Final = 2048
_ZEROS: Final = bytes(_PIECE_SECTORS * SECTOR_BYTES)
_ZERO_SECTOR: Final = bytes(SECTOR_BYTES)


class BlockChecker:
    """Looks at the blocks of one image; `beyond` collects the bitmaps that mark sectors past the end."""

    def __init__(self, file: ByteFile, header: DynamicHeader, disk_sectors: int, findings: Findings) -> None:
        self.beyond: list[tuple[int, bytes]] = []
        self._file = file
        self._header = header
        self._disk_sectors = disk_sectors
        self._findings = findings
        self._per_block = header.block_sectors
        self._full = (1 << self._per_block) - 1

    def check(
        self,
        blocks: list[tuple[int, int]],
        is_differencing: bool,
        parent: ReadParent | None,
        done: Progress | None,
    ) -> None:
        """Check `blocks`, given as (sector, block); without `parent` nothing is compared with one."""
        padded = zeros = 0
        example: int | None = None
        for number, (sector, block) in enumerate(blocks, 1):
            bitmap, has_padding = self._bitmap(sector, block)
            padded += has_padding
            if bitmap or not is_differencing:
                inside = self._inside(block)
                held = bits_of_data(
                    self._file, sector * SECTOR_BYTES + self._header.bitmap_bytes, self._per_block
                )
                empty = bitmap & inside & ~held
                if not is_differencing and empty != inside:
                    empty = 0  # no zeros among data: QEMU and we mark the whole block
                zeros += empty.bit_count()
                example = block if empty and example is None else example
                if not is_differencing and (hidden := held & inside & ~bitmap):
                    self._tell_hidden(sector, block, hidden)
                if parent is not None and bitmap == self._full and empty and held:
                    self._compare(sector, block, empty, parent)
            if done is not None:
                done(number * self._header.stride_bytes)
        if padded:
            self._findings.add(
                "bitmap-padding", 0, "bitmaps", "zeros behind the last bit", f"{padded} with others"
            )
        if zeros:
            self._findings.add(
                "zeros-held", 0, "blocks", "data", f"{zeros} sectors of zeros, first in block {example}"
            )

    def _inside(self, block: int) -> int:
        """Return a mask of the sectors of a block that the disk reaches."""
        sectors = min(self._per_block, self._disk_sectors - block * self._per_block)
        return bits.mask(self._per_block, 0, sectors)

    def _bitmap(self, sector: int, block: int) -> tuple[int, bool]:
        """Return the bitmap of a block, and whether its padding is anything but zeros."""
        at = sector * SECTOR_BYTES
        record = self._file.read_at(at, self._header.bitmap_bytes)
        used = self._per_block // 8
        bitmap = int.from_bytes(record[:used], "big")
        outside = bitmap & ~self._inside(block)
        if outside:
            what = f"bitmap of block {block}"
            self._findings.add(
                "bits-beyond-end", at, what, "zeros past the end", f"{outside.bit_count()} ones"
            )
            kept = (bitmap & self._inside(block)).to_bytes(used, "big")
            self.beyond.append((at, kept + record[used:]))
        return bitmap, any(record[used:])

    def _tell_hidden(self, sector: int, block: int, hidden: int) -> None:
        first = self._per_block - hidden.bit_length()
        at = sector * SECTOR_BYTES + self._header.bitmap_bytes + first * SECTOR_BYTES
        found = f"data in {hidden.bit_count()} of them, first in sector {block * self._per_block + first}"
        self._findings.add("hidden-data", at, f"sectors of block {block} marked absent", "zeros", found)

    def _compare(self, sector: int, block: int, empty: int, parent: ReadParent) -> None:
        """Tell a block whose zeros hide most of what the parent has there."""
        below = 0
        for first in range(0, self._per_block, _PIECE_SECTORS):
            sectors = min(_PIECE_SECTORS, self._per_block - first)
            piece = parent(block * self._per_block + first, sectors)
            below = below << sectors | _nonzero(piece)
        below &= self._inside(block)
        lost = (below & empty).bit_count()
        if lost * 2 > below.bit_count():
            found = f"zeros over {lost} of the {below.bit_count()} sectors that the parent holds there"
            self._findings.add(
                "qemu-poison", sector * SECTOR_BYTES, f"block {block}", "what was written", found
            )


def bits_of_data(file: ByteFile, offset: int, sectors: int) -> int:
    """Return a bitmap of the sectors from `offset` on that are not zeros; holes of the host are not read."""
    found, at = 0, offset
    end = offset + sectors * SECTOR_BYTES
    for first, length in file.stored(offset, end - offset):
        start = max(at, offset + (first - offset) // SECTOR_BYTES * SECTOR_BYTES)
        stop = min(end, offset + -(-(first + length - offset) // SECTOR_BYTES) * SECTOR_BYTES)
        found <<= (start - at) // SECTOR_BYTES
        for piece in range(start, stop, len(_ZEROS)):
            data = file.read_at(piece, min(len(_ZEROS), stop - piece))
            found = found << len(data) // SECTOR_BYTES | _nonzero(data)
        at = max(at, stop)
    return found << (end - at) // SECTOR_BYTES


def _nonzero(data: bytes) -> int:
    """Return a bitmap of the sectors of at most one piece that are not zeros, the first one highest."""
    if data == _ZEROS[: len(data)]:
        return 0
    parts = (data[at : at + SECTOR_BYTES] for at in range(0, len(data), SECTOR_BYTES))
    return int("".join("0" if part == _ZERO_SECTOR else "1" for part in parts), 2)
