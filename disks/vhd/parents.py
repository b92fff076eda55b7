"""Finding the parent of a differencing image, without ever looking where it was not allowed to.

An image names its parent in its own words, and images are downloaded: a place outside the allowed roots,
a device, a network name or a file without the right identity is refused, whatever the image says.

Sources:
    [VHD] Virtual Hard Disk Image Format Specification 1.0, "Differencing Hard Disk Image".
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from disks.errors import DiskError, ImageBusyError, ImageFormatError, ParentError
from disks.hostfile import HostFile
from disks.vhd.header import DynamicHeader
from disks.vhd.locators import Clue, clues, path_of
from disks.vhd.record import timestamp
from disks.words import how_to_allow, printable

MAX_DEPTH: Final = 64
_RAW_PARENT: Final = uuid.UUID(int=0)
_SUMMER_TIME: Final = 3600


@dataclass(frozen=True)
class ParentRules:
    """What the opening of a chain may do: directories besides the image's own, and what to overlook."""

    allow_roots: tuple[Path, ...] = ()
    ignore_parent_id: bool = False

    def under(self, top: Path) -> ParentRules:
        """Return the rules with the directory of the image that the user named added to the roots."""
        roots = (top.resolve().parent, *(root.resolve() for root in self.allow_roots))
        return ParentRules(tuple(dict.fromkeys(roots)), self.ignore_parent_id)


OWN_DIRECTORY: Final = ParentRules()
"""Parents lie in the directory of the image, or below, and are who the image says."""


class Ancestry(NamedTuple):
    """The images already open in a chain, from the top down, by file and by identity."""

    files: tuple[tuple[int, int], ...]
    ids: tuple[uuid.UUID, ...]
    paths: tuple[Path, ...]

    def followed_by(self, file: HostFile, unique_id: uuid.UUID) -> Ancestry:
        """Return the ancestry with one more image."""
        status = file.status
        return Ancestry(
            (*self.files, (status.st_dev, status.st_ino)), (*self.ids, unique_id), (*self.paths, file.path)
        )


class Candidate(NamedTuple):
    """A parent that was found: its open, locked file and what is odd about it."""

    file: HostFile
    warnings: tuple[str, ...]


def find_parent(
    file: HostFile,
    header: DynamicHeader,
    end: int,
    rules: ParentRules,
    ancestry: Ancestry,
    identify: Callable[[HostFile], uuid.UUID],
) -> Candidate:
    """Open the parent of the image in `file`; raise ParentError with all that was tried.

    `rules` already hold the roots; `identify` reads the identity of a VHD and raises ImageFormatError
    for anything else. The parent is open read-only and locked against writers.
    """
    _refuse_hopeless(file, header, rules, ancestry)
    tried: list[str] = []
    hints: list[str] = []
    seen: set[Path] = set()
    busy: ImageBusyError | None = None
    for clue in clues(file, header, end):
        try:
            path = _admitted(clue, file.path, rules, seen)
            if path is None:
                continue
            return _open(path, header, rules, ancestry, identify)
        except _PlaceError as error:
            tried.append(f"{_shown(clue)}: {error}")
            hints.append(error.hint)
        except ImageBusyError as error:
            busy = busy or error  # whose identity nobody may read now: another place may hold the parent
        except ParentError:
            raise
        except (DiskError, OSError) as error:
            tried.append(f"{_shown(clue)}: {_reason(error)}")
    if busy is not None:
        raise busy
    raise ParentError(
        file.path,
        f"its parent {header.parent_id} is not found",
        tried or ["nothing: it names none"],
        next((hint for hint in hints if hint), _advice(file.path)),
    )


def _refuse_hopeless(file: HostFile, header: DynamicHeader, rules: ParentRules, ancestry: Ancestry) -> None:
    """Raise ParentError where no place is worth a look."""
    if header.parent_id == _RAW_PARENT and not rules.ignore_parent_id:
        raise ParentError(
            file.path, "its parent is a raw image (no identity), which is never opened as a parent"
        )
    if len(ancestry.files) >= MAX_DEPTH:
        raise ParentError(file.path, f"the chain is deeper than {MAX_DEPTH} images")


class _PlaceError(DiskError):
    """A candidate that was not looked at; `hint` says how to admit it."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.hint = hint


def _admitted(clue: Clue, child: Path, rules: ParentRules, seen: set[Path]) -> Path | None:
    """Return the real path of a candidate to open, None when it was tried before."""
    try:
        named = path_of(clue, child.resolve().parent)
    except DiskError as error:
        raise _PlaceError(str(error)) from None
    real = Path(os.path.realpath(named))
    if real in seen:
        return None
    seen.add(real)
    _require_inside(real, rules)
    status = real.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise _PlaceError(f"{printable(real)} is not a regular file")
    return real


def _require_inside(real: Path, rules: ParentRules) -> None:
    """Refuse a place outside the roots; nothing of the file is told, not even whether it is there."""
    if not any(real.is_relative_to(root) for root in rules.allow_roots):
        raise _PlaceError(f"{printable(real)} lies outside the allowed directories", how_to_allow(real))


def _open(
    path: Path,
    header: DynamicHeader,
    rules: ParentRules,
    ancestry: Ancestry,
    identify: Callable[[HostFile], uuid.UUID],
) -> Candidate:
    status = path.lstat()
    if (status.st_dev, status.st_ino) in ancestry.files:
        raise ParentError(
            ancestry.paths[-1], f"the chain goes in a circle: its parent is {path}, which it stands on"
        )
    file = HostFile.open(path, read_only=True, follow=False)
    try:
        _require_inside(file.real_path, rules)  # a directory on the way may be a link by now
        warnings = _accepted(file, identify(file), header, rules, ancestry)
    except BaseException:
        file.close()
        raise
    return Candidate(file, warnings)


def _accepted(
    file: HostFile, found: uuid.UUID, header: DynamicHeader, rules: ParentRules, ancestry: Ancestry
) -> tuple[str, ...]:
    """Return what is odd about a parent; raise DiskError for one that is another image, or a circle."""
    warnings = []
    if found != header.parent_id:
        if not rules.ignore_parent_id:
            raise DiskError(f"{file.path} is image {found}")
        warnings.append(f"its parent is taken to be {file.path}, though its identity differs")
    if found in ancestry.ids:
        why = f"the chain goes in a circle: {file.path} has the identity of an image above it"
        raise ParentError(ancestry.paths[-1], why)
    return (*warnings, *_time_warnings(file, header))


def _time_warnings(file: HostFile, header: DynamicHeader) -> list[str]:
    """Compare the parent's time of modification with the one noted; only ever a warning.

    Copies, restores and summer time change it without harm.
    """
    apart = timestamp(file.status.st_mtime) - header.parent_timestamp
    if abs(apart) <= 2:
        return []
    why = (
        "summer time, most likely"
        if abs(apart) == _SUMMER_TIME
        else "it was copied, restored or written since"
    )
    return [
        f"its parent {file.path} has another time of modification ({apart:+d} s: {why}); "
        "reparent --fix-timestamp notes the new one"
    ]


def _reason(error: DiskError | OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, ImageFormatError):
        return printable(f"is no VHD ({error})")
    return printable(error)


def _shown(clue: Clue) -> str:
    return f"{printable(clue.text)} ({clue.field})"


def _advice(child: Path) -> str:
    return f"Put it back, or name it: trapline disk reparent {child} PARENT"
