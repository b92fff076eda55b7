"""Chains of VHDs for guests to work on, and what is to be true of them afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

from disks.open import open_image
from disks.vhd.check import check_chain
from disks.vhd.check_rules import Severity

PIECE_SECTORS = 128


def digests(paths: Iterable[Path]) -> list[str]:
    """Return a digest of each file, to see that it did not change by a byte."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def breaches(image: Path, allowed: Collection[str] = ()) -> list[str]:
    """Return what `check` finds in a chain, but for `allowed` rules and what is merely worth knowing."""
    return [
        f"{finding}"
        for level in check_chain(image)
        for finding in level.findings.listed
        if finding.severity is not Severity.INFO and finding.rule.name not in allowed
    ]


def write_changes(image: Path, wanted: bytes) -> None:
    """Write to an image, in pieces, what of `wanted` it does not read as."""
    disk = open_image(image)
    try:
        for lba in range(0, disk.size_bytes // 512, PIECE_SECTORS):
            piece = wanted[lba * 512 : (lba + PIECE_SECTORS) * 512]
            if disk.read(lba, len(piece) // 512) != piece:
                disk.write(lba, piece)
    finally:
        disk.close()
