"""The data a CD-ROM drive answers with: mode pages, tables of contents, features, events.

Every function builds one reply from plain values. The disc is one data track in one session.

Sources:
    [SPC-2] T10/1236D revision 20, §7.8 MODE SENSE.
    [MMC-3] T10/1363D revision 10g, chapters 5 (features, mode pages) and 6 (commands).
    [MMC-1] X3T10/1048D revision 10a, §5.2.3 the capabilities page.
"""

from __future__ import annotations

import struct
from typing import Final

from devices.scsi.mode import Pages

BLOCK: Final = 2048
RAW_BLOCK: Final = 2352
MSF_OFFSET: Final = 150  # frames of pregap before block 0: 00:02.00
FRAMES: Final = 75
CD_BLOCKS: Final = 80 * 60 * FRAMES  # more than an 80-minute CD holds is shown as a DVD

TRACK: Final = 1
LEAD_OUT: Final = 0xAA
ADR_CONTROL: Final = 0x14  # Q position, data track

INTERFACE_SCSI: Final = 1  # physical interface standard, [MMC-3] §5.3.2
INTERFACE_ATAPI: Final = 2

PROFILE_NONE: Final = 0x0000
PROFILE_CD_ROM: Final = 0x0008
PROFILE_DVD_ROM: Final = 0x0010

PAGE_ERROR_RECOVERY: Final = 0x01
PAGE_AUDIO_CONTROL: Final = 0x0E
PAGE_CAPABILITIES: Final = 0x2A
SPEED_KB_S: Final = 706  # 4x

MEDIA_CLASS: Final = 4  # GET EVENT STATUS NOTIFICATION, [MMC-3] §6.7
MEDIA_CLASS_MASK: Final = 1 << MEDIA_CLASS
NO_EVENT_AVAILABLE: Final = 0x80
EVENT_NONE: Final = 0
EVENT_EJECT_REQUEST: Final = 1
EVENT_NEW_MEDIA: Final = 2
EVENT_REMOVAL: Final = 3


def capacity(blocks: int) -> bytes:
    """Return the READ CAPACITY data: last block, block length."""
    return struct.pack(">II", max(blocks, 1) - 1, BLOCK)


