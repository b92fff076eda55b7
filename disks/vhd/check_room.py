"""Who takes which bytes of the file: table, locators, blocks; what overlaps, and what nobody takes.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Block Allocation Table and Data Blocks",
        "Parent Locator Entries".
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.vhd import layout
from disks.vhd.check_records import Footers, Header
from disks.vhd.check_rules import MAX_LISTED, Findings
from disks.vhd.header import MAX_BLOCKS, Locator
from disks.vhd.locators import ABSOLUTE, MAC_URL, RELATIVE, parent_name, room_of, text_of

_OLD_CODES: Final = (b"Wi2r", b"Wi2k", b"Mac ")
_FOLLOWED: Final = (RELATIVE, ABSOLUTE, MAC_URL)
_BLOCKS_IN_EXCESS: Final = 1 << 16  # of what the file holds; beyond, a table is not looked at block by block
_ENTRY_PIECE: Final = 1 << 12


class Part(NamedTuple):
    """A range of bytes and whose it is."""

    start: int
    end: int
    name: str


@dataclass
class Room:
    """How the file is divided. `blocks` are those that overlap nothing, as (sector, block)."""

    parts: list[Part] = field(default_factory=list)
    blocks: list[tuple[int, int]] = field(default_factory=list)
    padding_offset: int = 0
    padding: bytes = b""
    data_end: int = 0
    has_tail_room: bool = False


def read_room(file: ByteFile, footers: Footers, header: Header, findings: Findings) -> Room:
    """Check table, locators and what they point at; the header's block size is a legal one."""
    room = Room()
    room.parts = [
        Part(0, layout.FOOTER_BYTES, "the copy of the footer"),
        Part(header.at, header.at + layout.HEADER_BYTES, "the header"),
    ]
    entries = _read_table(file, footers, header, findings, room)
    texts = _locator_parts(file, footers, header, findings)
    first = max((part.end for part in room.parts), default=0)
    _place_blocks(entries, first, footers, header, findings, room)
    _check_texts(texts, header, findings, room)
    if not any(findings.counts[rule] for rule in ("bat-overlap", "bat-outside", "bat-headers", "bat-many")):
        _check_leaks(texts, footers, header, findings, room)
    return room


