"""Which images of a directory stand on which: read from their headers, without opening any chain.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Dynamic Disk Header Format".
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from disks.errors import HOST_ERRORS, DiskError
from disks.hostfile import HostFile
from disks.image import BlockImage
from disks.open import VHD_SUFFIXES
from disks.vhd import layout
from disks.vhd.fixed import FixedVhd
from disks.vhd.opening import find_footer, read_header
from disks.vhd.sparse import SparseVhd

_NAMED_CHILDREN: Final = 3


class Member(NamedTuple):
    """An image, its identity, and that of its parent if it has one."""

    path: Path
    unique_id: uuid.UUID
    parent_id: uuid.UUID | None


def members(directories: Iterable[Path]) -> Iterator[Member]:
    """Yield the VHDs that lie in the directories (not below them), by name; skip what cannot be read.

    A symbolic link that leads out of them is not followed: an archive that was unpacked may hold any.
    """
    places = tuple(dict.fromkeys(path.resolve() for path in directories))
    for directory in places:
        for path in sorted(directory.iterdir()):
            if path.suffix.lower() in VHD_SUFFIXES and _lies_in(path, places) and path.is_file():
                try:
                    yield member(path)
                except HOST_ERRORS:
                    continue


def _lies_in(path: Path, places: tuple[Path, ...]) -> bool:
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(place) for place in places)


def member(path: Path) -> Member:
    """Return what one image says of itself; raise OSError or DiskError. No lock is taken or minded."""
    file = HostFile.open(path, read_only=True, lock=False)
    try:
        found = find_footer(file)
        parent = None
        if found.footer.disk_type == layout.TYPE_DIFFERENCING:
            parent = read_header(file, found).parent_id
        return Member(path, found.footer.unique_id, parent)
    finally:
        file.close()


def children_of(unique_id: uuid.UUID, directories: Iterable[Path]) -> list[Path]:
    """Return the images in the directories that stand on the image with this identity."""
    return [found.path for found in members(directories) if found.parent_id == unique_id]


class ParentInUseError(DiskError):
    """A write would spoil the images that stand on this one."""

    def __init__(self, path: Path, children: list[Path]) -> None:
        names = ", ".join(child.name for child in children[:_NAMED_CHILDREN])
        more = len(children) - _NAMED_CHILDREN
        super().__init__(
            f"{path}: is the parent of {names}{f' and {more} more' if more > 0 else ''}, which a write "
            "would spoil"
        )
        self.path, self.children = path, children


def refuse_to_write_a_parent(image: BlockImage) -> None:
    """Raise ParentInUseError for a VHD that images in its directory stand on."""
    if not isinstance(image, FixedVhd | SparseVhd):
        return
    try:
        children = children_of(image.footer.unique_id, [image.path.resolve().parent])
    except OSError:  # a directory that cannot be listed: nobody can know
        return
    if children:
        raise ParentInUseError(image.path, children)


def refuse_to_replace_a_parent(path: Path) -> None:
    """Raise DiskError for an existing file that is a VHD and that images in its directory stand on."""
    try:
        children = children_of(member(path).unique_id, [path.resolve().parent])
    except HOST_ERRORS:  # no VHD, or nobody can know
        return
    if children:
        raise DiskError(f"{ParentInUseError(path, children)}. Choose another name, or delete it first")
