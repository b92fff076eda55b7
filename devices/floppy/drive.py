"""A floppy drive and the disk in it: shape and data rate by the size of the image.

Sources:
  [82077AA] Intel 82077AA CHMOS Single-Chip Floppy Disk Controller, 290166, "Drive types".
  [ECMA-125] and its siblings give the formats: 512-byte sectors in each that PCs read and write.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from disks.errors import HOST_ERRORS
from disks.image import SECTOR_BYTES, BlockImage

# Data rates, as CCR and DSR select them, [82077AA] table 2-2
RATE_500: Final = 0
RATE_300: Final = 1
RATE_250: Final = 2
RATE_1000: Final = 3
LAST_CYLINDER: Final = 83  # where the head stops


class Format(NamedTuple):
    """A disk format; `rates` are those at which its drive reads it, `drive_type` that drive in CMOS."""

    cylinders: int
    heads: int
    sectors: int
    rates: tuple[int, ...]
    drive_type: int

    @property
    def size_bytes(self) -> int:
        """What a disk holds."""
        return self.cylinders * self.heads * self.sectors * SECTOR_BYTES


_LOW: Final = (RATE_250, RATE_300)  # 300 kbit/s in a drive that turns faster
FORMATS: Final = (
    Format(80, 2, 18, (RATE_500,), 4),
    Format(80, 2, 36, (RATE_1000,), 5),
    Format(80, 2, 9, (RATE_250,), 4),
    Format(80, 2, 15, (RATE_500,), 2),
    Format(40, 2, 9, _LOW, 1),
    Format(40, 2, 8, _LOW, 1),
    Format(40, 1, 9, _LOW, 1),
    Format(40, 1, 8, _LOW, 1),
    Format(80, 2, 21, (RATE_500,), 4),
    Format(82, 2, 21, (RATE_500,), 4),
)
BY_SIZE: Final = {disk.size_bytes: disk for disk in FORMATS}
EMPTY_DRIVE_TYPE: Final = 4


def format_of(image: BlockImage) -> Format | None:
    """Return the format an image has, by its size; None if no floppy disk is so large."""
    return BY_SIZE.get(image.size_bytes)


class FloppyDriveState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the head stands, and whether the disk was changed since it last moved."""

    cylinder: int
    changed: bool


class FloppyDrive:
    """A drive, with a disk or empty. It owns nothing: who opened the image closes it."""

    def __init__(self, image: BlockImage | None = None) -> None:
        self.cylinder = 0
        self.changed = True
        self.image: BlockImage | None = None
        self.format: Format | None = None
        if image is not None:
            self.insert(image)

    def insert(self, image: BlockImage) -> None:
        """Put a disk in; the change line goes active.

        Raises:
            ValueError: no floppy disk has the size of the image.
        """
        found = format_of(image)
        if found is None:
            raise ValueError(f"{image.size_bytes} bytes are no floppy disk's size")
        self.image, self.format, self.changed = image, found, True

    def eject(self) -> None:
        """Take the disk out."""
        self.image, self.format, self.changed = None, None, True

    @property
    def drive_type(self) -> int:
        """The type that CMOS register 10h names."""
        return EMPTY_DRIVE_TYPE if self.format is None else self.format.drive_type

    @property
    def write_protected(self) -> bool:
        """Whether the tab is open, or there is no disk."""
        return self.image is None or self.image.read_only

    def step_to(self, cylinder: int) -> None:
        """Move the head; with a disk in the drive, the first step pulse ends the change line."""
        target = max(0, min(cylinder, LAST_CYLINDER))
        if target != self.cylinder and self.image is not None:
            self.changed = False
        self.cylinder = target

    def has_sector(self, head: int, sector: int) -> bool:
        """Whether the track under the head has a sector of that number (from 1)."""
        disk = self.format
        return (
            disk is not None
            and self.cylinder < disk.cylinders
            and head < disk.heads
            and 1 <= sector <= disk.sectors
        )

    def read(self, head: int, sector: int) -> bytes | None:
        """Return the sector under the head; None where the host cannot read it."""
        image = self.image
        if image is None:
            return None
        try:
            return bytes(image.read(self._lba(head, sector), 1))
        except HOST_ERRORS:
            return None

    def write(self, head: int, sector: int, data: bytes) -> bool:
        """Store a sector; False where the host cannot."""
        image = self.image
        if image is None:
            return False
        try:
            image.write(self._lba(head, sector), data)
        except HOST_ERRORS:
            return False
        return True

    def _lba(self, head: int, sector: int) -> int:
        disk = self.format
        assert disk is not None
        return (self.cylinder * disk.heads + head) * disk.sectors + sector - 1

    def save(self) -> FloppyDriveState:
        """Return the state; the disk is not part of it."""
        return FloppyDriveState(cylinder=self.cylinder, changed=self.changed)

    def load(self, state: FloppyDriveState) -> None:
        """Become `state`."""
        self.cylinder, self.changed = max(0, min(state.cylinder, LAST_CYLINDER)), state.changed
