"""Which files a VMDK names as its extents: qemu-img opens them before it tells their names.

NOT modelled: anything else of a VMDK; parents, which qemu-img names without opening them.

Sources:
    [VMDK] VMware Virtual Disk Format 5.0, "The Extent Description", "Hosted Sparse Extents".
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Final

from disks.errors import DiskError
from disks.hostfile import HostFile

_SPARSE_MAGIC: Final = b"KDMV"
_OLD_SPARSE_MAGIC: Final = b"COWD"
_HEADER: Final = struct.Struct("<4sIIQQQQ")  # up to descriptorSize, [VMDK] "Hosted Sparse Extent Header"
_SECTOR_BYTES: Final = 512
_MOST_BYTES: Final = 1 << 20  # of a descriptor, as QEMU reads it
_MOST_NAME_BYTES: Final = 511  # QEMU cuts longer ones, so that they name another file
# White space may be any, and as little as QEMU's sscanf takes
_EXTENT: Final = re.compile(rb'RW\s+[+-]?\d+\s*[A-Z]+\s*"([^"\n\r]*)', re.ASCII)


def extent_names(path: Path, *, is_extent: bool = False) -> list[str]:
    """Return the names of the extents in the descriptor of `path`; raise OSError or DiskError.

    A sparse extent holds data and names nothing, unless its capacity is zero: then it is a descriptor. Of
    an image's extents (`is_extent`) only such a one is.
    """
    file = HostFile.open(path, read_only=True, lock=False)
    try:
        size = file.size()
        head = file.read_at(0, min(size, _HEADER.size)).ljust(_HEADER.size, b"\0")
        magic, _, _, capacity, _, descriptor, _ = _HEADER.unpack(head)
        if magic == _OLD_SPARSE_MAGIC or (capacity if magic == _SPARSE_MAGIC else is_extent):
            return []
        at = descriptor * _SECTOR_BYTES if magic == _SPARSE_MAGIC else 0
        text = file.read_at(at, min(_MOST_BYTES, size - at)) if at < size else b""
    finally:
        file.close()
    names = _EXTENT.findall(text)
    if any(len(name) > _MOST_NAME_BYTES for name in names):
        raise DiskError(f"{path}: names an extent by more than {_MOST_NAME_BYTES} bytes")
    return [os.fsdecode(name) for name in names]