def msf(lba: int) -> bytes:
    """Return minute, second, frame of a block."""
    frames = lba + MSF_OFFSET
    return bytes([frames // FRAMES // 60 & 0xFF, frames // FRAMES % 60, frames % FRAMES])


def _address(lba: int, use_msf: bool) -> bytes:
    return b"\0" + msf(lba) if use_msf else struct.pack(">I", lba)


def toc(blocks: int, use_msf: bool, start: int) -> bytes | None:
    """Return READ TOC format 0 from track `start` on, or None for a track that does not exist."""
    if start > TRACK and start != LEAD_OUT:
        return None
    entries = b""
    if start <= TRACK:
        entries = bytes([0, ADR_CONTROL, TRACK, 0]) + _address(0, use_msf)
    entries += bytes([0, ADR_CONTROL | 2, LEAD_OUT, 0]) + _address(blocks, use_msf)
    return struct.pack(">HBB", len(entries) + 2, TRACK, TRACK) + entries


def sessions(use_msf: bool) -> bytes:
    """Return READ TOC format 1: the first track of the last session."""
    return struct.pack(">HBB", 10, 1, 1) + bytes([0, ADR_CONTROL, TRACK, 0]) + _address(0, use_msf)


def full_toc(blocks: int) -> bytes:
    """Return READ TOC format 2: the lead-in's entries A0h, A1h, A2h and the track; always MSF."""
    points = (
        (0xA0, bytes([TRACK, 0, 0])),  # first track, disc type CD-ROM
        (0xA1, bytes([TRACK, 0, 0])),  # last track
        (0xA2, msf(blocks)),  # lead-out
        (TRACK, msf(0)),
    )
    entries = b"".join(bytes([1, ADR_CONTROL, 0, point, 0, 0, 0, 0]) + where for point, where in points)
    return struct.pack(">HBB", len(entries) + 2, 1, 1) + entries


def mode_pages(locked: bool) -> Pages:
    """Return the pages of the drive; nothing can be changed."""
    capabilities = bytes([0x0B, 0x00, 0x70, 0x60, 0x2B if locked else 0x29, 0x00])
    speeds = struct.pack(">HHHHHI", SPEED_KB_S, 2, 512, SPEED_KB_S, 0, 0)
    pages = {
        PAGE_ERROR_RECOVERY: bytes([0x00, 0x05, 0, 0, 0, 0]),
        PAGE_AUDIO_CONTROL: bytes([0x04, 0, 0, 0, 0, FRAMES, 1, 0xFF, 2, 0xFF, 0, 0, 0, 0]),
        PAGE_CAPABILITIES: capabilities + speeds[:12],
    }
    return Pages(pages, {code: bytes(len(body)) for code, body in pages.items()}, pages)


def medium_type(present: bool, tray_open: bool) -> int:
    """Return the medium type byte of the mode parameter header, [MMC-1] table 42."""
    if tray_open:
        return 0x71
    return 0x01 if present else 0x70


def configuration(blocks: int | None, interface: int, request: int, first: int) -> bytes:
    """Return GET CONFIGURATION data; `blocks` is None without a medium, [MMC-3] §6.5, §5.3."""
    profile = PROFILE_NONE
    if blocks is not None:
        profile = PROFILE_CD_ROM if blocks <= CD_BLOCKS else PROFILE_DVD_ROM
    cd, dvd = int(profile == PROFILE_CD_ROM), int(profile == PROFILE_DVD_ROM)
    features = (
        (0x0000, 1, True, struct.pack(">HBxHBx", PROFILE_DVD_ROM, dvd, PROFILE_CD_ROM, cd)),
        (0x0001, 1, True, struct.pack(">II", interface, 1)),  # core
        (0x0003, 1, True, bytes([0x29, 0, 0, 0])),  # removable: tray, eject, lock
        (0x0010, 0, blocks is not None, struct.pack(">IHBx", BLOCK, 1, 0)),  # random readable
        (0x001E, 0, bool(cd), b"\0\0\0\0"),  # CD read
        (0x001F, 0, bool(dvd), b""),  # DVD read
    )
    body = b""
    for code, persistent, current, data in features:
        listed = request == 0 or (request == 1 and current) or (request == 2 and code == first)
        if listed and code >= first:
            body += struct.pack(">HBB", code, persistent << 1 | current, len(data)) + data
    return struct.pack(">IHH", len(body) + 4, 0, profile) + body


def event_status(classes: int, event: int, present: bool, tray_open: bool) -> bytes:
    """Return GET EVENT STATUS NOTIFICATION data for the media class, [MMC-3] table 90."""
    if not classes & MEDIA_CLASS_MASK:
        return struct.pack(">HBB", 2, NO_EVENT_AVAILABLE, MEDIA_CLASS_MASK)
    status = present << 1 | tray_open
    return struct.pack(">HBBBBxx", 6, MEDIA_CLASS, MEDIA_CLASS_MASK, event, status)


def disc_information() -> bytes:
    """Return READ DISC INFORMATION: one complete session, [MMC-3] §6.20."""
    head = bytes([0x0E, 1, 1, 1, 1, 0x20, 0, 0, 0, 0])  # finalized; tracks and sessions; CD-ROM
    return struct.pack(">H", 32) + head + bytes(22)


def track_information(blocks: int) -> bytes:
    """Return READ TRACK INFORMATION of the one track, [MMC-3] §6.27."""
    head = struct.pack(">HBBxBBx", 34, TRACK, 1, ADR_CONTROL & 0x0F, 0x01)
    return head + struct.pack(">IIIIII", 0, 0, 0, 0, blocks, 0) + bytes(4)


def mechanism_status() -> bytes:
    """Return MECHANISM STATUS of a drive without a changer, [MMC-3] §6.9."""
    return bytes([0, 0, 0, 0, 0, 1, 0, 0])


def raw_block(lba: int, data: bytes) -> bytes:
    """Return the 2352 bytes of a mode 1 sector; error correction bytes are zeros."""
    header = bytes((value // 10 << 4 | value % 10) & 0xFF for value in msf(lba))  # a DVD has more minutes
    sync = b"\0" + b"\xff" * 10 + b"\0"
    return (sync + header + b"\x01" + data).ljust(RAW_BLOCK, b"\0")
