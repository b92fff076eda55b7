"""Telling a differencing image who its parent is and where it lies: after a move, a restore, a merge.

The contents of an image are what its parent holds where it holds nothing, so another parent makes
another disk: only one of the same identity is taken without being forced.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Dynamic Disk Header Format".
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from disks.errors import DiskError, ParentError
from disks.hostfile import ByteFile, HostFile
from disks.open import open_image
from disks.vhd import layout
from disks.vhd.family import members
from disks.vhd.fixed import FixedVhd
from disks.vhd.header import DynamicHeader
from disks.vhd.locators import names_for, parent_name, texts_of
from disks.vhd.opening import find_footer, identity_of, open_level
from disks.vhd.parents import Ancestry, ParentRules, find_parent
from disks.vhd.record import timestamp
from disks.vhd.rewrite import dissect, replace_header, require_vhd
from disks.vhd.sparse import SparseVhd, VhdImage


class NewParent(NamedTuple):
    """What a child notes of its parent. `modified` is in seconds since 1970, as the host has it."""

    path: Path
    unique_id: uuid.UUID
    modified: int


class Reparenting(NamedTuple):
    """What `reparent` did, or would do."""

    child: Path
    old_id: uuid.UUID
    old_name: str
    old_timestamp: int
    parent: NewParent
    changed: bool
    only_timestamp: bool
    warnings: tuple[str, ...]

    @property
    def new_name(self) -> str:
        """The name of the parent as the child has it now."""
        return self.old_name if self.only_timestamp else self.parent.path.resolve().name


def set_parent(file: ByteFile, parent: NewParent) -> None:
    """Make the differencing image in `file` name `parent`: identity, time, name, locators.

    Nothing is checked of the parent. A crash leaves the image naming the old one or the new one.
    """
    header = dissect(file).parts.header
    names = names_for(file.path.resolve(), parent.path)
    header = replace(
        header,
        parent_id=parent.unique_id,
        parent_timestamp=timestamp(parent.modified),
        parent_name=names.field,
    )
    replace_header(file, header, names.texts)


def set_timestamp(file: ByteFile, parent: NewParent) -> None:
    """Make the differencing image in `file` note when `parent` was modified, and nothing else."""
    now = dissect(file)
    header = now.parts.header
    texts = texts_of(file, header, now.found.offset)
    replace_header(file, replace(header, parent_timestamp=timestamp(parent.modified)), texts)


def reparent(
    child: Path,
    parent: Path | None,
    rules: ParentRules,
    *,
    force: bool = False,
    only_timestamp: bool = False,
    dry_run: bool = False,
) -> Reparenting:
    """Make `child` name `parent`, or, without one, its own parent where that is found now.

    Raise DiskError for a parent that is another image or of another size unless forced, and for one
    that stands on the child itself whether forced or not. The child keeps its time of modification, which
    its own children note, unless its contents may have changed.
    """
    _require_child(child)
    with ExitStack() as opened:
        path = parent or _find(child, rules)
        image, warnings = _open_parent(path, rules)
        opened.callback(image.close)
        _refuse_circle(child, image)
        file = HostFile.open(child, read_only=dry_run)
        opened.callback(file.close)
        level = open_level(file)
        assert isinstance(level, SparseVhd)
        against = _differences(level, image, force)
        warnings += [*against, *_far_away(child, path)]
        header = level.store.header
        new = NewParent(path, image.footer.unique_id, int(path.stat().st_mtime))
        changed = not _is_noted(file, header, new, only_timestamp)
        if changed and not dry_run:
            before = file.status
            (set_timestamp if only_timestamp else set_parent)(file, new)
            if not against:
                file.set_times(before)
    return Reparenting(
        child,
        header.parent_id,
        parent_name(header),
        header.parent_timestamp + layout.EPOCH_UNIX_SECONDS,
        new,
        changed,
        only_timestamp,
        tuple(warnings),
    )


def _require_child(path: Path) -> None:
    """Raise DiskError for what has no parent."""
    file = HostFile.open(path, read_only=True, lock=False)
    try:
        require_vhd(file)
        footer = find_footer(file).footer
    finally:
        file.close()
    if footer.disk_type != layout.TYPE_DIFFERENCING:
        raise DiskError(f"{path}: a {footer.type_name} VHD has no parent")


def _find(child: Path, rules: ParentRules) -> Path:
    """Return where the parent lies by what the child says, or by identity in the allowed directories."""
    file = HostFile.open(child, read_only=True, lock=False)
    try:
        now = dissect(file)
        header = now.parts.header
        ancestry = Ancestry((), (), ()).followed_by(file, now.found.footer.unique_id)
        within = rules.under(child)
        try:
            found = find_parent(file, header, now.found.offset, within, ancestry, identity_of)
        except ParentError as error:
            return _only_one(child, header, within.allow_roots, error)
        found.file.close()
        return found.file.path
    finally:
        file.close()


def _only_one(child: Path, header: DynamicHeader, roots: Sequence[Path], error: ParentError) -> Path:
    same = [found.path for found in members(roots) if found.unique_id == header.parent_id]
    if not same:
        raise error
    if len(same) > 1:
        listed = ", ".join(map(str, same))
        raise DiskError(f"{child}: several images have the identity of its parent: {listed}. Name one")
    return same[0]


def _open_parent(path: Path, rules: ParentRules) -> tuple[VhdImage, list[str]]:
    """Open the parent with its chain or, when that is broken, alone, with a warning."""
    try:
        image = open_image(path, read_only=True, parents=rules)
    except ParentError as error:
        file = HostFile.open(path, read_only=True)
        try:
            image = open_level(file)
        except BaseException:
            file.close()
            raise
        return image, [f"the chain of the parent does not open yet: {error}"]
    if not isinstance(image, FixedVhd | SparseVhd):
        image.close()
        raise DiskError(f"{path}: is a raw image, which has no identity and is never a parent")
    return image, []


def _refuse_circle(child: Path, parent: VhdImage) -> None:
    """Raise DiskError if the child is among the parent and what it stands on, by file or by identity."""
    file = HostFile.open(child, read_only=True, lock=False)
    try:
        own, status = find_footer(file).footer.unique_id, file.status
    finally:
        file.close()
    for level in parent.levels:
        other = level.path.stat()
        if (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino):
            raise DiskError(f"{child}: the chain would go in a circle: {parent.path} stands on it")
        if level.footer.unique_id == own:
            raise DiskError(
                f"{child}: the chain would go in a circle: {level.path} has the same identity, {own}"
            )


def _differences(child: SparseVhd, parent: VhdImage, force: bool) -> list[str]:
    """Return what speaks against the parent; raise DiskError with it unless forced."""
    expected, found = child.store.header.parent_id, parent.footer.unique_id
    against = []
    if found != expected:
        against.append(
            f"{parent.path} is image {found}, not the parent {expected} that the child was made on: "
            "its contents may become nonsense"
        )
    if parent.size_bytes != child.size_bytes:
        sizes = f"{parent.size_bytes} bytes, the child one of {child.size_bytes}"
        against.append(f"{parent.path} is a disk of {sizes}")
    if against and not force:
        raise DiskError(f"{child.path}: {'; '.join(against)}. --force takes it all the same")
    return against


def _far_away(child: Path, parent: Path) -> list[str]:
    """Say which option the child needs from now on, where its parent is not allowed by itself."""
    home = child.resolve().parent
    real = parent.resolve()
    if real.is_relative_to(home):
        return []
    return [f"{real} lies outside {home}: opening the image needs --allow-root {real.parent}"]


def _is_noted(file: ByteFile, header: DynamicHeader, parent: NewParent, only_timestamp: bool) -> bool:
    """Tell whether the child says all of `parent` already."""
    if header.parent_timestamp != timestamp(parent.modified):
        return False
    if only_timestamp:
        return True
    names = names_for(file.path.resolve(), parent.path)
    return (header.parent_id, header.parent_name, texts_of(file, header, file.size())) == (
        parent.unique_id,
        names.field,
        names.texts,
    )
