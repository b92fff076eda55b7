"""Fixed VHD: the sectors in order, then the footer."""

from __future__ import annotations

from disks.hostfile import ByteFile
from disks.raw import LinearImage
from disks.sync import SyncPolicy
from disks.vhd.footer import Footer


class FixedVhd(LinearImage):
    """A fixed disk. The footer lies beyond what a guest can reach and is never rewritten."""

    def __init__(
        self, file: ByteFile, footer: Footer, sync: SyncPolicy, warnings: tuple[str, ...] = ()
    ) -> None:
        super().__init__(file, footer.current_size, sync)
        self.footer = footer
        self.warnings = warnings
