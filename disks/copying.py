"""Copying what an image holds: holes are skipped and never read, zeros are read and not written.

A cell of the disk is gathered from wherever its parts lie, then written in as few pieces as it has
stretches that are not zeros. Copying inside the kernel (copy_file_range, sendfile) was measured and
gains nothing where files share no blocks, while it would carry zeros over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.newfile import Progress
from disks.raw import RawImage
from disks.vhd.fixed import FixedVhd
from disks.vhd.layers import SURVEY_SECTORS
from disks.vhd.sparse import SparseVhd

AnyImage = RawImage | FixedVhd | SparseVhd
Write = Callable[[int, memoryview], None]  # bytes from the start of the disk, data

_CELL_BYTES: Final = 512 << 10  # stays in a processor's cache between reading and writing
_GRAIN_BYTES: Final = 4096  # zeros are looked for in such units, which hosts allocate in
_ZERO_GRAIN: Final = bytes(_GRAIN_BYTES)
_LEAST_WITH_HOLE_BYTES: Final = 64 << 10  # for shorter extents the question costs more than it saves


class Piece(NamedTuple):
    """`length` bytes of the disk from byte `at`, which lie in `file` from `offset` on."""

    at: int
    length: int
    file: ByteFile
    offset: int


def pieces(image: AnyImage) -> Iterator[Piece]:
    """Yield what the image and the chain behind it hold, in the order of the disk."""
    for run in _held(image):
        if run.length < _LEAST_WITH_HOLE_BYTES:
            yield run
            continue
        for offset, length in run.file.stored(run.offset, run.length):
            yield Piece(run.at + offset - run.offset, length, run.file, offset)


def held_bytes(image: AnyImage) -> int:
    """Return how many bytes `pieces` come to: what a copy reads."""
    return sum(piece.length for piece in pieces(image))


def copy(image: AnyImage, write: Write, progress: Progress | None = None) -> int:
    """Hand all that is not zeros to `write`, in the order of the disk; return how many bytes that was.

    No write crosses a multiple of 512 KiB. `progress` is told the bytes read.
    """
    buffer = bytearray(_CELL_BYTES)
    view = memoryview(buffer)
    done = written = 0
    for start, parts in _cells(pieces(image)):
        first, end = _gather(parts, start, view)
        end = min(end, image.size_bytes - start)
        for at, stop in _not_zero(buffer, first, end):
            write(start + at, view[at:stop])
            written += stop - at
        if progress is not None:
            done += sum(part.length for part in parts)
            progress(done)
    return written


def _held(image: AnyImage) -> Iterator[Piece]:
    if not isinstance(image, SparseVhd):
        yield Piece(0, min(image.file.size(), image.size_bytes), image.file, 0)
        return
    total = image.size_bytes // SECTOR_BYTES
    for lba in range(0, total, SURVEY_SECTORS):
        at = lba * SECTOR_BYTES
        for extent in image.resolve(lba, min(SURVEY_SECTORS, total - lba)):
            length = extent.sectors * SECTOR_BYTES
            if extent.file is not None:
                yield Piece(at, length, extent.file, extent.offset)
            at += length


def _cells(found: Iterable[Piece]) -> Iterator[tuple[int, list[Piece]]]:
    """Cut pieces at the edges of cells; yield (start of the cell, its pieces)."""
    start = 0
    parts: list[Piece] = []
    for at, length, file, offset in found:
        while length:
            if parts and at >= start + _CELL_BYTES:
                yield start, parts
                parts = []
            if not parts:
                start = at // _CELL_BYTES * _CELL_BYTES
            here = min(length, start + _CELL_BYTES - at)
            parts.append(Piece(at, here, file, offset))
            at, length, offset = at + here, length - here, offset + here
    if parts:
        yield start, parts


def _gather(parts: list[Piece], start: int, view: memoryview) -> tuple[int, int]:
    """Read the parts of a cell to their places; return which whole grains of `view` are valid now."""
    first = known = (parts[0].at - start) // _GRAIN_BYTES * _GRAIN_BYTES
    for at, length, file, offset in parts:
        place = at - start
        if place > known:
            view[known:place] = bytes(place - known)
        known = place + length
        file.read_into(offset, view[place:known])
    end = -(-known // _GRAIN_BYTES) * _GRAIN_BYTES
    view[known:end] = bytes(end - known)
    return first, end


def _not_zero(buffer: bytearray, first: int, end: int) -> list[tuple[int, int]]:
    """Return (from, to) of the stretches of whole grains that are not all zeros.

    Only grains that begin with a zero are looked at further.
    """
    found: list[tuple[int, int]] = []
    begin = first
    heads = buffer[first:end:_GRAIN_BYTES]
    grain = heads.find(0)
    while grain >= 0:
        at = first + grain * _GRAIN_BYTES
        if buffer.startswith(_ZERO_GRAIN, at):
            if at > begin:
                found.append((begin, at))
            begin = at + _GRAIN_BYTES
        grain = heads.find(0, grain + 1)
    if begin < end:
        found.append((begin, end))
    return found
