"""The last exits, in memory that outlives the machine's process: what a post-mortem shows.

Each exit leaves one 48-byte record in a ring; the supervisor maps the same pages and reads them
when the child died. Written by the accelerator and by the portable engine alike. Behind the records is the
time at which the machine began, which only the supervisor looks at.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from typing import Final

SIZE: Final = 64  # records; a power of two
_ALIGNED: Final = 4096


class ExitRecord(ctypes.Structure):
    """struct record of accelerator.h. `a` and `b` go by the kind: port and value, vector and error code."""

    sequence: int
    time_ns: int
    ip: int
    a: int
    b: int
    cs: int
    kind: int
    cpl: int
    _fields_ = [
        ("sequence", ctypes.c_uint64),  # 0: never written
        ("time_ns", ctypes.c_uint64),
        ("ip", ctypes.c_uint64),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
        ("cs", ctypes.c_uint32),
        ("kind", ctypes.c_uint16),
        ("cpl", ctypes.c_uint16),
    ]


BYTES: Final = (SIZE * ctypes.sizeof(ExitRecord) + _ALIGNED - 1) // _ALIGNED * _ALIGNED
_BEGAN: Final = struct.Struct("<Q")
_BEGAN_AT: Final = BYTES - _BEGAN.size


def note_begin(pages: mmap.mmap, now_ns: int) -> None:
    """Write down that the machine is loaded and begins."""
    _BEGAN.pack_into(pages, _BEGAN_AT, now_ns)


def began_ns(pages: mmap.mmap) -> int:
    """Return when the machine began, 0 if it has not."""
    return int(_BEGAN.unpack_from(pages, _BEGAN_AT)[0])


class ExitRing:
    """A ring of records over `buffer`, or over private memory."""

    def __init__(self, buffer: mmap.mmap | None = None) -> None:
        self.buffer = buffer if buffer is not None else mmap.mmap(-1, BYTES)
        self.records = (ExitRecord * SIZE).from_buffer(self.buffer)
        self.address = ctypes.addressof(self.records)
        self.next = 0

    def add(self, kind: int, cs: int, ip: int, cpl: int, a: int, b: int, time_ns: int) -> None:
        """Write one record."""
        record = self.records[self.next & (SIZE - 1)]
        record.time_ns, record.ip, record.cs, record.cpl = time_ns, ip, cs, cpl
        record.kind, record.a, record.b = kind, a, b
        self.next += 1
        record.sequence = self.next

    def last(self) -> list[ExitRecord]:
        """Return copies of the records, oldest first."""
        written = [ExitRecord.from_buffer_copy(record) for record in self.records if record.sequence]
        return sorted(written, key=lambda record: record.sequence)
