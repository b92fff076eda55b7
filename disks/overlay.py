"""A snapshot image: reads come from a base, writes go to a temporary file that dies with it."""

from __future__ import annotations

import os
import tempfile
from typing import Final

from disks import bits
from disks.image import SECTOR_BYTES, BlockImage, check_range, sectors_in

_CHUNK_SECTORS: Final = 2048  # one bitmap for each MiB that was touched


class SnapshotImage:
    """What `--snapshot` shows the guest. It owns the base, which is only ever read."""

    def __init__(self, base: BlockImage) -> None:
        self._base = base
        self._file = tempfile.TemporaryFile(prefix="trapline-")  # noqa: SIM115 - lives as long as the image
        self._written: dict[int, int] = {}
        self._closed = False

    @property
    def size_bytes(self) -> int:
        """Size of the base."""
        return self._base.size_bytes

    @property
    def read_only(self) -> bool:
        """Writes are taken whatever the base is."""
        return False

    def read(self, lba: int, sectors: int) -> bytes:
        """Return what was written here, else what the base holds."""
        check_range(self.size_bytes, lba, sectors)
        parts: list[bytes] = []
        run_start, run_length, run_here = lba, 0, False
        while sectors:
            chunk, first = divmod(lba, _CHUNK_SECTORS)
            length = min(sectors, _CHUNK_SECTORS - first)
            for _, count, here in bits.runs(self._written.get(chunk, 0), _CHUNK_SECTORS, first, length):
                if here != run_here and run_length:
                    parts.append(self._read_run(run_start, run_length, run_here))
                    run_start, run_length = run_start + run_length, 0
                run_length, run_here = run_length + count, here
            lba, sectors = lba + length, sectors - length
        parts.append(self._read_run(run_start, run_length, run_here))
        return b"".join(parts)

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        """Keep whole sectors until `close`."""
        sectors = sectors_in(data)
        check_range(self.size_bytes, lba, sectors)
        offset, view = lba * SECTOR_BYTES, memoryview(data)
        while view:
            moved = os.pwrite(self._file.fileno(), view, offset)
            offset, view = offset + moved, view[moved:]
        while sectors:
            chunk, first = divmod(lba, _CHUNK_SECTORS)
            length = min(sectors, _CHUNK_SECTORS - first)
            self._written[chunk] = self._written.get(chunk, 0) | bits.mask(_CHUNK_SECTORS, first, length)
            lba, sectors = lba + length, sectors - length

    def flush(self) -> None:
        """Do nothing: what is written is meant to be lost."""

    def close(self) -> None:
        """Drop what was written and release the base."""
        if not self._closed:
            self._closed = True
            self._file.close()
            self._base.close()

    def _read_run(self, lba: int, sectors: int, here: bool) -> bytes:
        if here:
            return os.pread(self._file.fileno(), sectors * SECTOR_BYTES, lba * SECTOR_BYTES)
        return self._base.read(lba, sectors)