def _read_table(
    file: ByteFile, footers: Footers, header: Header, findings: Findings, room: Room
) -> array[int]:
    """Return the entries of the disk's blocks, as many as lie in the file."""
    values = header.values
    needed = -(-footers.fields.current_size // values.block_bytes)
    if values.max_table_entries < needed or needed > MAX_BLOCKS:
        expected = f"{needed}, at most {MAX_BLOCKS}"
        findings.add(
            "table-short", header.at + 28, "header max table entries", expected, values.max_table_entries
        )
    table, end = values.table_offset, values.table_offset + values.table_bytes
    clash = next((part for part in room.parts if part.start < end and table < part.end), None)
    if clash is not None or table % SECTOR_BYTES or end > footers.offset:
        expected = f"whole sectors clear of the headers, before {footers.offset:#x}"
        found = f"{values.max_table_entries} entries from {table:#x}"
        findings.add("table-place", header.at + 16, "header table offset", expected, found)
        return array("I")
    room.parts.append(Part(table, end, "the block allocation table"))
    count = min(needed, values.max_table_entries, MAX_BLOCKS)
    entries = _entries(file, table, count)
    _check_unused(file, table, count, min(values.max_table_entries, MAX_BLOCKS), findings)
    room.padding_offset = table + values.max_table_entries * 4
    room.padding = file.read_at(room.padding_offset, end - room.padding_offset)
    if room.padding.strip(b"\xff"):
        findings.add("table-padding", room.padding_offset, "BAT padding", "FFh", "other bytes")
    return entries


def _entries(file: ByteFile, at: int, count: int) -> array[int]:
    entries = array("I", file.read_at(at, count * 4))
    if sys.byteorder == "little":
        entries.byteswap()
    return entries


def _check_unused(file: ByteFile, table: int, first: int, end: int, findings: Findings) -> None:
    """Entries past the disk's last block stand for nothing."""
    for at in range(first, end, _ENTRY_PIECE):
        piece = _entries(file, table + at * 4, min(_ENTRY_PIECE, end - at))
        used = len(piece) - piece.count(layout.BLOCK_ABSENT)
        if findings.counts["bat-unused"] >= MAX_LISTED:
            findings.add_unlisted("bat-unused", used)
        elif used:
            for block, sector in enumerate(piece, at):
                if sector != layout.BLOCK_ABSENT:
                    where, found = table + block * 4, f"sector {sector}"
                    findings.add("bat-unused", where, f"BAT entry {block}", "FFFFFFFFh", found)


def _place_blocks(
    entries: array[int], first: int, footers: Footers, header: Header, findings: Findings, room: Room
) -> None:
    """Sort the blocks by place and tell those that share bytes with anything."""
    stride, table = header.values.stride_bytes, header.values.table_offset
    present = len(entries) - entries.count(layout.BLOCK_ABSENT)
    fitting = max(footers.offset - first, 0) // stride
    if present > fitting + _BLOCKS_IN_EXCESS:
        findings.add("bat-many", table, "BAT", f"at most {fitting} blocks", present)
        return
    keys = sorted(
        sector << 32 | block for block, sector in enumerate(entries) if sector != layout.BLOCK_ABSENT
    )
    previous, free_from = -1, 0
    bad: set[int] = set()
    for sector, block in _unpacked(keys):
        start, where, what = sector * SECTOR_BYTES, table + block * 4, f"BAT entry {block}"
        end = start + stride
        clash = next((part for part in room.parts if part.start < end and start < part.end), None)
        if clash is not None:
            findings.add("bat-headers", where, what, f"a block clear of {clash.name}", f"sector {sector}")
            bad.add(block)
        if end > footers.offset:
            expected = f"a block that ends before {footers.offset:#x}"
            findings.add("bat-outside", where, what, expected, f"sector {sector} ({start:#x})")
            bad.add(block)
        if start < free_from:
            how = "the place of" if start == free_from - stride else "a place inside"
            findings.add(
                "bat-overlap", where, what, "a place of its own", f"{how} block {previous}: sector {sector}"
            )
            bad.update((block, previous))
        if end > free_from:
            previous, free_from = block, end
    room.blocks = [(sector, block) for sector, block in _unpacked(keys) if block not in bad]


def _unpacked(keys: list[int]) -> Iterator[tuple[int, int]]:
    for key in keys:
        yield key >> 32, key & 0xFFFF_FFFF


def _locator_parts(file: ByteFile, footers: Footers, header: Header, findings: Findings) -> list[Part]:
    """Check the locators one by one; return where their texts lie."""
    if not footers.is_differencing:
        return []
    texts: list[Part] = []
    followed = 0
    for index, locator in enumerate(header.values.locators):
        at = header.at + 576 + 24 * index
        if not any(locator.platform_code):
            continue
        name = f"locator {index} ({locator.platform_code.decode('latin-1')!r})"
        if locator.platform_code in _OLD_CODES:
            findings.add("locator-old", at, name, "W2ru, W2ku or MacX", name)
        elif locator.platform_code not in _FOLLOWED:
            findings.add("locator-code", at, name, "W2ru, W2ku or MacX", name)
        else:
            followed += 1
        part = _text_part(file, footers.offset, locator, Part(at, 0, name), findings)
        if part is not None:
            texts.append(part)
    if not followed:
        findings.add("locator-none", header.at + 576, "header parent locators", "W2ru, W2ku or MacX", "none")
    if not parent_name(header.values):
        findings.add("parent-name", header.at + 64, "header parent name", "the parent's file name", "none")
    return texts


def _text_part(file: ByteFile, end: int, locator: Locator, entry: Part, findings: Findings) -> Part | None:
    """Check room and text of a locator; `entry` is where it is in the header, and its name."""
    room = room_of(locator)
    if room is None:
        expected = "a number of sectors, or of bytes in whole sectors"
        findings.add(
            "locator-space", entry.start + 4, f"{entry.name} data space", expected, locator.data_space
        )
        room = -(-locator.data_length // SECTOR_BYTES) * SECTOR_BYTES
    elif 0 < locator.data_space < SECTOR_BYTES:
        findings.add(
            "locator-sectors", entry.start + 4, f"{entry.name} data space", "bytes", locator.data_space
        )
    if locator.data_length > room or locator.data_offset + locator.data_length > end:
        expected = f"a text in its {room} bytes of room, before {end:#x}"
        found = f"{locator.data_length} bytes at {locator.data_offset:#x}"
        findings.add("locator-text", entry.start + 16, entry.name, expected, found)
        return None
    if locator.platform_code in _FOLLOWED and text_of(file, locator, end) is None:
        findings.add("locator-text", locator.data_offset, entry.name, "a text", "none, or other bytes")
    stop = min(end, locator.data_offset + max(room, locator.data_length))
    return Part(locator.data_offset, stop, entry.name)


def _check_texts(texts: list[Part], header: Header, findings: Findings, room: Room) -> None:
    """Texts share bytes with nothing; for a block that does, QEMU is the likely cause."""
    fixed = sorted(room.parts)
    stride = header.values.stride_bytes
    for index, text in enumerate(texts):
        for part in [*fixed, *texts[:index]]:
            if part.start < text.end and text.start < part.end:
                findings.add(
                    "locator-overlap", text.start, text.name, "bytes of its own", f"those of {part.name}"
                )
        for sector, block in room.blocks:
            start = sector * SECTOR_BYTES
            if start >= text.end:
                break
            if text.start < start + stride:
                findings.add(
                    "locator-overlap", text.start, text.name, "bytes of its own", f"those of block {block}"
                )


def _check_leaks(texts: list[Part], footers: Footers, header: Header, findings: Findings, room: Room) -> None:
    """Find what lies between the parts, and behind the last one."""
    stride = header.values.stride_bytes
    gaps: list[tuple[int, int]] = []
    at = 0
    sizes = sorted([*((part.start, part.end) for part in [*room.parts, *texts])])
    blocks = ((sector * SECTOR_BYTES, sector * SECTOR_BYTES + stride) for sector, _ in room.blocks)
    for start, end in _merged(sizes, blocks):
        if start - at >= stride:
            findings.add("leak", at, "room", "a block", f"{start - at} bytes nothing points at")
        elif start > at:
            gaps.append((at, start - at))
        at = max(at, end)
    room.data_end = -(-at // SECTOR_BYTES) * SECTOR_BYTES
    tail = footers.offset - at
    if tail >= stride:
        room.has_tail_room = True
        findings.add("tail-room", at, "room", f"the footer at {room.data_end:#x}", f"{tail} bytes before it")
    elif tail > 0 and footers.at_end:
        gaps.append((at, tail))
    if gaps:
        found = f"{sum(length for _, length in gaps)} bytes in {len(gaps)} places"
        findings.add("gap", gaps[0][0], "room", "nothing between the parts", found)


def _merged(sizes: list[tuple[int, int]], blocks: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield headers and blocks in the order of the file; both come sorted."""
    from heapq import merge

    return merge(sizes, blocks)
