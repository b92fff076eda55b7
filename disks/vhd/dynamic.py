"""Dynamic VHD: blocks that exist once they have been written; everything else is zeros."""

from __future__ import annotations

from disks.errors import ReadOnlyError
from disks.fileimage import FileImage
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES, check_range, sectors_in
from disks.vhd.blocks import BlockStore
from disks.vhd.footer import Footer


class DynamicVhd(FileImage):
    """A dynamic disk. It owns the file."""

    def __init__(
        self, file: ByteFile, footer: Footer, store: BlockStore, warnings: tuple[str, ...] = ()
    ) -> None:
        super().__init__(file)
        self.footer = footer
        self.store = store
        self.warnings = warnings

    @property
    def size_bytes(self) -> int:
        """Size the guest sees."""
        return self.footer.current_size

    def read(self, lba: int, sectors: int) -> bytes:
        """Return whole sectors; holes cost no access to the file."""
        check_range(self.footer.current_size, lba, sectors)
        runs = self.store.runs(lba, sectors)
        if len(runs) == 1 and (only := runs[0]).offset is not None:
            return self._file.read_at(only.offset, sectors * SECTOR_BYTES)
        buffer = bytearray(sectors * SECTOR_BYTES)
        view, at = memoryview(buffer), 0
        for run in runs:
            end = at + run.sectors * SECTOR_BYTES
            if run.offset is not None:
                self._file.read_into(run.offset, view[at:end])
            at = end
        return bytes(buffer)

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        """Store whole sectors."""
        if self._file.read_only:
            raise ReadOnlyError(self._file.path)
        check_range(self.footer.current_size, lba, sectors_in(data))
        self.store.write(lba, data)

    def flush(self) -> None:
        """Make everything written durable."""
        self.store.flush()

    def _finish(self) -> None:
        """Flush, and trim the file."""
        if not self._file.read_only:
            self.store.close()
