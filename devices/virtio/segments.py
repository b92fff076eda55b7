"""Runs of guest memory that make up a buffer: cut, gathered and scattered in slices.

A buffer may be cut into descriptors in any way, [VIRTIO-1.1] §2.6.4: nothing here depends on where.

Sources:
    [VIRTIO-1.1] Virtual I/O Device (VIRTIO) Version 1.1, §2.6.4 message framing.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from devices.backplane import ScatteredMemory
from devices.virtio.ring import RingError, Segments

_LENGTH: Final = itemgetter(1)


def room(segments: Segments) -> int:
    """Return the bytes of all segments."""
    return sum(map(_LENGTH, segments))


def cut(segments: Segments, length: int) -> tuple[Segments, Segments]:
    """Split after `length` bytes.

    Raises:
        RingError: there are fewer.
    """
    if segments and segments[0][1] == length:
        return segments[:1], segments[1:]
    if length == room(segments):
        return segments, []
    for number, (address, size) in enumerate(segments):
        if length <= size:
            front = [*segments[:number], (address, length)]
            behind = [(address + length, size - length)] if length < size else []
            return front, behind + segments[number + 1 :]
        length -= size
    raise RingError("buffer too short for its header")


def gather(memory: ScatteredMemory, segments: Segments) -> bytes:
    """Read the segments one after the other."""
    if len(segments) == 1:
        return memory.read(*segments[0])
    views = memory.views(segments)
    if views is not None:
        return b"".join(views)
    return b"".join([memory.read(address, length) for address, length in segments])


def scatter(memory: ScatteredMemory, segments: Segments, data: bytes) -> None:
    """Write `data` to the segments, which have as many bytes."""
    if len(segments) == 1:
        memory.write(segments[0][0], data)
        return
    source = memoryview(data)
    at = 0
    views = memory.views(segments)
    if views is None:
        for address, length in segments:
            memory.write(address, source[at : at + length])
            at += length
        return
    for view in views:
        end = at + len(view)
        view[:] = source[at:end]
        at = end
    memory.written(segments)
