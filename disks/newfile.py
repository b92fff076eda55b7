"""Making an image file: it appears whole or not at all.

It is made under another name, `.NAME.PID.partial`. What a process that was killed left of one is removed when
the next file of that name is made.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from disks.errors import DiskError
from disks.hostfile import HostFile, sync_directory
from disks.vhd.family import refuse_to_replace_a_parent

Progress = Callable[[int], None]  # told the bytes done so far

_NO_LINKS_HERE: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_MOST_OF_A_NAME: Final = 60  # memfd_create(2) takes 249 bytes
_RESERVE_STEP_BYTES: Final = 64 << 20


@contextmanager
def new_file(path: Path, *, replace: bool = False, like: Path | None = None) -> Iterator[HostFile]:
    """Yield an empty file that becomes `path` when the block ends well and vanishes when it fails.

    It may be read by whoever may read what it replaces, or the file `like`.
    Raise DiskError if `path` exists and `replace` is false, or if other images stand on it,
    ImageBusyError if it is in use.
    """
    if not replace:
        refuse_existing(path)
    old = HostFile.open(path, read_only=False) if replace and path.exists() else None
    if not path.absolute().parent.is_dir():
        raise DiskError(f"{path}: no such directory: {path.parent}")
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if old is not None:
            refuse_to_replace_a_parent(path)
        _sweep(path)
        file = HostFile.create(draft, old.status if old else like.stat() if like else None)
        try:
            yield file
            file.sync()
            if replace:
                draft.replace(path)
            else:
                _put_new(draft, path)
            sync_directory(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        finally:
            file.close()
    finally:
        if old is not None:
            old.close()


@contextmanager
def no_file(path: Path, *, replace: bool = False) -> Iterator[HostFile]:
    """Yield what `new_file` would, in memory, and refuse what it would: nothing comes of it."""
    if not replace:
        refuse_existing(path)
    elif path.exists():
        HostFile.open(path, read_only=True).close()
        refuse_to_replace_a_parent(path)
    if not path.absolute().parent.is_dir():
        raise DiskError(f"{path}: no such directory: {path.parent}")
    file = HostFile(path, os.memfd_create(path.name[:_MOST_OF_A_NAME]), read_only=False)
    try:
        yield file
    finally:
        file.close()


def _sweep(path: Path) -> None:
    """Remove the drafts of `path` whose makers are gone."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.partial")
    try:
        neighbours = list(path.absolute().parent.iterdir())
    except OSError:  # a directory that can be written and not listed
        return
    for draft in neighbours:
        found = pattern.fullmatch(draft.name)
        if found is None or Path("/proc", found[1]).exists():
            continue
        with suppress(OSError, DiskError):  # in use by a process we cannot see, or not ours to remove
            file = HostFile.open(draft, read_only=False, follow=False)
            try:
                draft.unlink()
            finally:
                file.close()


def _put_new(draft: Path, path: Path) -> None:
    """Give the draft its name unless that is taken, also if somebody takes it at this very moment."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        refuse_existing(path)
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS_HERE:
            raise
        refuse_existing(path)
        draft.replace(path)
    else:
        draft.unlink()


def reserve(file: HostFile, length: int, progress: Progress | None) -> None:
    """Take `length` bytes of room on the host from offset 0, telling `progress` on the way."""
    for done in range(0, length, _RESERVE_STEP_BYTES):
        step = min(_RESERVE_STEP_BYTES, length - done)
        file.reserve(done, step)
        if progress is not None:
            progress(done + step)


def refuse_existing(path: Path) -> None:
    """Raise DiskError rather than have a file replaced."""
    if path.exists():
        raise DiskError(f"{path}: exists already; --force replaces it")
