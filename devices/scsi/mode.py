"""MODE SENSE and MODE SELECT: headers, and choosing pages by their control.

Sources:
    [SPC-2] T10/1236D revision 20, §7.6-§7.9, §8.3 mode parameters.
    [SBC-2] T10/1417D revision 16, §6.3 (block descriptor, device-specific parameter).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from devices.scsi.commands import MODE_SELECT_6, MODE_SENSE_6, be
from devices.scsi.sense import INVALID_FIELD, INVALID_PARAMETER, LIST_LENGTH, SAVING_UNSUPPORTED, Sense

ALL_PAGES: Final = 0x3F
ALL_SUBPAGES: Final = 0xFF
CHANGEABLE: Final = 1  # page control
DEFAULT: Final = 2
SAVED: Final = 3
DBD: Final = 0x08  # MODE SENSE byte 1: no block descriptors
SAVE_PAGES: Final = 0x01  # MODE SELECT byte 1
LONG_LBA: Final = 0x01  # byte 4 of the long header

PAGE_CODE: Final = 0x3F  # byte 0 of a page
SUBPAGE_FORMAT: Final = 0x40
DESCRIPTOR_BYTES: Final = 8


class Pages(NamedTuple):
    """The pages of a unit without their two-byte heads: current values, changeable bits, defaults."""

    current: Mapping[int, bytes]
    changeable: Mapping[int, bytes]
    default: Mapping[int, bytes]


class Selected(NamedTuple):
    """A parameter list taken apart."""

    medium: int
    descriptor: bytes
    pages: Mapping[int, bytes]


def pages_for(cdb: bytes, pages: Pages) -> bytes | Sense:
    """Return the pages that a MODE SENSE asks for."""
    control, page, subpage = cdb[2] >> 6, cdb[2] & PAGE_CODE, cdb[3]
    if control == SAVED:
        return SAVING_UNSUPPORTED
    values = (pages.current, pages.changeable, pages.default)[control]
    wanted = list(values) if page == ALL_PAGES else [page]
    if not set(wanted) <= set(values) or subpage not in (0, ALL_SUBPAGES):
        return INVALID_FIELD
    return b"".join(bytes([code, len(values[code])]) + values[code] for code in wanted)


def sense_reply(cdb: bytes, medium: int, specific: int, descriptor: bytes, pages: bytes) -> bytes:
    """Return the data of MODE SENSE(6) or (10), cut to its allocation length."""
    body = (b"" if cdb[1] & DBD else descriptor) + pages
    length = len(body) - len(pages)
    if cdb[0] == MODE_SENSE_6:
        return (bytes([min(len(body) + 3, 0xFF), medium, specific, length]) + body)[: cdb[4]]
    return (struct.pack(">HBBHH", len(body) + 6, medium, specific, 0, length) + body)[: be(cdb[7:9])]


def list_length(cdb: bytes) -> int:
    """Return the parameter list length of a MODE SELECT."""
    return cdb[4] if cdb[0] == MODE_SELECT_6 else be(cdb[7:9])


def take_apart(cdb: bytes, data: bytes) -> Selected | Sense:
    """Return what a parameter list says, or why it says nothing, [SPC-2] §7.6."""
    head = 4 if cdb[0] == MODE_SELECT_6 else 8
    if len(data) < head:
        return LIST_LENGTH
    medium = data[1] if head == 4 else data[2]
    length = data[3] if head == 4 else be(data[6:8])
    if head == 8 and data[4] & LONG_LBA:
        return INVALID_PARAMETER
    if len(data) < head + length:
        return LIST_LENGTH
    descriptor, rest = data[head : head + length], data[head + length :]
    pages: dict[int, bytes] = {}
    while rest:
        if len(rest) < 2 or len(rest) < 2 + rest[1]:
            return LIST_LENGTH
        if rest[0] & SUBPAGE_FORMAT:
            return INVALID_PARAMETER
        pages[rest[0] & PAGE_CODE] = rest[2 : 2 + rest[1]]
        rest = rest[2 + rest[1] :]
    return Selected(medium, descriptor, pages)


def unchangeable(selected: Mapping[int, bytes], pages: Pages) -> bool:
    """Return whether a list names a page that is not there or changes a bit that cannot be."""
    for code, wanted in selected.items():
        current, mask = pages.current.get(code), pages.changeable.get(code)
        if current is None or mask is None or len(wanted) != len(current):
            return True
        changed = int.from_bytes(wanted, "big") ^ int.from_bytes(current, "big")
        if changed & ~int.from_bytes(mask, "big"):
            return True
    return False
