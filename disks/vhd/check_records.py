"""Footer and header, read field by field without ever giving up.

`disks.vhd.opening` stops at the first field that cannot be; this names all of them, and takes the
values as they are where it can.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format",
        "Dynamic Disk Header Format".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from construct import Container

from disks.errors import ImageFormatError
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.vhd import layout
from disks.vhd.check_rules import Findings
from disks.vhd.footer import SIZED_BY_GEOMETRY, TYPE_NAMES, Footer
from disks.vhd.geometry import MAX_CYLINDERS, Geometry
from disks.vhd.header import CREATE_BLOCK_BYTES, MAX_BLOCK_BYTES, MIN_BLOCK_BYTES, DynamicHeader
from disks.vhd.record import checksum

_CREATORS: Final = (
    b"vpc ", b"vs  ", b"win ", b"d2v\0", b"qemu", b"qem2", b"vbox", b"tap\0", b"CTXS", b"wa\0\0",
)  # fmt: skip
_HOSTS: Final = (b"Wi2k", b"Mac ")
_TEMPORARY: Final = 1
_CLOCK_SLACK_SECONDS: Final = 86_400  # time zones
_NO_ID: Final = bytes(16)


@dataclass(frozen=True)
class Footers:
    """The footer that counts: its fields and bytes, where it lies or should lie, and the copy's bytes."""

    fields: Container
    record: bytes
    offset: int
    at_end: bool
    is_short: bool
    copy: bytes

    @property
    def is_fixed(self) -> bool:
        """Whether the disk has neither header nor copy."""
        return bool(self.fields.disk_type == layout.TYPE_FIXED)

    @property
    def is_differencing(self) -> bool:
        """Whether the disk needs a parent."""
        return bool(self.fields.disk_type == layout.TYPE_DIFFERENCING)


def read_footers(file: ByteFile, findings: Findings) -> Footers | None:
    """Return the footer to go by: a valid one if there is any, else one that has at least the cookie."""
    size = file.size()
    short = size % SECTOR_BYTES == layout.OLD_FOOTER_BYTES
    at = max(0, size - (layout.OLD_FOOTER_BYTES if short else layout.FOOTER_BYTES))
    end = file.read_at(at, min(size, layout.FOOTER_BYTES, size - at)).ljust(layout.FOOTER_BYTES, b"\0")
    copy = file.read_at(0, min(size, layout.FOOTER_BYTES)).ljust(layout.FOOTER_BYTES, b"\0")
    damage = _damage(end, file, at)
    found = Footers(layout.FOOTER.parse(end), end, at, True, short, copy)
    if damage is None:
        return found
    of_copy = layout.FOOTER.parse(copy)
    if _damage(copy, file, 0) is None and of_copy.disk_type != layout.TYPE_FIXED:
        findings.add("footer-damaged", damage.offset, damage.field, damage.expected, damage.found)
        return replace(found, fields=of_copy, record=copy, offset=size, at_end=False)
    if end.startswith(layout.FOOTER_COOKIE):
        return found
    findings.add("no-vhd", damage.offset, damage.field, damage.expected, damage.found)
    return None


def _damage(record: bytes, file: ByteFile, at: int) -> ImageFormatError | None:
    try:
        Footer.parse(record, file.path, at)
    except ImageFormatError as error:
        return error
    return None


def check_footer(footers: Footers, findings: Findings, now: int) -> None:
    """Check every field of the footer; `now` is in the format's seconds."""
    fields, at = footers.fields, footers.offset if footers.at_end else 0
    good = checksum(footers.record, layout.FOOTER_CHECKSUM_OFFSET)
    if fields.checksum != good:
        findings.add(
            "footer-checksum", at + 64, "footer checksum", f"{good:#010x}", f"{fields.checksum:#010x}"
        )
    if fields.format_version >> 16 != 1:
        findings.add(
            "footer-version", at + 12, "footer format version", "1.x", f"{fields.format_version:#010x}"
        )
    if fields.disk_type not in TYPE_NAMES:
        findings.add("disk-type", at + 60, "footer disk type", "2, 3 or 4", fields.disk_type)
    size = fields.current_size
    if not 0 < size <= layout.MAX_SIZE_BYTES or size % SECTOR_BYTES:
        expected = f"a multiple of 512 up to {layout.MAX_SIZE_BYTES}"
        findings.add("disk-size", at + 48, "footer current size", expected, size)
    if fields.features & ~_TEMPORARY != layout.FEATURES_RESERVED:
        findings.add("footer-features", at + 8, "footer features", "0x2", f"{fields.features:#x}")
    elif fields.features & _TEMPORARY:
        findings.add("footer-temporary", at + 8, "footer features", "0x2", f"{fields.features:#x}")
    if footers.is_short:
        findings.add("footer-511", at, "footer", "512 bytes", "511")
    if footers.is_fixed and fields.data_offset not in (layout.NO_OFFSET, 0xFFFF_FFFF):
        findings.add(
            "fixed-data-offset", at + 16, "footer data offset", "all ones", f"{fields.data_offset:#x}"
        )
    _check_origin(fields, findings, at, now)
    _check_geometry(fields, findings, at)
    if not footers.is_fixed and footers.at_end:
        _check_copy(footers, findings)


