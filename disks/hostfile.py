"""A file on the host, addressed by offset, with an advisory lock: one writer or many readers.

Everything under `disks/` reaches the host through `ByteFile`, so that tests can put a recorder in
its place and replay every crash.

NOT modelled: mandatory locks, asynchronous I/O, direct I/O.

Sources:
    [flock] flock(2): a lock belongs to the open file description and dies with it.
    [lseek] lseek(2): SEEK_DATA and SEEK_HOLE.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from disks.errors import DiskError, ImageBusyError, ReadOnlyError

_NO_LOCKS_HERE: Final = (errno.ENOLCK, errno.ENOTSUP)
_CREATE_MODE: Final = 0o666
_MAX_OFFSET: Final = (1 << 63) - 1  # off_t
_OWNERS_MODE: Final = 0o600
_MOST_VIEWS: Final = 1024  # of one preadv(2): IOV_MAX of Linux


class ByteFile(Protocol):
    """Bytes by offset. Nothing written is durable before `sync` returns."""

    path: Path
    read_only: bool

    def size(self) -> int:
        """Return the length in bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes; raise DiskError where the file ends sooner."""

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` exactly; raise DiskError where the file ends sooner."""

    def scatter(self, offset: int, views: list[memoryview]) -> None:
        """Fill the views exactly, one after the other; raise DiskError where the file ends sooner."""

    def stored(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of what takes room on the host in a range; the rest is zeros."""

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Store all of `data`, growing the file where needed."""

    def resize(self, length: int) -> None:
        """Cut the file, or extend it with zeros that take no room on the host."""

    def discard(self, offset: int, length: int) -> None:
        """Give the room of a range back to the host where it can take it; the range then reads as zeros."""

    def sync(self) -> None:
        """Return once everything written survives a crash of the host."""

    def close(self) -> None:
        """Release file and lock. Idempotent."""


class HostFile:
    """A regular file or block device of the host."""

    def __init__(self, path: Path, descriptor: int, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._descriptor = descriptor
        self._lost: OSError | None = None

    @classmethod
    def open(cls, path: Path, *, read_only: bool, follow: bool = True, lock: bool = True) -> HostFile:
        """Open and lock an existing file; raise OSError, ImageBusyError or DiskError.

        Without `follow`, a symbolic link in the last place is refused. Without `lock`, what is read
        may be changing: for those who only look at headers.
        """
        access = (os.O_RDONLY if read_only else os.O_RDWR) | (0 if follow else os.O_NOFOLLOW)
        if path.is_dir():
            raise DiskError(f"{path}: is a directory, not a disk image")
        descriptor = os.open(path, access | os.O_CLOEXEC | os.O_NONBLOCK)
        return cls._checked(path, descriptor, read_only, lock)

    @classmethod
    def create(cls, path: Path, like: os.stat_result | None = None) -> HostFile:
        """Make a new, empty, locked file; raise FileExistsError rather than touch an old one.

        Who may read or write the file with the status `like`, and nobody else, may do so with the new one;
        its owner always may.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        if like is None:
            return cls._checked(path, os.open(path, flags, _CREATE_MODE), read_only=False, lock=True)
        mode = like.st_mode & _CREATE_MODE | _OWNERS_MODE
        file = cls._checked(path, os.open(path, flags, _OWNERS_MODE), read_only=False, lock=True)
        file.set_mode(mode)
        return file

    def set_mode(self, mode: int) -> None:
        """Let the file be read and written by whom the permission bits name."""
        os.fchmod(self._descriptor, mode & _CREATE_MODE)

    @classmethod
    def _checked(cls, path: Path, descriptor: int, read_only: bool, lock: bool) -> HostFile:
        try:
            _refuse_special(path, descriptor)
            if lock:
                _lock(path, descriptor, read_only)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, read_only)

    @property
    def status(self) -> os.stat_result:
        """What the host knows of the open file: identity, times, room taken."""
        return os.fstat(self._descriptor)

    @property
    def real_path(self) -> Path:
        """Where the open file itself lies, whatever its name leads to by now; raise OSError without /proc."""
        return Path(f"/proc/self/fd/{self._descriptor}").readlink()

    def set_times(self, status: os.stat_result) -> None:
        """Give the file the times it had: for changes that leave its contents as they were."""
        os.utime(self._descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))

    def size(self) -> int:
        """Return the length in bytes (of a block device too)."""
        return os.lseek(self._descriptor, 0, os.SEEK_END)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes."""
        if offset > _MAX_OFFSET - length:
            raise self._ends_before(offset)
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length:
            return data
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` exactly."""
        if offset > _MAX_OFFSET - len(view):
            raise self._ends_before(offset)
        while view:
            moved = os.preadv(self._descriptor, [view], offset)
            if moved == 0:
                raise self._ends_before(offset)
            offset += moved
            view = view[moved:]

    def scatter(self, offset: int, views: list[memoryview]) -> None:
        """Fill the views exactly, one after the other."""
        for first in range(0, len(views), _MOST_VIEWS):
            some = views[first : first + _MOST_VIEWS]
            length = sum(map(len, some))
            if offset > _MAX_OFFSET - length:
                raise self._ends_before(offset)
            if os.preadv(self._descriptor, some, offset) == length:
                offset += length
                continue
            for view in some:
                self.read_into(offset, view)
                offset += len(view)

    def _ends_before(self, offset: int) -> DiskError:
        return DiskError(
            f"{self.path}: the file ends at or before offset {offset:#x}, in the middle of a read"
        )

    def stored(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a range that the host keeps; all of it where the host cannot tell."""
        end = offset + length
        while offset < end:
            try:
                start = min(end, os.lseek(self._descriptor, offset, os.SEEK_DATA))
                stop = min(end, os.lseek(self._descriptor, start, os.SEEK_HOLE)) if start < end else end
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end of the file
                    return
                start, stop = offset, end
            if start < stop:
                yield start, stop - start
            offset = stop

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Store all of `data`."""
        if self.read_only:
            raise ReadOnlyError(self.path)
        moved = os.pwrite(self._descriptor, data, offset)
        while moved < len(data):
            moved += os.pwrite(self._descriptor, memoryview(data)[moved:], offset + moved)

    def resize(self, length: int) -> None:
        """Cut or extend the file."""
        if self.read_only:
            raise ReadOnlyError(self.path)
        os.ftruncate(self._descriptor, length)

    def discard(self, offset: int, length: int) -> None:
        """Make a hole in the file; where the file system has none, nothing changes."""
        if self.read_only:
            raise ReadOnlyError(self.path)
        from disks.punch import punch

        punch(self._descriptor, offset, length)

    def reserve(self, offset: int, length: int) -> None:
        """Take room on the host for the range, so that later writes cannot run out of space."""
        os.posix_fallocate(self._descriptor, offset, length)

    def sync(self) -> None:
        """Make everything written durable.

        The host tells of a write that failed once, and then forgets it: after a failure nothing
        here is called durable again, fsync(2).
        """
        if self._lost is not None:
            raise OSError(self._lost.errno, f"{self._lost.strerror} at an earlier sync", str(self.path))
        if not self.read_only:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                self._lost = error
                raise

    def close(self) -> None:
        """Release file and lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _refuse_special(path: Path, descriptor: int) -> None:
    """Raise DiskError for what has no offsets: terminals, pipes, sockets."""
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise DiskError(f"{path}: neither a regular file nor a block device")


def _lock(path: Path, descriptor: int, read_only: bool) -> None:
    """Lock shared or exclusive without waiting; file systems without locks are let pass."""
    kind = fcntl.LOCK_SH if read_only else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ImageBusyError(path, read_only) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise


def sync_directory(path: Path) -> None:
    """Make the creation or renaming of `path` itself durable."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
