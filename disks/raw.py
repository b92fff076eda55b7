"""Raw images: the sectors of the disk, one after the other, and nothing else.

NOT modelled: formats that wrap sectors (`disks.open` tells them apart).
"""

from __future__ import annotations

from disks.errors import DiskError, ReadOnlyError
from disks.fileimage import FileImage
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES, check_range, sectors_in
from disks.sync import SyncPolicy


class LinearImage(FileImage):
    """Sectors in order from offset 0 of a file. It owns the file."""

    def __init__(self, file: ByteFile, size_bytes: int, sync: SyncPolicy = SyncPolicy.ON_FLUSH) -> None:
        super().__init__(file)
        self._sync = sync
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """Size the guest sees."""
        return self._size_bytes

    def read(self, lba: int, sectors: int) -> bytes:
        """Return whole sectors."""
        check_range(self._size_bytes, lba, sectors)
        return self._file.read_at(lba * SECTOR_BYTES, sectors * SECTOR_BYTES)

    def read_into(self, lba: int, views: list[memoryview]) -> None:
        """Fill the views with whole sectors."""
        check_range(self._size_bytes, lba, sum(map(len, views)) // SECTOR_BYTES)
        self._file.scatter(lba * SECTOR_BYTES, views)

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        """Store whole sectors."""
        if self._file.read_only:
            raise ReadOnlyError(self._file.path)
        check_range(self._size_bytes, lba, sectors_in(data))
        self._file.write_at(lba * SECTOR_BYTES, data)
        if self._sync is SyncPolicy.ALWAYS:
            self._file.sync()

    def flush(self) -> None:
        """Make everything written durable."""
        if self._sync is not SyncPolicy.NEVER:
            self._file.sync()

    def _finish(self) -> None:
        self.flush()


class RawImage(LinearImage):
    """A file of sectors. One that ends inside a sector reads as if padded with zeros."""

    def __init__(self, file: ByteFile, sync: SyncPolicy = SyncPolicy.ON_FLUSH) -> None:
        length = file.size()
        if length == 0:
            raise DiskError(f"{file.path}: the image is empty")
        super().__init__(file, -(-length // SECTOR_BYTES) * SECTOR_BYTES, sync)
        self._length = length

    def read(self, lba: int, sectors: int) -> bytes:
        """Return whole sectors, the tail of the last one padded."""
        check_range(self._size_bytes, lba, sectors)
        offset, wanted = lba * SECTOR_BYTES, sectors * SECTOR_BYTES
        if offset + wanted <= self._length:
            return self._file.read_at(offset, wanted)
        return self._file.read_at(offset, max(0, self._length - offset)).ljust(wanted, b"\0")

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        """Store whole sectors; writing the last one completes it on the host."""
        super().write(lba, data)
        self._length = max(self._length, lba * SECTOR_BYTES + len(data))
