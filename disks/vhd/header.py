"""The header of dynamic and differencing disks: block size, where the BAT is, who the parent is.

NOT modelled: parent locators are kept but not followed (a chain does that).

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Dynamic Disk Header Format".
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from construct import Container

from disks.image import SECTOR_BYTES
from disks.vhd import layout
from disks.vhd.record import RecordCheck, with_checksum

DEFAULT_BLOCK_BYTES: Final = 2 << 20
CREATE_BLOCK_BYTES: Final = (512 << 10, 2 << 20)  # Hyper-V takes no others
MIN_BLOCK_BYTES: Final = 4 << 10
MAX_BLOCK_BYTES: Final = 256 << 20
MAX_BLOCKS: Final = 4 << 20  # what 2040 GiB of 512 KiB blocks need, rounded up: a 16 MiB table
_NO_PARENT: Final = uuid.UUID(int=0)


@dataclass(frozen=True)
class Locator:
    """One way to find the parent; all zero when unused."""

    platform_code: bytes = bytes(4)
    data_space: int = 0
    data_length: int = 0
    data_offset: int = 0


@dataclass(frozen=True)
class DynamicHeader:
    """The fields of a dynamic header."""

    table_offset: int
    max_table_entries: int
    block_bytes: int = DEFAULT_BLOCK_BYTES
    parent_id: uuid.UUID = _NO_PARENT
    parent_timestamp: int = 0
    parent_name: bytes = bytes(512)
    locators: tuple[Locator, ...] = (Locator(),) * 8

    @classmethod
    def parse(cls, record: bytes, path: Path, offset: int) -> DynamicHeader:
        """Decode and validate the 1024 bytes found at `offset`; raise ImageFormatError."""
        fields = layout.HEADER.parse(record)
        check = RecordCheck("header", path, offset)
        check.require_cookie(layout.HEADER_COOKIE, fields.cookie)
        check.require_checksum(record, layout.HEADER_CHECKSUM_OFFSET)
        check.require_version_1(24, "version", fields.header_version)
        size = fields.block_bytes
        legal = size & (size - 1) == 0 and MIN_BLOCK_BYTES <= size <= MAX_BLOCK_BYTES
        check.require(32, "block size", "a power of two from 4 KiB to 256 MiB", size, legal)
        table = fields.table_offset
        check.require(16, "table offset", "a multiple of 512", f"{table:#x}", table % SECTOR_BYTES == 0)
        return cls.of(fields)

    @classmethod
    def of(cls, fields: Container) -> DynamicHeader:
        """Return what a parsed `layout.HEADER` says, right or wrong."""
        return cls(
            table_offset=fields.table_offset,
            max_table_entries=fields.max_table_entries,
            block_bytes=fields.block_bytes,
            parent_id=uuid.UUID(bytes=fields.parent_id),
            parent_timestamp=fields.parent_timestamp,
            parent_name=fields.parent_name,
            locators=tuple(
                Locator(entry.platform_code, entry.data_space, entry.data_length, entry.data_offset)
                for entry in fields.locators
            ),
        )

    def to_bytes(self) -> bytes:
        """Return the 1024 bytes, checksum included."""
        record: bytes = layout.HEADER.build(
            {
                "cookie": layout.HEADER_COOKIE,
                "data_offset": layout.NO_OFFSET,
                "table_offset": self.table_offset,
                "header_version": layout.FORMAT_VERSION,
                "max_table_entries": self.max_table_entries,
                "block_bytes": self.block_bytes,
                "checksum": 0,
                "parent_id": self.parent_id.bytes,
                "parent_timestamp": self.parent_timestamp,
                "reserved": 0,
                "parent_name": self.parent_name,
                "locators": [
                    {
                        "platform_code": entry.platform_code,
                        "data_space": entry.data_space,
                        "data_length": entry.data_length,
                        "reserved": 0,
                        "data_offset": entry.data_offset,
                    }
                    for entry in self.locators
                ],
                "reserved_tail": bytes(256),
            }
        )
        return with_checksum(record, layout.HEADER_CHECKSUM_OFFSET)

    @property
    def block_sectors(self) -> int:
        """Sectors of data in a block."""
        return self.block_bytes // SECTOR_BYTES

    @property
    def bitmap_bytes(self) -> int:
        """Bytes of the bitmap in front of a block's data, padded to whole sectors."""
        return -(-self.block_sectors // 8 // SECTOR_BYTES) * SECTOR_BYTES

    @property
    def stride_bytes(self) -> int:
        """Bytes of a whole block on disk."""
        return self.bitmap_bytes + self.block_bytes

    @property
    def table_bytes(self) -> int:
        """Bytes of the BAT, padded to whole sectors."""
        return -(-self.max_table_entries * 4 // SECTOR_BYTES) * SECTOR_BYTES
