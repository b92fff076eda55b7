"""What footer and header have in common: a cookie, a version 1.x and a checksum.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, appendix "Computing the Checksum".
"""

from __future__ import annotations

from pathlib import Path

from disks.errors import ImageFormatError
from disks.vhd import layout


def checksum(record: bytes, field_offset: int) -> int:
    """Return the one's complement of the sum of all bytes but the four of the field itself."""
    total = sum(record) - sum(record[field_offset : field_offset + 4])
    return ~total & 0xFFFF_FFFF


def timestamp(unix_seconds: float) -> int:
    """Return a time as the format has it; what lies outside its 32 bits, 2000 to 2136, is cut."""
    return max(0, min(int(unix_seconds) - layout.EPOCH_UNIX_SECONDS, 0xFFFF_FFFF))


def with_checksum(record: bytes, field_offset: int) -> bytes:
    """Return `record` with the right checksum in its field."""
    value = checksum(record, field_offset).to_bytes(4, "big")
    return record[:field_offset] + value + record[field_offset + 4 :]


class RecordCheck:
    """Checks fields of the record `name` found at `offset` of a file; raises ImageFormatError."""

    def __init__(self, name: str, path: Path, offset: int) -> None:
        self._name, self._path, self._offset = name, path, offset

    def require(self, position: int, field: str, expected: object, found: object, good: bool) -> None:
        """Refuse the file unless `good`."""
        if not good:
            at = self._offset + position
            raise ImageFormatError(self._path, at, f"{self._name} {field}", expected, found)

    def require_cookie(self, expected: bytes, found: bytes) -> None:
        """Refuse a record that does not begin with its cookie."""
        self.require(0, "cookie", expected, found, found == expected)

    def require_checksum(self, record: bytes, position: int) -> None:
        """Refuse a record whose checksum at `position` is wrong."""
        good = checksum(record, position)
        found = int.from_bytes(record[position : position + 4], "big")
        self.require(position, "checksum", f"{good:#010x}", f"{found:#010x}", found == good)

    def require_version_1(self, position: int, field: str, version: int) -> None:
        """Refuse all major versions but 1."""
        self.require(position, field, "1.x", f"{version:#010x}", version >> 16 == 1)
