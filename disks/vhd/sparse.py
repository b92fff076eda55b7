"""Dynamic and differencing VHD: blocks that exist once they have been written.

What a dynamic disk does not hold is zeros, what a differencing disk does not hold is its parent's;
past the end of a shorter parent there are zeros.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Differencing Hard Disk Image".
"""

from __future__ import annotations

from disks.errors import DiskError, ReadOnlyError
from disks.fileimage import FileImage
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES, check_range, sectors_in
from disks.vhd import layout
from disks.vhd.blocks import BlockStore
from disks.vhd.extents import Extent, ExtentCache
from disks.vhd.fixed import FixedVhd
from disks.vhd.footer import Footer
from disks.vhd.layers import resolve


class SparseVhd(FileImage):
    """A dynamic disk, or a differencing disk with the chain behind it. It owns its file and its parent.

    `levels` is the chain: the image itself first, the base last.

    A differencing disk without `parent` is one level taken by itself, for those who look at levels:
    it has extents, but reading or writing it would show zeros for what the parent holds, and is refused.
    """

    def __init__(
        self,
        file: ByteFile,
        footer: Footer,
        store: BlockStore,
        warnings: tuple[str, ...] = (),
    ) -> None:
        super().__init__(file)
        self.footer = footer
        self.store = store
        self.parent: VhdImage | None = None
        self.levels: list[VhdImage] = [self]
        self.own_warnings = warnings
        self._cache = ExtentCache(
            store.header.block_sectors, footer.current_size // SECTOR_BYTES, self.resolve
        )

    def stand_on(self, parent: VhdImage, warnings: tuple[str, ...] = ()) -> None:
        """Take `parent`, which the image then owns, for what it does not hold itself.

        A parent that needs one itself stands on it already.
        """
        self.parent = parent
        self.levels = [self, *parent.levels]
        self.own_warnings = (*self.own_warnings, *warnings)

    @property
    def is_differencing(self) -> bool:
        """Whether the image needs a parent."""
        return self.footer.disk_type == layout.TYPE_DIFFERENCING

    @property
    def size_bytes(self) -> int:
        """Size the guest sees."""
        return self.footer.current_size

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the image and the images behind it."""
        above = self.levels[1:]
        named = (f"{level.path}: {text}" for level in above for text in level.own_warnings)
        return (*self.own_warnings, *named)

    def extents(self, lba: int, sectors: int) -> list[Extent]:
        """Return who holds the range, in order, neighbours merged."""
        check_range(self.size_bytes, lba, sectors)
        return self._cache.find(lba, sectors) if sectors else []

    def resolve(self, lba: int, sectors: int) -> list[Extent]:
        """Return what `extents` does without remembering it; past the end of the disk there are zeros."""
        return resolve(self.levels, lba, sectors)

    def held(self, lba: int, sectors: int) -> int:
        """Return the bitmap of a range: a one for each sector this level holds itself."""
        return self.store.held(lba, sectors)

    def first_held(self, lba: int, end: int) -> int:
        """Return the first sector from `lba` on that this level may hold itself, or `end`."""
        return self.store.first_held(lba, end)

    def offsets(self, lba: int, sectors: int) -> list[tuple[int, int]]:
        """Return (sectors, offset) of the runs of a range that this level holds itself."""
        return self.store.offsets(lba, sectors)

    def read(self, lba: int, sectors: int) -> bytes:
        """Return whole sectors; holes cost no access to the file."""
        self._refuse_alone()
        extents = self.extents(lba, sectors)
        if len(extents) == 1 and (file := extents[0].file) is not None:
            return file.read_at(extents[0].offset, sectors * SECTOR_BYTES)
        parts = []
        for extent in extents:
            length = extent.sectors * SECTOR_BYTES
            file = extent.file
            parts.append(bytes(length) if file is None else file.read_at(extent.offset, length))
        return b"".join(parts)

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        """Store whole sectors; zeros too, since they hide what a parent holds."""
        self._refuse_alone()
        if self._file.read_only:
            raise ReadOnlyError(self._file.path)
        check_range(self.footer.current_size, lba, sectors_in(data))
        self.write_here(lba, data)

    def write_here(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        """Store whole sectors in this level, whether what it stands on is there or not."""
        self.store.write(lba, data, self._cache.forget)

    def flush(self) -> None:
        """Make everything written durable."""
        self.store.flush()

    def _finish(self) -> None:
        """Flush, trim the file, release the parent."""
        try:
            if not self._file.read_only:
                self.store.close()
        finally:
            if self.parent is not None:
                self.parent.close()

    def _refuse_alone(self) -> None:
        if self.parent is None and self.is_differencing:
            raise DiskError(f"{self.path}: a differencing VHD without its parent has no contents of its own")


VhdImage = FixedVhd | SparseVhd
