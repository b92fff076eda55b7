"""On-disk structures of VHD: declarations and constants, no behaviour.

All integers are big-endian; all sizes are in bytes unless the name says otherwise.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, Microsoft, October 2006.
"""

from __future__ import annotations

from typing import Final

from construct import Array, Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

FOOTER_BYTES: Final = 512
OLD_FOOTER_BYTES: Final = 511  # before Virtual PC 2004, [VHD] "Hard Disk Footer Format"
HEADER_BYTES: Final = 1024

FOOTER_COOKIE: Final = b"conectix"  # [VHD] "Cookie"
HEADER_COOKIE: Final = b"cxsparse"  # [VHD] "Dynamic Disk Header Format"
FORMAT_VERSION: Final = 0x0001_0000  # major 1, minor 0
FEATURES_RESERVED: Final = 0x0000_0002  # the bit that is always set, [VHD] "Features"
NO_OFFSET: Final = 0xFFFF_FFFF_FFFF_FFFF

TYPE_FIXED: Final = 2  # [VHD] "Disk Type"
TYPE_DYNAMIC: Final = 3
TYPE_DIFFERENCING: Final = 4

EPOCH_UNIX_SECONDS: Final = 946_684_800  # 2000-01-01T00:00:00Z, [VHD] "Time Stamp"
BLOCK_ABSENT: Final = 0xFFFF_FFFF  # an unused BAT entry, [VHD] "Block Allocation Table"
MAX_SIZE_BYTES: Final = 2040 << 30  # what Virtual Server, Hyper-V and QEMU accept

FOOTER_CHECKSUM_OFFSET: Final = 64
HEADER_CHECKSUM_OFFSET: Final = 36

FOOTER: Final = Struct(  # [VHD] "Hard Disk Footer Format"
    "cookie" / Bytes(8),
    "features" / Int32ub,
    "format_version" / Int32ub,
    "data_offset" / Int64ub,
    "timestamp" / Int32ub,
    "creator_application" / Bytes(4),
    "creator_version" / Int32ub,
    "creator_host" / Bytes(4),
    "original_size" / Int64ub,
    "current_size" / Int64ub,
    "cylinders" / Int16ub,
    "heads" / Int8ub,
    "sectors_per_track" / Int8ub,
    "disk_type" / Int32ub,
    "checksum" / Int32ub,
    "unique_id" / Bytes(16),
    "saved_state" / Int8ub,
    "reserved" / Bytes(427),
)

LOCATOR: Final = Struct(  # [VHD] "Parent Locator Entries"
    "platform_code" / Bytes(4),
    "data_space" / Int32ub,
    "data_length" / Int32ub,
    "reserved" / Int32ub,
    "data_offset" / Int64ub,
)

HEADER: Final = Struct(  # [VHD] "Dynamic Disk Header Format"
    "cookie" / Bytes(8),
    "data_offset" / Int64ub,
    "table_offset" / Int64ub,
    "header_version" / Int32ub,
    "max_table_entries" / Int32ub,
    "block_bytes" / Int32ub,
    "checksum" / Int32ub,
    "parent_id" / Bytes(16),
    "parent_timestamp" / Int32ub,
    "reserved" / Int32ub,
    "parent_name" / Bytes(512),
    "locators" / Array(8, LOCATOR),
    "reserved_tail" / Bytes(256),
)
