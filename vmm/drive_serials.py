"""Serial numbers of hard disks: who a disk is, wherever it hangs.

A disk keeps its number when it moves to another place or controller, so that a guest finds it by the number
(`/dev/disk/by-id`). A VHD has an identity in its footer; so has each child of a differencing chain. An undo
disk and a snapshot are the disk they are of. Any other file is known by its name. Disks that would have the
same number in one machine, such as copies of a VHD, are told apart by their paths.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

PREFIX: Final = "TL"
DIGEST_BYTES: Final = 8  # with the prefix 18 characters, of the 20 that IDENTIFY DEVICE has


class DiskFile(NamedTuple):
    """What is known of a disk; `unique_id` is a VHD's."""

    path: Path
    unique_id: uuid.UUID | None


def serial_numbers(disks: Sequence[DiskFile]) -> list[str]:
    """Return the serial number of each disk of a machine."""
    numbers = [_number(_identity(disk)) for disk in disks]
    often = Counter(numbers)
    return [
        number if often[number] == 1 else _number(_identity(disk) + bytes(disk.path.resolve()))
        for number, disk in zip(numbers, disks, strict=True)
    ]


def _identity(disk: DiskFile) -> bytes:
    return disk.unique_id.bytes if disk.unique_id is not None else bytes(Path(disk.path.resolve().name))


def _number(identity: bytes) -> str:
    return PREFIX + hashlib.blake2b(identity, digest_size=DIGEST_BYTES).hexdigest().upper()
