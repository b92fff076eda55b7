"""The image as clients see it: bytes by offset, with one lock round it.

Every client works on this one object, so what one of them flushed is durable for all.

TRIM changes nothing: in none of our formats does a range that is no longer needed give room back.
Zeros are not written where nobody in the chain holds anything, since such a place reads as zeros already;
where a parent holds data they are written, and hide it.

NOT modelled: giving room back to the host.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

from disks.image import SECTOR_BYTES, BlockImage
from disks.nbd.talk import PIECE_BYTES, Buffer
from disks.vhd.sparse import SparseVhd

_ZEROS: Final = bytes(PIECE_BYTES)
_STEP_BYTES: Final = 8 << 20  # so much is looked up at a time


class Range(NamedTuple):
    """Consecutive bytes; `absent` ones read as zeros and take no room."""

    offset: int
    length: int
    absent: bool


class Export:
    """An image, which it owns, and its lock. The caller checks ranges, and that the image may be written."""

    def __init__(self, image: BlockImage, description: str) -> None:
        self.description = description
        self.size_bytes = image.size_bytes
        self.read_only = image.read_only
        self.stopping = False
        self._image = image
        self._lock = threading.Lock()

    def read(self, offset: int, length: int) -> Buffer:
        """Return bytes from anywhere."""
        first, sectors, skipped = _cover(offset, length)
        with self._lock:
            data = self._image.read(first, sectors)
        return data if len(data) == length else memoryview(data)[skipped : skipped + length]

    def write(self, offset: int, data: Buffer) -> None:
        """Store bytes anywhere; a sector that is not covered whole is read first."""
        with self._lock:
            self._write(offset, data)

    def zero(self, offset: int, length: int, keep_room: bool) -> None:
        """Make a range read as zeros; with `keep_room`, also take the room it needs."""
        for at, size in pieces(offset, length, PIECE_BYTES):
            if self.stopping:
                raise OSError(errno.ESHUTDOWN, "the server is being shut down")
            with self._lock:
                for part in list(self._ranges(at, size)):
                    if keep_room or not part.absent:
                        self._write(part.offset, _ZEROS[: part.length])

    def flush(self) -> None:
        """Return once all that was written, by any client, is durable."""
        with self._lock:
            self._image.flush()

    def close(self) -> None:
        """Flush and release the image, once nobody is at work on it."""
        with self._lock:
            self._image.close()

    def is_absent(self, offset: int, length: int) -> bool:
        """Tell whether the whole range reads as zeros and takes no room."""
        for at, size in pieces(offset, length, _STEP_BYTES):
            with self._lock:
                if not all(part.absent for part in self._ranges(at, size)):
                    return False
        return True

    def status(self, offset: int, length: int, most: int) -> list[Range]:
        """Return what the range consists of, neighbours merged: all of it, or about `most` parts."""
        found: list[Range] = []
        for at, size in pieces(offset, length, _STEP_BYTES):
            with self._lock:
                for part in self._ranges(at, size):
                    if found and found[-1].absent == part.absent:
                        found[-1] = found[-1]._replace(length=found[-1].length + part.length)
                    elif len(found) == most:
                        return found
                    else:
                        found.append(part)
        return found

    def _write(self, offset: int, data: Buffer) -> None:
        first, sectors, skipped = _cover(offset, len(data))
        if sectors * SECTOR_BYTES == len(data):
            self._image.write(first, data)
            return
        whole = bytearray(self._image.read(first, sectors))
        whole[skipped : skipped + len(data)] = data
        self._image.write(first, whole)

    def _ranges(self, offset: int, length: int) -> Iterator[Range]:
        """Yield the parts of a range, in order; an image that cannot tell is all there."""
        if not isinstance(self._image, SparseVhd):
            yield Range(offset, length, absent=False)
            return
        first, sectors, _ = _cover(offset, length)
        at, end = first * SECTOR_BYTES, offset + length
        for extent in self._image.extents(first, sectors):
            start, at = max(at, offset), at + extent.sectors * SECTOR_BYTES
            yield Range(start, min(at, end) - start, absent=extent.file is None)


def pieces(offset: int, length: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a range into parts of at most `most` bytes, all but the first beginning at a multiple of it."""
    while length:
        size = min(length, most - offset % most)
        yield offset, size
        offset, length = offset + size, length - size


def _cover(offset: int, length: int) -> tuple[int, int, int]:
    """Return the sectors that hold a range: the first, how many, and the bytes before the range."""
    first, skipped = divmod(offset, SECTOR_BYTES)
    return first, -(-(skipped + length) // SECTOR_BYTES), skipped
