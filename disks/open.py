"""Opening an image of whatever format it is; what cannot be used is named.

A guest can write any bytes to a raw disk, also those of another format, and a VHD can name files of the
host as its parents: so a footer is believed only where the file is named like a VHD, and everything else
that is not plainly raw is refused. `image_format` settles what a file is.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Final

from disks.errors import UnclearFormatError, UnsupportedImageError
from disks.hostfile import ByteFile, HostFile
from disks.image import BlockImage
from disks.raw import RawImage
from disks.sync import SyncPolicy
from disks.vhd.opening import has_footer_cookie, open_vhd
from disks.vhd.parents import OWN_DIRECTORY, ParentRules


class ImageFormat(Enum):
    """The formats we read and write."""

    RAW = "raw"
    VHD = "vhd"


VHD_SUFFIXES: Final = (".vhd", ".vpc", ".avhd")

_CONVERT: Final = "Convert it first: trapline disk convert IN OUT.vhd"
_UNPACK: Final = "Unpack it first"
_FOREIGN: Final = (  # (offset, magic, what it is, what to do, the name qemu-img knows it by)
    (0, b"QFI\xfb", "a QCOW2 image", _CONVERT, "qcow2"),
    (0, b"QED\0", "a QED image", _CONVERT, "qed"),
    (0, b"vhdxfile", "a VHDX image (not VHD)", _CONVERT, "vhdx"),
    (0, b"KDMV", "a VMDK image", _CONVERT, "vmdk"),
    (0, b"COWD", "a VMDK image", _CONVERT, "vmdk"),
    (0, b"# Disk DescriptorFile", "the descriptor of a VMDK image", _CONVERT, "vmdk"),
    (0x40, b"\x7f\x10\xda\xbe", "a VirtualBox VDI image", _CONVERT, "vdi"),
    (0, b"WithoutFreeSpace", "a Parallels image", _CONVERT, "parallels"),
    (0, b"WithouFreSpacExt", "a Parallels image", _CONVERT, "parallels"),
    (0, b"\x1f\x8b\x08", "a gzip file", _UNPACK, ""),
    (0, b"\xfd7zXZ\0", "an xz file", _UNPACK, ""),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK, ""),
    (0, b"PK\x03\x04", "a zip file", _UNPACK, ""),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z file", _UNPACK, ""),
)
_PIECE: Final = re.compile(r"\.v\d\d", re.IGNORECASE)


def open_image(
    path: Path | str,
    *,
    read_only: bool = False,
    image_format: ImageFormat | None = None,
    sync: SyncPolicy = SyncPolicy.ON_FLUSH,
    parents: ParentRules = OWN_DIRECTORY,
) -> BlockImage:
    """Open a disk image and lock it; raise OSError or DiskError that says what is wrong.

    A VHD is known by its name and its footer. `image_format` overrides what is found. `parents` says
    where the images behind a differencing VHD may lie.
    """
    file = HostFile.open(Path(path), read_only=read_only)
    try:
        if (image_format or detect_format(file)) is ImageFormat.VHD:
            return open_vhd(file, sync, parents)
        return RawImage(file, sync)
    except BaseException:
        file.close()
        raise


def detect_format(file: ByteFile) -> ImageFormat:
    """Tell what `file` is; raise UnsupportedImageError for what we cannot use."""
    refuse_split(file.path)
    is_named_vhd = file.path.suffix.lower() in VHD_SUFFIXES
    if has_footer_cookie(file):
        if not is_named_vhd:
            raise UnclearFormatError(file.path)
        return ImageFormat.VHD
    size = file.size()
    for offset, magic, what, hint, driver in _FOREIGN:
        if size >= offset + len(magic) and file.read_at(offset, len(magic)) == magic:
            raise UnsupportedImageError(file.path, what, hint, driver)
    if is_named_vhd:
        raise UnsupportedImageError(
            file.path, "no VHD: the footer at the end is missing", "The file may be truncated"
        )
    return ImageFormat.RAW


def refuse_split(path: Path) -> None:
    """Refuse the pieces Virtual PC cut an image into for file systems with a 4 GiB limit."""
    sibling = path.with_suffix(".v01")
    if _PIECE.fullmatch(path.suffix) or (path.suffix.lower() == ".vhd" and sibling.exists()):
        raise UnsupportedImageError(path, "one piece of a split VHD (.vhd, .v01, ...)", "Join it first")
