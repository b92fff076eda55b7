"""The names of undo disks, and the mark of one whose merging has begun: another name.

From its first write on, a merge makes the disk a mixture that only the undo disk hides. So the undo disk is
renamed before, and by its new name everybody knows that it can be committed, and no longer discarded.
"""

from __future__ import annotations

from pathlib import Path

from disks.errors import DiskError
from disks.hostfile import sync_directory
from disks.open import VHD_SUFFIXES


def undo_path(disk: Path) -> Path:
    """Return where the undo disk of `disk` lies: beside the file itself, whatever link led to it."""
    return _beside(disk, "undo")


def committing_path(disk: Path) -> Path:
    """Return where the undo disk of `disk` lies from the moment its commit begins."""
    return _beside(disk, "committing")


def mark(child: Path, disk: Path) -> Path:
    """Durably rename `child`, if it is the undo disk of `disk`, before a merge; return where it is then."""
    if child.resolve() != undo_path(disk):
        return child
    new = committing_path(disk)
    if new.exists():
        raise DiskError(f"{new}: is in the way: {child} takes this name while it is committed. Move it away")
    _rename(child.resolve(), new)
    return new


def unmark(child: Path, disk: Path) -> None:
    """Give an undo disk that is wholly merged, and kept, its first name again."""
    old = undo_path(disk)
    if child.resolve() == committing_path(disk) and not old.exists():
        _rename(child.resolve(), old)


def _rename(old: Path, new: Path) -> None:
    old.rename(new)
    sync_directory(new)


def _beside(disk: Path, what: str) -> Path:
    real = disk.resolve()
    name = real.stem if real.suffix.lower() in VHD_SUFFIXES else real.name
    return real.with_name(f"{name}.{what}.vhd")
