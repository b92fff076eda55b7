"""Checks that several parts of a configuration share; each raises ConfigError with one line for the user."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from vmm.errors import ConfigError, UsageError


def check_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Raise UsageError unless `value` is one of those allowed."""
    if value not in allowed:
        raise UsageError(f"{option} {value!r}: expected one of {', '.join(allowed)}")


def check_file(path: str, what: str, most_bytes: int | None = None) -> int:
    """Return the size of a readable, non-empty file; raise ConfigError saying what is wrong with it."""
    try:
        found = Path(path).stat()
        if stat.S_ISBLK(found.st_mode):
            return 0
        if stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{what} {path}: it is a directory, expected a file")
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{what} {path}: expected a regular file or a block device")
        with Path(path).open("rb"):
            pass
    except FileNotFoundError:
        raise ConfigError(f"{what} {path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} {path!r}: {getattr(error, 'strerror', None) or error}") from None
    if not found.st_size:
        raise ConfigError(f"{what} {path}: the file is empty")
    if most_bytes is not None and found.st_size > most_bytes:
        raise ConfigError(f"{what} {path}: {found.st_size} bytes, expected at most {most_bytes}")
    return found.st_size
