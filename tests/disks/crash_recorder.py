"""A file that records what is written to it, so that a test can see every crash it might suffer."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

SECTOR: Final = 512


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

    def scatter(self, offset: int, views: list[memoryview]) -> None:
        for view in views:
            self.read_into(offset, view)
            offset += len(view)

    def stored(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        yield offset, length

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._do(Write(offset, bytes(data)))

    def resize(self, length: int) -> None:
        self._do(Write(length, None))

    def discard(self, offset: int, length: int) -> None:
        self._do(Write(offset, bytes(length)))

    def sync(self) -> None:
        self.epochs.append([])

    def close(self) -> None:
        pass

    def _do(self, write: Write) -> None:
        self.epochs[-1].append(write)
        _apply(self.contents, write)

    def crashes(self, most_subsets: int = 64) -> Iterator[tuple[int, bytes]]:
        """Yield (epoch, contents) for each state a crash may leave.

        All epochs before the crash are there. Of the epoch it hits, any subset of the writes may be: all
        subsets are tried where there are at most `most_subsets`, else every prefix, every single write, all
        but every single one, and `most_subsets` drawn at random. Each state also comes with one of its
        writes torn between two sectors.
        """
        chance = Random(len(self.epochs))
        durable = bytearray(self.start)
        for number, epoch in enumerate(self.epochs):
            for chosen in _choices(epoch, most_subsets, chance):
                yield number, _after(durable, chosen)
                long = [at for at, write in enumerate(chosen) if write.data and len(write.data) > SECTOR]
                if long:
                    yield number, _after(durable, _torn(chosen, chance.choice(long), chance))
            for write in epoch:
                _apply(durable, write)


def _choices(epoch: list[Write], most: int, chance: Random) -> Iterator[list[Write]]:
    count = len(epoch)
    if 1 << count <= most:
        for subset in range(1 << count):
            yield [write for at, write in enumerate(epoch) if subset >> at & 1]
        return
    yield from (epoch[:length] for length in range(count + 1))
    yield from ([write] for write in epoch)
    yield from (epoch[:at] + epoch[at + 1 :] for at in range(count))
    for _ in range(most):
        yield [write for write in epoch if chance.random() < 0.5]


def _torn(writes: list[Write], at: int, chance: Random) -> list[Write]:
    """Return the writes with one of them cut between two sectors: its head is there, or its tail."""
    offset, data = writes[at]
    assert data is not None
    first = SECTOR - offset % SECTOR  # sectors are those of the disk the file lies on
    cut = chance.choice(range(first, len(data), SECTOR))
    part = Write(offset, data[:cut]) if chance.random() < 0.5 else Write(offset + cut, data[cut:])
    return [*writes[:at], part, *writes[at + 1 :]]


def _after(start: bytearray, writes: list[Write]) -> bytes:
    contents = bytearray(start)
    for write in writes:
        _apply(contents, write)
    return bytes(contents)


def _apply(contents: bytearray, write: Write) -> None:
    if write.data is None:
        del contents[write.offset :]
        contents.extend(bytes(write.offset - len(contents)))
        return
    end = write.offset + len(write.data)
    contents.extend(bytes(max(0, end - len(contents))))
    contents[write.offset : end] = write.data
