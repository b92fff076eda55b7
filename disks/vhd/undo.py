"""Undo disks: a temporary child beside a VHD takes what is written, to be merged into it or deleted.

Virtual Server's idea. The undo disk of `disk.vhd` is `disk.undo.vhd`, a differencing image like any other,
so whatever opens chains opens it, and nothing is lost by a crash: an undo disk that is there is gone on with.
While it is merged it is called `disk.committing.vhd`: then the disk alone is a mixture, and the merge has to
be finished before anything else.

NOT modelled: undo disks of raw images, which have no identity that a child could name.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Differencing Hard Disk Image".
"""

from __future__ import annotations

from pathlib import Path

from disks.errors import DiskError, UnsupportedImageError
from disks.hostfile import HostFile, sync_directory
from disks.image import SECTOR_BYTES
from disks.newfile import Progress, new_file
from disks.open import open_image
from disks.sync import SyncPolicy
from disks.vhd.create import write_child
from disks.vhd.family import ParentInUseError, children_of, member, refuse_to_write_a_parent
from disks.vhd.fixed import FixedVhd
from disks.vhd.mergejob import MergeInto, MergeOrder
from disks.vhd.opening import open_level
from disks.vhd.parents import OWN_DIRECTORY, ParentRules
from disks.vhd.sparse import SparseVhd
from disks.vhd.undo_names import committing_path, undo_path


def open_undo(
    disk: Path, sync: SyncPolicy = SyncPolicy.ON_FLUSH, rules: ParentRules = OWN_DIRECTORY
) -> SparseVhd:
    """Open the undo disk of `disk` for writing, with `disk` behind it; make it where there is none.

    Raise OSError or DiskError; `disk` itself is only read, and locked against writers.
    """
    refuse_half_committed(disk)
    path = undo_path(disk)
    if not path.exists():
        _make(disk, path, rules)
    image = open_image(path, sync=sync, parents=rules)
    if not isinstance(image, SparseVhd) or image.parent is None or not image.parent.path.samefile(disk):
        image.close()
        raise _foreign(path, disk)
    try:
        refuse_to_write_a_parent(image)
    except ParentInUseError as error:
        image.close()
        raise _with_children(path, error.children) from None
    return image


def written_bytes(disk: Path) -> int | None:
    """Return how much the undo disk of `disk` holds, None where there is none; raise OSError or DiskError."""
    path = undo_path(disk)
    if not path.exists():
        return None
    _require_undo(path, disk)
    file = HostFile.open(path, read_only=True)
    try:
        level = open_level(file)
        assert isinstance(level, SparseVhd)
        return level.store.present_sectors() * SECTOR_BYTES
    finally:
        file.close()


def commit(
    disk: Path, rules: ParentRules = OWN_DIRECTORY, *, force: bool = False, progress: Progress | None = None
) -> None:
    """Merge the undo disk of `disk` into it, then delete it; an interrupted commit is done again.

    Raise OSError or DiskError: also, without `force`, where other images stand on `disk`.
    """
    path = half_committed(disk) or undo_path(disk)
    _require_undo(path, disk)
    with MergeInto(MergeOrder(path, rules, force=force, delete=True)) as job:
        job.run(progress)


def discard(disk: Path) -> None:
    """Delete the undo disk of `disk`; raise OSError or DiskError, ImageBusyError while it is in use.

    One that other images stand on is not deleted.
    """
    refuse_half_committed(disk)
    path = undo_path(disk)
    file = HostFile.open(path, read_only=False)
    try:
        _require_undo(path, disk)
        children = children_of(member(path).unique_id, [path.parent])
        if children:
            raise _with_children(path, children)
        path.unlink()
        sync_directory(path)
    finally:
        file.close()


def half_committed(disk: Path) -> Path | None:
    """Return where the undo disk of `disk` is if its commit was begun and not finished."""
    path = committing_path(disk)
    if not path.exists():
        return None
    _require_undo(path, disk)
    return path


def refuse_half_committed(disk: Path) -> None:
    """Raise DiskError for a disk that holds a part of its undo disk: it is a mixture."""
    path = half_committed(disk)
    if path is not None:
        raise DiskError(f"{disk}: {how_to_finish(path)}")


def how_to_finish(path: Path) -> str:
    """Say what is the matter with a half committed undo disk, and what to do."""
    return (
        f"the commit of its undo disk was interrupted, and only {path} has the contents whole: do not delete "
        f"it. Finish the commit first: trapline disk merge --delete {path}"
    )


def without_undo(path: Path) -> UnsupportedImageError:
    """Return the error for a disk that can have no undo disk."""
    return UnsupportedImageError(
        path,
        "a raw image can have no undo disk",
        f"Convert it (trapline disk convert {path} {path.with_suffix('.vhd')}), or drop what is written "
        "(--snapshot)",
    )


def _make(disk: Path, path: Path, rules: ParentRules) -> None:
    parent = open_image(disk, read_only=True, parents=rules)
    try:
        if not isinstance(parent, FixedVhd | SparseVhd):
            raise without_undo(disk)
        with new_file(path, like=disk) as file:
            write_child(file, path, parent)
    finally:
        parent.close()


def _require_undo(path: Path, disk: Path) -> None:
    if member(path).parent_id != member(disk).unique_id:
        raise _foreign(path, disk)


def _with_children(path: Path, children: list[Path]) -> DiskError:
    return DiskError(
        f"{path}: is an undo disk, but {', '.join(map(str, children))} stands on it. Put that onto the disk "
        f"itself (trapline disk merge --delete --reparent-children {path}, which commits the undo disk), or "
        "delete it"
    )


def _foreign(path: Path, disk: Path) -> DiskError:
    return DiskError(f"{path}: is no undo disk of {disk}, though it has the name of one. Move it away")
