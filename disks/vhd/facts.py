"""What one image says of itself and of its parent, read from its records alone.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Parent Locator Entries".
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from disks.errors import ImageFormatError
from disks.hostfile import ByteFile, HostFile
from disks.vhd import layout
from disks.vhd.footer import Footer
from disks.vhd.locators import parent_name, text_of
from disks.vhd.opening import find_footer, read_header


class ParentFacts(NamedTuple):
    """How a differencing image names its parent; a locator's text is None where it cannot be read."""

    name: str
    locators: tuple[tuple[str, str | None], ...]


class LevelFacts(NamedTuple):
    """`footer_copy` is `same`, `differs`, `damaged`, or `counts` when the footer itself is damaged."""

    footer_copy: str | None
    parent: ParentFacts | None


def level_facts(path: Path) -> LevelFacts:
    """Read the records of an image that was opened before; no lock is taken or minded."""
    file = HostFile.open(path, read_only=True, lock=False)
    try:
        found = find_footer(file)
        if found.footer.disk_type == layout.TYPE_FIXED:
            return LevelFacts(None, None)
        copy = "counts" if found.is_copy else _compare(file, found.record)
        if found.footer.disk_type != layout.TYPE_DIFFERENCING:
            return LevelFacts(copy, None)
        header = read_header(file, found)
        locators = tuple(
            (entry.platform_code.decode("latin-1"), text_of(file, entry, found.offset))
            for entry in header.locators
            if any(entry.platform_code)
        )
        return LevelFacts(copy, ParentFacts(parent_name(header), locators))
    finally:
        file.close()


def _compare(file: ByteFile, record: bytes) -> str:
    copy = file.read_at(0, layout.FOOTER_BYTES)
    if copy == record:
        return "same"
    try:
        Footer.parse(copy, file.path, 0)
    except ImageFormatError:
        return "damaged"
    return "differs"
