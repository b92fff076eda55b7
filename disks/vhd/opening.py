"""Opening a VHD: find the footer, believe nothing, build the image.

A differencing disk is opened with the chain behind it; `open_level` opens it alone.

NOT modelled: repair (a damaged footer only allows reading).

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from disks.errors import DiskError, ImageFormatError
from disks.hostfile import ByteFile, HostFile
from disks.sync import SyncPolicy
from disks.vhd import layout
from disks.vhd.bat import BlockAllocationTable, check_entries, check_table_place
from disks.vhd.blocks import BlockStore, Placement
from disks.vhd.fixed import FixedVhd
from disks.vhd.footer import Footer
from disks.vhd.geometry import MAX_CYLINDERS
from disks.vhd.header import DynamicHeader
from disks.vhd.locators import texts_end
from disks.vhd.parents import OWN_DIRECTORY, Ancestry, ParentRules, find_parent
from disks.vhd.sparse import SparseVhd, VhdImage


class FoundFooter(NamedTuple):
    """The footer that counts, where it lies, and what is wrong with the other one."""

    footer: Footer
    record: bytes
    offset: int
    is_copy: bool
    warnings: tuple[str, ...]


def has_footer_cookie(file: ByteFile) -> bool:
    """Tell whether the file claims to be a VHD in any of the places a footer may be."""
    size = file.size()
    cookie = layout.FOOTER_COOKIE
    places = [size - layout.FOOTER_BYTES, size - layout.OLD_FOOTER_BYTES, 0]
    return any(
        file.read_at(offset, len(cookie)) == cookie
        for offset in places
        if 0 <= offset <= size - layout.OLD_FOOTER_BYTES
    )


def open_vhd(
    file: HostFile, sync: SyncPolicy = SyncPolicy.ON_FLUSH, rules: ParentRules = OWN_DIRECTORY
) -> VhdImage:
    """Return the image in `file`, which it then owns, and the chain behind it.

    Raise DiskError and leave the file open.
    """
    return _open_chain(file, sync, rules.under(file.path), None)


def open_level(file: ByteFile, sync: SyncPolicy = SyncPolicy.ON_FLUSH) -> VhdImage:
    """Return the image in `file` alone; a differencing one then has extents but no contents.

    Raise DiskError and leave the file open.
    """
    return _level(file, sync)[0]


def _open_chain(file: HostFile, sync: SyncPolicy, rules: ParentRules, above: Ancestry | None) -> VhdImage:
    image, end = _level(file, sync)
    if isinstance(image, FixedVhd) or not image.is_differencing:
        return image
    ancestry = (above or Ancestry((), (), ())).followed_by(file, image.footer.unique_id)
    found = find_parent(file, image.store.header, end, rules, ancestry, identity_of)
    try:
        parent = _open_chain(found.file, SyncPolicy.NEVER, rules, ancestry)
    except BaseException:
        found.file.close()
        raise
    image.stand_on(parent, found.warnings)
    return image


def identity_of(file: HostFile) -> uuid.UUID:
    """Return the identity of a VHD; raise ImageFormatError for anything else."""
    return find_footer(file).footer.unique_id


def _level(file: ByteFile, sync: SyncPolicy) -> tuple[VhdImage, int]:
    """Return the image in `file` without its parent, and where its data end."""
    found = find_footer(file)
    footer = found.footer
    warnings = (*found.warnings, *_geometry_warnings(footer))
    if found.is_copy and not file.read_only:
        damage = "the footer at the end is missing or damaged; its copy at offset 0 allows reading only"
        raise DiskError(f"{file.path}: {damage}. {_truncated(file.size())}")
    if footer.disk_type == layout.TYPE_FIXED:
        if footer.current_size > found.offset:
            where, expected = found.offset + 48, f"at most {found.offset}, where the footer lies"
            raise ImageFormatError(
                file.path,
                where,
                "footer current size",
                expected,
                footer.current_size,
                "The file is truncated",
            )
        return FixedVhd(file, footer, sync, warnings), found.offset
    try:
        store = _open_blocks(file, found, sync)
    except ImageFormatError as error:
        raise (error.with_hint(_truncated(file.size())) if found.is_copy else error) from None
    return SparseVhd(file, footer, store, warnings), found.offset


def _truncated(size: int) -> str:
    return f"The file may be truncated: it ends after {size} bytes. Restore it from where it came"


def _begins_as_vhd(file: ByteFile) -> bool:
    return file.size() >= len(layout.FOOTER_COOKIE) and (
        file.read_at(0, len(layout.FOOTER_COOKIE)) == layout.FOOTER_COOKIE
    )


def find_footer(file: ByteFile) -> FoundFooter:
    """Return the valid footer: the one at the end, or the copy at offset 0 when that is damaged."""
    size = file.size()
    try:
        offset, record = _end_record(file, size)
        footer = Footer.parse(record, file.path, offset)
    except ImageFormatError as damage:
        copy = _copy_or_none(file, size)
        if copy is None:
            raise (damage.with_hint(_truncated(size)) if _begins_as_vhd(file) else damage) from None
        record = file.read_at(0, layout.FOOTER_BYTES)
        return FoundFooter(copy, record, size, True, (f"the footer at the end is damaged ({damage})",))
    return FoundFooter(footer, record, offset, False, _copy_warnings(file, footer, record))


def _end_record(file: ByteFile, size: int) -> tuple[int, bytes]:
    """Return the footer record at the end, padded to 512 bytes, and its offset."""
    if size % layout.FOOTER_BYTES == layout.OLD_FOOTER_BYTES:
        offset = size - layout.OLD_FOOTER_BYTES
        return offset, file.read_at(offset, layout.OLD_FOOTER_BYTES) + b"\0"
    offset = max(0, size - layout.FOOTER_BYTES)
    return offset, file.read_at(offset, min(size, layout.FOOTER_BYTES)).ljust(layout.FOOTER_BYTES, b"\0")


def _copy_or_none(file: ByteFile, size: int) -> Footer | None:
    """Return the copy at offset 0 of a disk that has one, if it is valid."""
    if size < layout.FOOTER_BYTES + layout.HEADER_BYTES:
        return None
    try:
        copy = Footer.parse(file.read_at(0, layout.FOOTER_BYTES), file.path, 0)
    except ImageFormatError:
        return None
    return None if copy.disk_type == layout.TYPE_FIXED else copy


def _copy_warnings(file: ByteFile, footer: Footer, record: bytes) -> tuple[str, ...]:
    """Compare the footer with its copy; only fixed disks have none."""
    if footer.disk_type == layout.TYPE_FIXED or file.size() < layout.FOOTER_BYTES:
        return ()
    if file.read_at(0, layout.FOOTER_BYTES) == record:
        return ()
    return ("the footer and its copy at offset 0 differ; the footer counts",)


def _geometry_warnings(footer: Footer) -> tuple[str, ...]:
    """Warn of a geometry that does not reach the size, as programs that go by it see another disk."""
    geometry = footer.geometry
    cylinder = geometry.heads * geometry.sectors_per_track
    missing = footer.current_size // 512 - geometry.sectors
    if geometry.cylinders >= MAX_CYLINDERS or -cylinder <= missing <= cylinder:
        return ()
    return (f"the geometry reaches {geometry.sectors * 512} bytes of {footer.current_size}",)


class Parts(NamedTuple):
    """What a dynamic or differencing disk is made of; `end` is where nothing lies any more."""

    header: DynamicHeader
    header_at: int
    table: BlockAllocationTable
    end: int


def read_header(file: ByteFile, found: FoundFooter) -> DynamicHeader:
    """Read and check the header; what it leads to is not looked at."""
    at, end = found.footer.data_offset, found.offset
    if at < layout.FOOTER_BYTES or at + layout.HEADER_BYTES > end:
        where = (0 if found.is_copy else found.offset) + 16
        expected = f"from 0x200 to {max(0, end - layout.HEADER_BYTES):#x}"
        raise ImageFormatError(file.path, where, "footer data offset", expected, f"{at:#x}")
    return DynamicHeader.parse(file.read_at(at, layout.HEADER_BYTES), file.path, at)


def read_parts(file: ByteFile, found: FoundFooter) -> Parts:
    """Read and check header and table; `found.offset` is where the blocks must end."""
    header = read_header(file, found)
    at, end = found.footer.data_offset, found.offset
    size = found.footer.current_size
    check_table_place(file, header, size, at, end)
    table = BlockAllocationTable.load(file, header, size)
    used_end = check_entries(file, header, table, at, end)
    return Parts(header, at, table, max(used_end, texts_end(header, end)))


def _open_blocks(file: ByteFile, found: FoundFooter, sync: SyncPolicy) -> BlockStore:
    header, _, table, end = read_parts(file, found)
    return BlockStore(file, header, table, Placement(found.footer, found.record, found.offset, end), sync)
