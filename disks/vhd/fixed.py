"""Fixed VHD: the sectors in order, then the footer."""

from __future__ import annotations

from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES, check_range
from disks.raw import LinearImage
from disks.sync import SyncPolicy
from disks.vhd.extents import Extent
from disks.vhd.footer import Footer
from disks.vhd.layers import resolve


class FixedVhd(LinearImage):
    """A fixed disk. The footer lies beyond what a guest can reach and is never rewritten."""

    def __init__(
        self, file: ByteFile, footer: Footer, sync: SyncPolicy, warnings: tuple[str, ...] = ()
    ) -> None:
        super().__init__(file, footer.current_size, sync)
        self.footer = footer
        self.own_warnings = warnings

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the image."""
        return self.own_warnings

    @property
    def levels(self) -> list[FixedVhd]:
        """A fixed disk is a chain of one."""
        return [self]

    def extents(self, lba: int, sectors: int) -> list[Extent]:
        """Return who holds the range: this file."""
        check_range(self.size_bytes, lba, sectors)
        return [Extent(sectors, self._file, lba * SECTOR_BYTES, 0)] if sectors else []

    def resolve(self, lba: int, sectors: int) -> list[Extent]:
        """Return what `extents` does; past the end of the disk there are zeros."""
        return resolve([self], lba, sectors)

    def held(self, lba: int, sectors: int) -> int:  # noqa: ARG002 - all are alike
        """Return a one for each sector of the range: all lie in the file."""
        return (1 << sectors) - 1

    def first_held(self, lba: int, end: int) -> int:  # noqa: ARG002 - the first is
        """Return `lba`, since every sector lies in the file."""
        return lba

    def offsets(self, lba: int, sectors: int) -> list[tuple[int, int]]:
        """Return the one run that is the range."""
        return [(sectors, lba * SECTOR_BYTES)]
