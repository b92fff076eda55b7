"""What the fuzzer of VHD images runs: a chain of up to three hostile files, opened, read, written, closed.

An input is a byte of options, two 16-bit lengths, and the files one after the other. Opening may refuse it
with a DiskError; then nothing was written. What opens must read, must take a write and show it, and must
open again. Nothing but a DiskError or the host's OSError ever leaves, and nobody holds more than there is.

`check` runs first, and nothing at all leaves it: what it finds no error in opens for reading and writing.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Final

from disks.errors import HOST_ERRORS
from disks.image import BlockImage
from disks.open import open_image
from disks.vhd import layout
from disks.vhd.check import check_chain, worst
from disks.vhd.check_rules import Severity
from disks.vhd.family import members
from disks.vhd.parents import ParentRules
from disks.vhd.record import with_checksum
from disks.vhd.sparse import SparseVhd

FIX_CHECKSUMS: Final = 1  # options
FIX_PARENTS: Final = 2
IGNORE_ID: Final = 4
NAMES: Final = ("top.vhd", "middle.vhd", "base.vhd")
HEAD: Final = struct.Struct("<BHH")
_MOST_FILE_BYTES: Final = 1 << 20
_PARENT_ID: Final = slice(40, 56)
_UNIQUE_ID: Final = slice(68, 84)


def pack(options: int, files: list[bytes]) -> bytes:
    """Return the input for up to three files, the child first."""
    lengths = [len(data) for data in files[:2]] + [0, 0]
    return HEAD.pack(options, lengths[0], lengths[1]) + b"".join(files)


def unpack(data: bytes) -> tuple[int, list[bytes]]:
    """Return options and files of an input; any bytes are one."""
    options, first, second = HEAD.unpack(data[: HEAD.size].ljust(HEAD.size, b"\0"))
    rest = data[HEAD.size : HEAD.size + _MOST_FILE_BYTES]
    files = [rest[:first], rest[first : first + second], rest[first + second :]]
    if options & FIX_PARENTS:
        files = _related(files)
    if options & FIX_CHECKSUMS:
        files = [_with_checksums(file) for file in files]
    return options, files


def examine(data: bytes, directory: Path) -> str:
    """Run one input in an empty directory; return how far it came: refused, or read, or written."""
    options, files = unpack(data)
    paths = [directory / name for name in NAMES]
    for path, contents in zip(paths, files, strict=True):
        path.write_bytes(contents)
    rules = ParentRules(ignore_parent_id=bool(options & IGNORE_ID))
    list(members([directory]))
    is_sound = _check(paths[0], rules)
    try:
        image = open_image(paths[0], read_only=True, parents=rules)
    except HOST_ERRORS:
        assert not is_sound
        assert [path.read_bytes() for path in paths] == files
        return "refused"
    places = _places(image)
    try:
        before = [image.read(lba, 1) for lba in places]
        _whole(image, files)
    finally:
        image.close()
    try:
        image = open_image(paths[0], parents=rules)
    except HOST_ERRORS:
        assert not is_sound
        return "read"  # a damaged footer allows no more
    marks = [bytes([0xA0 + at]) * 512 for at in range(len(places))]
    try:
        assert [image.read(lba, 1) for lba in places] == before
        for lba, mark in zip(places, marks, strict=True):
            image.write(lba, mark)
    except HOST_ERRORS:
        return "full"
    finally:
        image.close()
    again = open_image(paths[0], read_only=True, parents=rules)
    try:
        assert [again.read(lba, 1) for lba in places] == marks
    finally:
        again.close()
    assert [path.read_bytes() for path in paths[1:]] == files[1:]
    return "written"


def run(data: bytes) -> str:
    """Run one input in a directory of its own, in memory where the host has such a place."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="trapline-fuzz-", dir=place) as directory:
        return examine(data, Path(directory))


def _check(path: Path, rules: ParentRules) -> bool:
    """Tell whether `check` finds no error in a chain."""
    levels = check_chain(path, rules)
    assert all(str(finding) for level in levels for finding in level.findings.listed)
    return worst(levels) is not Severity.ERROR


def _places(image: BlockImage) -> list[int]:
    """Return sectors worth a look: the ends of the disk and of some blocks."""
    last = image.size_bytes // 512 - 1
    block = image.store.header.block_sectors if isinstance(image, SparseVhd) else 64
    return sorted(
        {at for at in (0, 1, block - 1, block, 2 * block, last // 2, last - 1, last) if 0 <= at <= last}
    )


def _whole(image: BlockImage, files: list[bytes]) -> None:
    """Look at who holds every sector, and compare what is held with what the files can hold."""
    if not isinstance(image, SparseVhd):
        return
    per_block = image.store.header.block_sectors
    held = 0
    for first in range(0, min(image.size_bytes // 512, 64 * per_block), per_block):
        sectors = min(per_block, image.size_bytes // 512 - first)
        extents = image.extents(first, sectors)
        assert sum(extent.sectors for extent in extents) == sectors
        held += sum(extent.sectors * 512 for extent in extents if extent.file is not None)
    assert held <= sum(map(len, files))


def _related(files: list[bytes]) -> list[bytes]:
    """Let each file name the next one as its parent."""
    related = list(files)
    for at in (0, 1):
        header, own = related[at][512:1536], related[at + 1][-512:]
        if len(header) == layout.HEADER_BYTES and len(own) == layout.FOOTER_BYTES:
            changed = bytearray(related[at])
            changed[512 + _PARENT_ID.start : 512 + _PARENT_ID.stop] = own[_UNIQUE_ID]
            related[at] = bytes(changed)
    return related


def _with_checksums(file: bytes) -> bytes:
    """Return the file with sound checksums where footers and header lie."""
    if len(file) < layout.FOOTER_BYTES:
        return file
    fixed = bytearray(file)
    if len(fixed) >= layout.FOOTER_BYTES + layout.HEADER_BYTES:
        header = bytes(fixed[512 : 512 + layout.HEADER_BYTES])
        fixed[512 : 512 + layout.HEADER_BYTES] = with_checksum(header, layout.HEADER_CHECKSUM_OFFSET)
    for start in (0, len(fixed) - layout.FOOTER_BYTES):
        record = bytes(fixed[start : start + layout.FOOTER_BYTES])
        fixed[start : start + layout.FOOTER_BYTES] = with_checksum(record, layout.FOOTER_CHECKSUM_OFFSET)
    return bytes(fixed)
