"""The footer: what a VHD is, in the last 512 bytes and, for all but fixed disks, again at offset 0.

NOT modelled: saved state (kept as found, never acted upon).

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format".
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from disks.image import SECTOR_BYTES
from disks.vhd import layout
from disks.vhd.geometry import Geometry, geometry_for
from disks.vhd.record import RecordCheck, timestamp, with_checksum

# The creators whose current size every reader believes; for some others QEMU multiplies the geometry.
CREATOR_APPLICATION: Final = b"win "
CREATOR_VERSION: Final = 0x000A_0000
CREATOR_HOST: Final = b"Wi2k"
SIZED_BY_GEOMETRY: Final = (b"vpc ", b"qemu")  # of these QEMU takes the size from the geometry

TYPE_NAMES: Final = {
    layout.TYPE_FIXED: "fixed",
    layout.TYPE_DYNAMIC: "dynamic",
    layout.TYPE_DIFFERENCING: "differencing",
}


@dataclass(frozen=True)
class Footer:
    """The fields of a footer; `to_bytes(parse(x)) == x` but for reserved bytes."""

    disk_type: int
    current_size: int
    original_size: int
    geometry: Geometry
    data_offset: int
    timestamp: int
    unique_id: uuid.UUID
    features: int = layout.FEATURES_RESERVED
    creator_application: bytes = CREATOR_APPLICATION
    creator_version: int = CREATOR_VERSION
    creator_host: bytes = CREATOR_HOST
    saved_state: int = 0

    @classmethod
    def new(cls, disk_type: int, size_bytes: int, created: datetime, unique_id: uuid.UUID) -> Footer:
        """Return the footer of a new image."""
        fixed = disk_type == layout.TYPE_FIXED
        return cls(
            disk_type=disk_type,
            current_size=size_bytes,
            original_size=size_bytes,
            geometry=geometry_for(size_bytes // SECTOR_BYTES),
            data_offset=layout.NO_OFFSET if fixed else layout.FOOTER_BYTES,
            timestamp=timestamp(created.timestamp()),
            unique_id=unique_id,
        )

    @classmethod
    def parse(cls, record: bytes, path: Path, offset: int) -> Footer:
        """Decode and validate the 512 or 511 bytes found at `offset`; raise ImageFormatError."""
        record = record.ljust(layout.FOOTER_BYTES, b"\0")
        fields = layout.FOOTER.parse(record)
        check = RecordCheck("footer", path, offset)
        check.require_cookie(layout.FOOTER_COOKIE, fields.cookie)
        check.require_checksum(record, layout.FOOTER_CHECKSUM_OFFSET)
        check.require_version_1(12, "format version", fields.format_version)
        check.require(60, "disk type", "2, 3 or 4", fields.disk_type, fields.disk_type in TYPE_NAMES)
        size = fields.current_size
        check.require(48, "current size", "a multiple of 512", size, size % SECTOR_BYTES == 0)
        fits = 0 < size <= layout.MAX_SIZE_BYTES
        check.require(48, "current size", f"1..{layout.MAX_SIZE_BYTES} bytes", size, fits)
        return cls(
            disk_type=fields.disk_type,
            current_size=size,
            original_size=fields.original_size,
            geometry=Geometry(fields.cylinders, fields.heads, fields.sectors_per_track),
            data_offset=fields.data_offset,
            timestamp=fields.timestamp,
            unique_id=uuid.UUID(bytes=fields.unique_id),
            features=fields.features,
            creator_application=fields.creator_application,
            creator_version=fields.creator_version,
            creator_host=fields.creator_host,
            saved_state=fields.saved_state,
        )

    def to_bytes(self) -> bytes:
        """Return the 512 bytes, checksum included."""
        record: bytes = layout.FOOTER.build(
            {
                "cookie": layout.FOOTER_COOKIE,
                "features": self.features,
                "format_version": layout.FORMAT_VERSION,
                "data_offset": self.data_offset,
                "timestamp": self.timestamp,
                "creator_application": self.creator_application,
                "creator_version": self.creator_version,
                "creator_host": self.creator_host,
                "original_size": self.original_size,
                "current_size": self.current_size,
                "cylinders": self.geometry.cylinders,
                "heads": self.geometry.heads,
                "sectors_per_track": self.geometry.sectors_per_track,
                "disk_type": self.disk_type,
                "checksum": 0,
                "unique_id": self.unique_id.bytes,
                "saved_state": self.saved_state,
                "reserved": bytes(427),
            }
        )
        return with_checksum(record, layout.FOOTER_CHECKSUM_OFFSET)

    @property
    def type_name(self) -> str:
        """The type in words."""
        return TYPE_NAMES[self.disk_type]

    @property
    def created(self) -> datetime:
        """When the image was made."""
        return datetime.fromtimestamp(self.timestamp + layout.EPOCH_UNIX_SECONDS, UTC)
