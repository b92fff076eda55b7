"""Checking an image and the chain behind it: every rule, every level, whatever the level before was like.

NOT modelled: looking inside the file system of the guest.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from disks.errors import HOST_ERRORS, ParentError, UnsupportedImageError
from disks.hostfile import ByteFile, HostFile
from disks.image import SECTOR_BYTES
from disks.newfile import Progress
from disks.open import refuse_split
from disks.sync import SyncPolicy
from disks.vhd import layout
from disks.vhd.check_blocks import BlockChecker, ReadParent
from disks.vhd.check_records import Footers, Header, check_footer, read_footers, read_header
from disks.vhd.check_room import Room, read_room
from disks.vhd.check_rules import Findings, Severity
from disks.vhd.opening import identity_of, open_vhd
from disks.vhd.parents import OWN_DIRECTORY, Ancestry, ParentRules, find_parent

Watch = Callable[[Path, int], AbstractContextManager[Progress | None]]
"""Called for each image with its bytes; what it yields is told how far the check is."""


def _unwatched(_path: Path, _total: int) -> AbstractContextManager[Progress | None]:
    return nullcontext()


@dataclass
class Level:
    """One image as `check` sees it: what was found, and the parts a repair needs."""

    path: Path
    findings: Findings
    footers: Footers | None = None
    header: Header | None = None
    room: Room | None = None
    beyond: tuple[tuple[int, bytes], ...] = ()

    @property
    def unique_id(self) -> bytes:
        """The identity, as bytes; empty when there is no footer."""
        return bytes(self.footers.fields.unique_id) if self.footers else b""


def check_chain(path: Path, rules: ParentRules = OWN_DIRECTORY, watch: Watch = _unwatched) -> list[Level]:
    """Check the image at `path` and what stands behind it, the image first.

    Raise OSError or DiskError only for what cannot be read at all. Nothing is written.
    """
    rules = rules.under(path)
    levels: list[Level] = []
    ancestry = Ancestry((), (), ())
    file: HostFile | None = HostFile.open(path, read_only=True)
    while file is not None:
        try:
            with watch(file.path, file.size()) as progress:
                level, parent, ancestry = _check_one(file, rules, ancestry, progress)
        finally:
            file.close()
        levels.append(level)
        file = parent
    _check_sizes(levels)
    return levels


def _check_one(
    file: HostFile, rules: ParentRules, ancestry: Ancestry, progress: Progress | None
) -> tuple[Level, HostFile | None, Ancestry]:
    """Check one level; return it with its parent's open file, if it has one that can be used."""
    level = dissect(file)
    if level.footers is None or level.header is None or not level.footers.is_differencing:
        check_data(file, level, None, progress)
        return level, None, ancestry
    parent, ancestry = _find(file, level, rules, ancestry)
    try:
        with _contents(parent, rules) as read:
            check_data(file, level, read, progress)
    except BaseException:
        if parent is not None:
            parent.close()
        raise
    return level, parent, ancestry


def _find(
    file: HostFile, level: Level, rules: ParentRules, ancestry: Ancestry
) -> tuple[HostFile | None, Ancestry]:
    """Open the parent of a differencing level and compare it with what the child says."""
    assert level.footers is not None
    assert level.header is not None
    values, findings, where = level.header.values, level.findings, level.header.at + 40
    ancestry = ancestry.followed_by(file, uuid.UUID(bytes=level.unique_id))
    try:
        candidate = find_parent(file, values, level.footers.offset, rules, ancestry, identity_of)
    except ParentError as error:
        found = "; ".join([error.what, *error.tried, *([error.hint] if error.hint else [])])
        findings.add("parent-unusable", where, "parent", f"image {values.parent_id}", found)
        return None, ancestry
    except HOST_ERRORS as error:
        findings.add("parent-unusable", where, "parent", f"image {values.parent_id}", error)
        return None, ancestry
    for warning in candidate.warnings:
        findings.add("parent-odd", level.header.at + 56, "parent", "as when the child was made", warning)
    return candidate.file, ancestry


@contextmanager
def _contents(parent: HostFile | None, rules: ParentRules) -> Iterator[ReadParent | None]:
    """Yield what reads the parent's contents, None when it cannot be opened; its own check says why."""
    if parent is None:
        yield None
        return
    file = HostFile.open(parent.path, read_only=True, follow=False)
    try:
        image = open_vhd(file, SyncPolicy.NEVER, rules)
    except HOST_ERRORS:
        file.close()
        yield None
        return
    try:
        total = image.size_bytes // SECTOR_BYTES

        def read(lba: int, sectors: int) -> bytes:
            inside = max(0, min(sectors, total - lba))
            return (image.read(lba, inside) if inside else b"").ljust(sectors * SECTOR_BYTES, b"\0")

        yield read
    finally:
        image.close()


def dissect(file: ByteFile, now: datetime | None = None) -> Level:
    """Check everything about one file but its blocks' contents and its parent."""
    findings = Findings(file.path)
    level = Level(file.path, findings)
    try:
        refuse_split(file.path)
    except UnsupportedImageError as error:
        findings.add("split-piece", 0, "file", "a whole image", error.what)
    level.footers = read_footers(file, findings)
    if level.footers is None:
        return level
    seconds = int((now or datetime.now(UTC)).timestamp()) - layout.EPOCH_UNIX_SECONDS
    check_footer(level.footers, findings, seconds)
    if level.footers.is_fixed:
        _check_fixed(level.footers, findings)
        return level
    level.header = read_header(file, level.footers, findings)
    if level.header is not None and level.header.is_usable:
        level.room = read_room(file, level.footers, level.header, findings)
    return level


def _check_fixed(footers: Footers, findings: Findings) -> None:
    size, at = footers.fields.current_size, footers.offset
    if size > at:
        findings.add("fixed-truncated", at + 48, "footer current size", f"at most {at}", size)
    elif size < at:
        findings.add("fixed-slack", size, "room", f"the footer at {size:#x}", f"{at - size} bytes before it")


def check_data(file: ByteFile, level: Level, parent: ReadParent | None, progress: Progress | None) -> None:
    """Check the bitmaps of the blocks that overlap nothing, and what they stand for."""
    if level.footers is None or level.header is None or level.room is None:
        return
    sectors = level.footers.fields.current_size // SECTOR_BYTES
    checker = BlockChecker(file, level.header.values, sectors, level.findings)
    checker.check(level.room.blocks, level.footers.is_differencing, parent, progress)
    level.beyond = tuple(checker.beyond)


def _check_sizes(levels: list[Level]) -> None:
    """Compare the sizes along a chain."""
    for child, parent in pairwise(levels):
        if child.footers is None or parent.footers is None:
            continue
        mine, theirs = child.footers.fields.current_size, parent.footers.fields.current_size
        if mine != theirs:
            found = f"{theirs} in {parent.path}"
            child.findings.add("parent-size", child.footers.offset + 48, "footer current size", mine, found)


def worst(levels: list[Level]) -> Severity | None:
    """Return the worst severity found in a chain, None when nothing was."""
    for severity in Severity:
        if any(level.findings.number(severity) for level in levels):
            return severity
    return None