def _check_origin(fields: Container, findings: Findings, at: int, now: int) -> None:
    """Check who made the image, when, and what is reserved."""
    if fields.timestamp > now + _CLOCK_SLACK_SECONDS:
        findings.add("timestamp-future", at + 24, "footer time stamp", f"at most {now}", fields.timestamp)
    if fields.creator_application not in _CREATORS:
        known = b", ".join(_CREATORS).replace(b"\0", b"").decode()
        findings.add("creator", at + 28, "footer creator", known, _text(fields.creator_application))
    if fields.creator_host not in _HOSTS:
        findings.add(
            "creator-host", at + 36, "footer creator host", "Wi2k or Mac", _text(fields.creator_host)
        )
    original = fields.original_size
    if not 0 < original <= layout.MAX_SIZE_BYTES or original % SECTOR_BYTES:
        findings.add("original-size", at + 40, "footer original size", "a multiple of 512", original)
    if fields.saved_state > 1:
        findings.add("saved-state", at + 84, "footer saved state", "0 or 1", fields.saved_state)
    elif fields.saved_state:
        findings.add("state-saved", at + 84, "footer saved state", 0, 1)
    if any(fields.reserved):
        first = at + 85 + next(index for index, byte in enumerate(fields.reserved) if byte)
        findings.add("footer-reserved", first, "footer reserved", "zeros", "other bytes")


def _text(code: bytes) -> str:
    return repr(code.decode("latin-1"))


def _check_geometry(fields: Container, findings: Findings, at: int) -> None:
    """A geometry may miss the size by a part of a cylinder, for the creators whose size QEMU believes."""
    geometry = Geometry(fields.cylinders, fields.heads, fields.sectors_per_track)
    if geometry.cylinders >= MAX_CYLINDERS:
        return
    missing = fields.current_size // SECTOR_BYTES - geometry.sectors
    slack = geometry.heads * geometry.sectors_per_track
    if fields.creator_application in SIZED_BY_GEOMETRY:
        slack = 0
    if abs(missing) > slack or geometry.sectors == 0:
        found = "{}/{}/{}".format(*geometry) + f", {geometry.sectors * SECTOR_BYTES} bytes"
        findings.add("geometry", at + 56, "footer geometry", f"{fields.current_size} bytes", found)


def _check_copy(footers: Footers, findings: Findings) -> None:
    if footers.copy == footers.record:
        return
    good = checksum(footers.copy, layout.FOOTER_CHECKSUM_OFFSET)
    stored = int.from_bytes(footers.copy[64:68], "big")
    if not footers.copy.startswith(layout.FOOTER_COOKIE) or stored != good:
        findings.add("copy-damaged", 0, "copy of the footer", "a footer with a right checksum", "none")
        return
    pairs = zip(footers.copy, footers.record, strict=True)
    first = next(index for index, (one, other) in enumerate(pairs) if one != other)
    findings.add("copy-differs", first, "copy of the footer", "the bytes of the footer", "others")


@dataclass(frozen=True)
class Header:
    """The header's values as they are, and where it lies."""

    values: DynamicHeader
    at: int
    is_usable: bool


def read_header(file: ByteFile, footers: Footers, findings: Findings) -> Header | None:
    """Return the header with all its fields checked, None when there is none."""
    at = footers.fields.data_offset
    if at < layout.FOOTER_BYTES or at % SECTOR_BYTES or at + layout.HEADER_BYTES > footers.offset:
        where = (footers.offset if footers.at_end else 0) + 16
        findings.add("header-place", where, "footer data offset", "a header inside the file", f"{at:#x}")
        return None
    record = file.read_at(at, layout.HEADER_BYTES)
    fields = layout.HEADER.parse(record)
    if fields.cookie != layout.HEADER_COOKIE:
        findings.add("header-cookie", at, "header cookie", "cxsparse", _text(fields.cookie))
        return None
    good = checksum(record, layout.HEADER_CHECKSUM_OFFSET)
    if fields.checksum != good:
        findings.add(
            "header-checksum", at + 36, "header checksum", f"{good:#010x}", f"{fields.checksum:#010x}"
        )
    if fields.header_version >> 16 != 1:
        findings.add("header-version", at + 24, "header version", "1.x", f"{fields.header_version:#010x}")
    if fields.data_offset != layout.NO_OFFSET:
        found = f"{fields.data_offset:#x}"
        findings.add("header-data-offset", at + 8, "header data offset", "all ones", found)
    size = fields.block_bytes
    legal = size & (size - 1) == 0 and MIN_BLOCK_BYTES <= size <= MAX_BLOCK_BYTES
    if not legal:
        findings.add("block-size", at + 32, "header block size", "a power of two from 4 KiB to 256 MiB", size)
    elif size not in CREATE_BLOCK_BYTES:
        findings.add("block-size-rare", at + 32, "header block size", "512 KiB or 2 MiB", size)
    if fields.reserved or any(fields.reserved_tail):
        where = at + (60 if fields.reserved else 768)
        findings.add("header-reserved", where, "header reserved", "zeros", "other bytes")
    for index, locator in enumerate(fields.locators):
        if locator.reserved:
            where = at + 576 + 24 * index + 12
            findings.add("locator-reserved", where, f"locator {index} reserved", 0, locator.reserved)
    if not footers.is_differencing:
        _check_no_parent(fields, findings, at)
    elif fields.parent_id in (_NO_ID, footers.fields.unique_id):
        found = "none (a raw image)" if fields.parent_id == _NO_ID else "its own"
        findings.add("parent-id", at + 40, "header parent id", "another image's identity", found)
    return Header(DynamicHeader.of(fields), at, legal)


def _check_no_parent(fields: Container, findings: Findings, at: int) -> None:
    """Only a differencing disk has a parent."""
    locators = any(any(entry.platform_code) for entry in fields.locators)
    for position, name, is_set in (
        (40, "parent id", fields.parent_id != _NO_ID),
        (56, "parent time stamp", fields.parent_timestamp != 0),
        (64, "parent name", any(fields.parent_name)),
        (576, "parent locators", locators),
    ):
        if is_set:
            findings.add("parent-fields", at + position, f"header {name}", "zeros", "other bytes")
