"""The checksum of footer and header.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, appendix "Computing the Checksum".
"""

from __future__ import annotations


def checksum(record: bytes, field_offset: int) -> int:
    """Return the one's complement of the sum of all bytes but the four of the field itself."""
    total = sum(record) - sum(record[field_offset : field_offset + 4])
    return ~total & 0xFFFF_FFFF


def with_checksum(record: bytes, field_offset: int) -> bytes:
    """Return `record` with the right checksum in its field."""
    value = checksum(record, field_offset).to_bytes(4, "big")
    return record[:field_offset] + value + record[field_offset + 4 :]
