"""A file that records what is written to it, so that a test can see every crash it might suffer."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path
from typing import NamedTuple


class Write(NamedTuple):
    """One write; `data` None cuts or extends the file to `offset`."""

    offset: int
    data: bytes | None


class RecordingFile:
    """A `ByteFile` in memory. `epochs` holds the writes between syncs, the last one unfinished."""

    def __init__(self, contents: bytes) -> None:
        self.path = Path("recording.vhd")
        self.read_only = False
        self.start = contents
        self.contents = bytearray(contents)
        self.epochs: list[list[Write]] = [[]]
        self.is_full = False

    def size(self) -> int:
        return len(self.contents)

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset + length <= len(self.contents)
        return bytes(self.contents[offset : offset + length])

    def read_into(self, offset: int, view: memoryview) -> None:
        view[:] = self.read_at(offset, len(view))

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._do(Write(offset, bytes(data)))

    def resize(self, length: int) -> None:
        self._do(Write(length, None))

    def sync(self) -> None:
        self.epochs.append([])

    def close(self) -> None:
        pass

    def _do(self, write: Write) -> None:
        self.epochs[-1].append(write)
        _apply(self.contents, write)

    def crashes(self, subsets_up_to: int = 6) -> Iterator[tuple[int, bytes]]:
        """Yield (epoch, contents) for each state a crash may leave.

        All epochs before the crash are there; of the epoch it hits, any subset of the writes may
        be (all subsets while it has at most `subsets_up_to` writes, else every prefix and every
        single write), also with the last one cut at a sector.
        """
        durable = bytearray(self.start)
        for number, epoch in enumerate(self.epochs):
            for chosen in _choices(epoch, subsets_up_to):
                contents = bytearray(durable)
                for write in chosen:
                    _apply(contents, write)
                yield number, bytes(contents)
                if chosen and (torn := chosen[-1]).data is not None and len(torn.data) > 512:
                    contents = bytearray(durable)
                    for write in (*chosen[:-1], Write(torn.offset, torn.data[:512])):
                        _apply(contents, write)
                    yield number, bytes(contents)
            for write in epoch:
                _apply(durable, write)


def _choices(epoch: list[Write], subsets_up_to: int) -> Iterator[tuple[Write, ...]]:
    if len(epoch) <= subsets_up_to:
        yield from chain.from_iterable(combinations(epoch, size) for size in range(len(epoch) + 1))
        return
    yield from (tuple(epoch[:length]) for length in range(len(epoch) + 1))
    yield from ((write,) for write in epoch)


def _apply(contents: bytearray, write: Write) -> None:
    if write.data is None:
        del contents[write.offset :]
        contents.extend(bytes(write.offset - len(contents)))
        return
    end = write.offset + len(write.data)
    contents.extend(bytes(max(0, end - len(contents))))
    contents[write.offset : end] = write.data
