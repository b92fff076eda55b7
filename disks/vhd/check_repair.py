"""Repairing what can be repaired without a decision: footers, padding, bits and room that mean nothing.

Nothing a guest can see changes. Each step leaves an image that opens with the same contents, so a crash
between two steps is harmless; each is durable before the next begins. An image with overlapping parts, or
whose header is damaged, is left alone: which of two blocks is right, only its owner can know.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.vhd import layout
from disks.vhd.check import Level
from disks.vhd.check_records import Footers
from disks.vhd.check_rules import RULES, Severity
from disks.vhd.record import with_checksum

_NO_HINDRANCE: Final = ("footer-damaged", "parent-unusable")  # the errors beside which repair is safe


class Step(NamedTuple):
    """One write, or (`data` None) a cut of the file at `offset`; durable before the next."""

    offset: int
    data: bytes | None


class Fix(NamedTuple):
    """What is done about the findings of one rule or more, and how."""

    rules: tuple[str, ...]
    text: str
    steps: tuple[Step, ...]


def hindrance(level: Level) -> str | None:
    """Return the rule whose breach forbids any repair, None when nothing does."""
    for rule in level.findings.counts:
        if RULES[rule].severity is Severity.ERROR and rule not in _NO_HINDRANCE:
            return rule
    return None


def plan(level: Level) -> list[Fix]:
    """Return what `repair` would do, in order; nothing for an image that has other errors."""
    footers = level.footers
    if footers is None or hindrance(level) is not None:
        return []
    record = _corrected(footers)
    home = _home(level, footers)
    fixes = _footer_fixes(level, footers, record, home)
    room = level.room
    if room is not None and level.findings.counts["table-padding"]:
        step = Step(room.padding_offset, b"\xff" * len(room.padding))
        fixes.append(Fix(("table-padding",), "pad the block allocation table with FFh", (step,)))
    if level.beyond:
        text = f"clear the bits past the end of the disk in {len(level.beyond)} bitmaps"
        steps = tuple(Step(at, bitmap) for at, bitmap in level.beyond)
        fixes.append(Fix(("bits-beyond-end",), text, steps))
    if room is not None and room.has_tail_room:
        end = room.data_end + layout.FOOTER_BYTES
        text = f"move the footer from {home:#x} to {room.data_end:#x} and cut the file behind it"
        fixes.append(Fix(("tail-room",), text, (Step(room.data_end, record), Step(end, None))))
    return fixes


def apply(file: ByteFile, fixes: list[Fix]) -> None:
    """Make the changes, each durable before the next."""
    for fix in fixes:
        for step in fix.steps:
            if step.data is None:
                file.resize(step.offset)
            else:
                file.write_at(step.offset, step.data)
            file.sync()


def _footer_fixes(level: Level, footers: Footers, record: bytes, home: int) -> list[Fix]:
    counts, fixes = level.findings.counts, []
    if not footers.at_end:
        text = f"write the footer again at {home:#x}, from its copy"
        fixes.append(Fix(("footer-damaged", "footer-features"), text, (Step(home, record),)))
    elif footers.is_short:
        text = "complete the footer to 512 bytes"
        fixes.append(Fix(("footer-511", "footer-features"), text, (Step(home, record),)))
    elif record != footers.record:
        text = "set the features of the footer to 2"
        fixes.append(Fix(("footer-features",), text, (Step(home, record),)))
    if not footers.is_fixed and record != footers.copy:
        rule = "copy-damaged" if counts["copy-damaged"] else "copy-differs"
        fixes.append(Fix((rule,), "write the copy of the footer again at 0x0", (Step(0, record),)))
    return fixes


def _corrected(footers: Footers) -> bytes:
    """Return the footer with the features as they must be; every other byte stays, reserved ones too."""
    fields = footers.fields
    features = fields.features & 1 | layout.FEATURES_RESERVED
    if fields.features == features:
        return footers.record
    record = footers.record[:8] + features.to_bytes(4, "big") + footers.record[12:]
    return with_checksum(record, layout.FOOTER_CHECKSUM_OFFSET)


def _home(level: Level, footers: Footers) -> int:
    """Return where the footer is, or belongs: in the last sector, if no block is there."""
    if footers.at_end:
        return footers.offset
    last = -(-footers.offset // SECTOR_BYTES) * SECTOR_BYTES - layout.FOOTER_BYTES
    return max(last, level.room.data_end if level.room else 0)
