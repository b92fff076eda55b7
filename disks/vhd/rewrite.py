"""Replacing header, locator texts and footer of an image in place: after any crash, old or new.

A footer is one sector, which a crash leaves old or new. A header is two, under one checksum, so it is
never overwritten while a footer names it:
  1. the file grows, and the footer is written again behind the new room; sync
  2. the new texts and the new header go into the new room; sync
  3. that footer names the new header; sync
  4. texts and header go where they usually lie, which nothing names now; sync
  5. the footer names that header; sync
  6. the footer goes behind the last of what is left, sync, and the rest is cut off; sync
The footer's copy at offset 0 always names the usual place: until (5) the two may disagree, and the one
at the end counts. A change within the first sector of a header, which holds the checksum, is one write.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Dynamic Disk Header Format".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from disks.errors import DiskError
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.open import ImageFormat, detect_format
from disks.vhd import layout
from disks.vhd.header import DynamicHeader
from disks.vhd.layout import FOOTER_BYTES, HEADER_BYTES
from disks.vhd.locators import Text, placed
from disks.vhd.opening import FoundFooter, Parts, find_footer, read_parts
from disks.vhd.record import with_checksum

_DATA_OFFSET_FIELD: Final = 16  # [VHD] "Hard Disk Footer Format"


class Anatomy(NamedTuple):
    """The footer that counts, and what it leads to."""

    found: FoundFooter
    parts: Parts

    @property
    def blocks(self) -> tuple[int, int] | None:
        """Where the first block begins and the last one ends."""
        used = self.parts.table.used()
        if not used:
            return None
        return used[0][0] * SECTOR_BYTES, used[-1][0] * SECTOR_BYTES + self.parts.header.stride_bytes

    @property
    def home(self) -> int:
        """Where the header belongs: right behind the footer's copy, unless the table lies there."""
        usual_end = FOOTER_BYTES + HEADER_BYTES
        return FOOTER_BYTES if self.parts.header.table_offset >= usual_end else self.parts.header_at

    @property
    def front(self) -> int:
        """Where header and table end, once the header is at home."""
        header, home = self.parts.header, self.home
        table_end = header.table_offset + header.table_bytes
        return home + HEADER_BYTES if home >= table_end else table_end


def require_vhd(file: ByteFile) -> None:
    """Raise DiskError for an image of any other format."""
    if detect_format(file) is not ImageFormat.VHD:
        raise DiskError(f"{file.path}: a raw image, and no VHD")


def dissect(file: ByteFile) -> Anatomy:
    """Read footer, header and table of a dynamic or differencing image that is to be changed.

    Raise DiskError where a footer is damaged: what is not whole is repaired first.
    """
    found = find_footer(file)
    if found.is_copy:
        raise DiskError(
            f"{file.path}: the footer at the end is missing or damaged; trapline disk check --repair first"
        )
    if found.footer.disk_type == layout.TYPE_FIXED:
        raise DiskError(f"{file.path}: a fixed VHD has no blocks and no parent")
    return Anatomy(found, read_parts(file, found))


def replace_header(file: ByteFile, header: DynamicHeader, texts: Sequence[Text]) -> None:
    """Put `header`, its locators made for `texts`, in the place of the image's own; cut the file's end.

    Table and blocks stay. The file may end in free room, which goes.
    """
    now = dissect(file)
    home = now.home
    ahead = now._replace(parts=now.parts._replace(header=header))
    texts_at, tail = places(ahead.front, now.blocks, texts)
    locators, sectors = placed(texts, texts_at)
    header = replace(header, locators=locators)
    old, new = file.read_at(now.parts.header_at, HEADER_BYTES), header.to_bytes()
    in_place = home == now.parts.header_at and not (home % SECTOR_BYTES or now.found.offset % SECTOR_BYTES)
    if in_place and old[SECTOR_BYTES:] == new[SECTOR_BYTES:] and _holds(file, now, texts_at, sectors):
        if old != new:
            file.write_at(home, new[:SECTOR_BYTES])
            file.sync()
        put_footer(file, now.found.record, tail)
        return
    spare = max(whole_sectors(file.size()), tail + FOOTER_BYTES)
    spare_locators, spare_sectors = placed(texts, spare)
    spare_header = spare + len(spare_sectors)
    behind = spare_header + HEADER_BYTES
    file.write_at(behind, now.found.record)
    file.sync()
    file.write_at(spare, spare_sectors)
    file.write_at(spare_header, replace(header, locators=spare_locators).to_bytes())
    file.sync()
    file.write_at(behind, leading_to(now.found.record, spare_header))
    file.sync()
    record = leading_to(now.found.record, home)
    file.write_at(texts_at, sectors)
    file.write_at(home, new)
    file.write_at(0, record)
    file.sync()
    file.write_at(behind, record)
    file.sync()
    put_footer(file, record, tail)


def put_footer(file: ByteFile, record: bytes, tail: int) -> None:
    """Make `record` the footer at `tail`, where nothing that counts lies, and the end of the file.

    The footer that counts now lies at the end, and says the same.
    """
    if file.size() == tail + FOOTER_BYTES and file.read_at(tail, FOOTER_BYTES) == record:
        return
    file.write_at(tail, record)
    file.sync()
    file.resize(tail + FOOTER_BYTES)
    file.sync()


def whole_sectors(length: int) -> int:
    """Return `length` rounded up to sectors."""
    return -(-length // SECTOR_BYTES) * SECTOR_BYTES


def leading_to(record: bytes, header_at: int) -> bytes:
    """Return a footer that names another place for the header."""
    return with_field(record, _DATA_OFFSET_FIELD, header_at.to_bytes(8, "big"))


def with_field(record: bytes, position: int, value: bytes) -> bytes:
    """Return a footer with one field changed; what we do not know of it stays."""
    changed = record[:position] + value + record[position + len(value) :]
    return with_checksum(changed, layout.FOOTER_CHECKSUM_OFFSET)


def places(front: int, blocks: tuple[int, int] | None, texts: Sequence[Text]) -> tuple[int, int]:
    """Return where the texts go, behind the table if there is room, and where the footer goes.

    `front` is where header and table end, `blocks` where the first block begins and the last one ends.
    The header may lie behind the first block, or behind all.
    """
    length = len(placed(texts, 0)[1])
    if blocks is None:
        return front, front + length
    first, end = blocks[0], max(blocks[1], front)
    if front + length <= first:
        return front, end
    return end, end + length


def _holds(file: ByteFile, now: Anatomy, offset: int, data: bytes) -> bool:
    return offset + len(data) <= now.found.offset and file.read_at(offset, len(data)) == data
