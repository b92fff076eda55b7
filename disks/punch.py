"""Giving the room of a part of a file back to the host: the file keeps its size, the part reads as zeros.

NOT modelled: hosts other than Linux, where nothing is given back.

Sources:
    [fallocate] fallocate(2): FALLOC_FL_PUNCH_HOLE.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_KEEP_SIZE: Final = 0x01  # [fallocate]
_PUNCH_HOLE: Final = 0x02
_CANNOT: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV)

_libc: Final = ctypes.CDLL(None, use_errno=True)
_fallocate: Final = getattr(_libc, "fallocate64", None)  # offsets of 64 bits on every architecture
if _fallocate is not None:
    _fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def punch(descriptor: int, offset: int, length: int) -> None:
    """Make a hole; do nothing where the file system has none. Raise OSError."""
    if _fallocate is None or _fallocate(descriptor, _PUNCH_HOLE | _KEEP_SIZE, offset, length) == 0:
        return
    number = ctypes.get_errno()
    if number not in _CANNOT:
        raise OSError(number, os.strerror(number))
