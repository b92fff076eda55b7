"""Parent locators: the ways a differencing image tells where its parent lies.

A locator is a hint by whoever wrote the image, so its text is only ever a candidate: `disks.vhd.parents`
decides which places may be looked at.

NOT modelled: `Mac ` aliases and the code-page names `Wi2r` and `Wi2k`, which no program of today writes.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Parent Locator Entries", "Parent Unicode Name".
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from disks.errors import DiskError
from disks.hostfile import ByteFile
from disks.image import SECTOR_BYTES
from disks.vhd.header import DynamicHeader, Locator

RELATIVE: Final = b"W2ru"  # UTF-16 little-endian, [VHD] "Platform Code"
ABSOLUTE: Final = b"W2ku"
MAC_URL: Final = b"MacX"  # UTF-8

NAME_FIELD_BYTES: Final = 512  # UTF-16 big-endian, unlike the locators
_MAX_TEXT_BYTES: Final = 4096
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_CONTROL: Final = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")  # would speak to a terminal


class Clue(NamedTuple):
    """Where a parent may lie, in the words of the image: `field` says which, `text` what."""

    field: str
    text: str


def clues(file: ByteFile, header: DynamicHeader, end: int) -> list[Clue]:
    """Return what the image says of its parent, in the order to be tried; `end` is where its data end.

    A locator that lies outside the file, or is no text, says nothing: `check` names those.
    """
    found = {code: _texts(file, header, code, end) for code in (RELATIVE, ABSOLUTE, MAC_URL)}
    name = parent_name(header)
    return [
        *(Clue("relative locator (W2ru)", text) for text in found[RELATIVE]),
        *([Clue("parent name", name)] if name else []),
        *(Clue("absolute locator (W2ku)", text) for text in found[ABSOLUTE]),
        *(Clue("URL locator (MacX)", text) for text in found[MAC_URL]),
    ]


def parent_name(header: DynamicHeader) -> str:
    """Return the parent's file name as the header gives it; other programs put a path there."""
    return header.parent_name.decode("utf-16-be", "replace").split("\0", 1)[0]


def room_of(locator: Locator) -> int | None:
    """Return the bytes set aside for a locator's text, None when the field makes no sense.

    [VHD] counts sectors; Virtual PC and Hyper-V write bytes.
    """
    space = locator.data_space
    if space < SECTOR_BYTES:
        return space * SECTOR_BYTES
    return space if space % SECTOR_BYTES == 0 else None


def text_of(file: ByteFile, locator: Locator, end: int) -> str | None:
    """Return what a locator says, None when it lies outside [0, end) or is not text."""
    room, length = room_of(locator), locator.data_length
    if room is None or not 0 < length <= min(room, _MAX_TEXT_BYTES) or locator.data_offset + length > end:
        return None
    data = file.read_at(locator.data_offset, length)
    try:
        text = data.decode("utf-8" if locator.platform_code == MAC_URL else "utf-16-le")
    except UnicodeDecodeError:
        return None
    return text.split("\0", 1)[0] or None


def texts_end(header: DynamicHeader, end: int) -> int:
    """Return where the room of the last text in [0, end) ends, at most `end`: new blocks go behind it.

    A room of less than 512 counts as sectors, and may pass `end` where bytes were meant.
    """
    ends = (
        locator.data_offset + max(room_of(locator) or 0, locator.data_length)
        for locator in header.locators
        if any(locator.platform_code) and locator.data_offset + locator.data_length <= end
    )
    return min(end, max(ends, default=0))


def _texts(file: ByteFile, header: DynamicHeader, code: bytes, end: int) -> list[str]:
    texts = (text_of(file, locator, end) for locator in header.locators if locator.platform_code == code)
    return [text for text in texts if text is not None]


def path_of(clue: Clue, beside: Path) -> Path:
    """Return the path on this host that a clue means, taken from directory `beside`.

    Raise DiskError, with the reason alone, for what cannot be a file of this host.
    """
    text = clue.text
    if clue.field.startswith("URL"):
        try:
            url = urlsplit(text)
        except ValueError:
            raise DiskError("is no URL") from None
        if url.scheme != "file" or url.netloc not in ("", "localhost"):
            raise DiskError("is on another host")
        text = unquote(url.path)
    if _CONTROL.search(text):
        raise DiskError("holds control characters")
    text = text.replace("\\", "/")
    if text.startswith(("//./", "//?/", "/??/")):
        raise DiskError("names a device")
    if text.startswith("//"):
        raise DiskError("is a network (UNC) name")
    text = _DRIVE.sub("", text, count=1) if _DRIVE.match(text) else text
    path = PurePosixPath(text)
    if clue.field == "parent name":
        path = PurePosixPath(path.name)
    if not path.name:
        raise DiskError("names no file")
    return beside / path


class Text(NamedTuple):
    """What one locator says, as bytes, under its platform code."""

    code: bytes
    data: bytes


class Names(NamedTuple):
    """By what a child is to find its parent: its header's name, and the texts of its locators."""

    field: bytes
    texts: tuple[Text, ...]


def names_for(child: Path, parent: Path) -> Names:
    """Return the name and the W2ru and W2ku texts by which `child` finds `parent`.

    Windows separators are written, which `path_of` turns back; a name that cannot be written so raises
    DiskError.
    """
    home, target = child.parent.resolve(), parent.resolve()
    steps = _windows(os.path.relpath(target, home))
    if not steps.startswith(".."):
        steps = ".\\" + steps
    name = _encoded(_windows(target.name), "utf-16-be", target)
    if len(name) > NAME_FIELD_BYTES - 2:
        raise DiskError(f"{target}: the name is too long for the header of a differencing image")
    texts = (
        Text(RELATIVE, _encoded(steps, "utf-16-le", target)),
        Text(ABSOLUTE, _encoded(_windows(str(target)), "utf-16-le", target)),
    )
    for text in texts:
        if len(text.data) > _MAX_TEXT_BYTES:
            raise DiskError(f"{target}: the path is too long for a locator of a differencing image")
    return Names(name.ljust(NAME_FIELD_BYTES, b"\0"), texts)


def texts_of(file: ByteFile, header: DynamicHeader, end: int) -> tuple[Text, ...]:
    """Return the texts a header's locators point at, whatever their platform; leave out broken ones."""
    found = []
    for locator in header.locators:
        length, at = locator.data_length, locator.data_offset
        if any(locator.platform_code) and 0 < length <= _MAX_TEXT_BYTES and at + length <= end:
            found.append(Text(locator.platform_code, file.read_at(at, length)))
    return tuple(found)


def placed(texts: Sequence[Text], offset: int) -> tuple[tuple[Locator, ...], bytes]:
    """Return a header's locators for texts that lie in whole sectors from `offset` on, and those sectors."""
    entries, sectors = [], b""
    for code, data in texts:
        room = -(-len(data) // SECTOR_BYTES) * SECTOR_BYTES
        entries.append(Locator(code, room, len(data), offset + len(sectors)))
        sectors += data.ljust(room, b"\0")
    return (*entries, *[Locator()] * (8 - len(entries))), sectors


def _windows(path: str) -> str:
    """Return a path with the separators of Windows."""
    if "\\" in path:
        raise DiskError(f"{path}: a differencing image cannot name a parent with a backslash in its path")
    if _CONTROL.search(path):
        what = "with control characters in its path"
        raise DiskError(f"{path!r}: a differencing image cannot name a parent {what}")
    return path.replace("/", "\\")


def _encoded(text: str, encoding: str, path: Path) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        raise DiskError(
            f"{path}: a differencing image cannot name a parent whose path is not Unicode"
        ) from None
