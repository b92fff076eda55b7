"""An initramfs archive: cpio in the `newc` format that Linux unpacks at start.

Not modelled: hard links, checksums, sparse files. Members carry no times and belong to root, so
the same members always give the same bytes.

Sources:
    [INITRAMFS] Linux Documentation/driver-api/early-userspace/buffer-format.rst
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = b"070701"  # [INITRAMFS] c_magic, "newc" without checksum
TRAILER: Final = "TRAILER!!!"  # [INITRAMFS] name of the member that ends the archive
ALIGN: Final = 4  # [INITRAMFS] header with name, and data, are padded to this
BLOCK: Final = 512

S_IFDIR: Final = 0o040000
S_IFCHR: Final = 0o020000
S_IFREG: Final = 0o100000
S_IFLNK: Final = 0o120000


def _pad(data: bytes, unit: int) -> bytes:
    return data + bytes(-len(data) % unit)


class Archive:
    """Members in the order they are added; a directory has to come before what is in it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def directory(self, name: str) -> None:
        """Add a directory."""
        self._add(name, S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add(name, S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(name, S_IFLNK | 0o777, target.encode())

    def character_device(self, name: str, major: int, minor: int) -> None:
        """Add a character device node."""
        self._add(name, S_IFCHR | 0o600, device=(major, minor))

    def getvalue(self) -> bytes:
        """Return the whole archive, its trailer included."""
        end = self._member(TRAILER, 0, b"", (0, 0), inode=0)
        return _pad(b"".join([*self._parts, end]), BLOCK)

    def _add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        self._parts.append(self._member(name, mode, data, device, self._inode))

    @staticmethod
    def _member(name: str, mode: int, data: bytes, device: tuple[int, int], inode: int) -> bytes:
        encoded = name.encode() + b"\0"
        links = 2 if mode & S_IFDIR == S_IFDIR else 1
        fields = (
            inode,
            mode,
            0,  # c_uid
            0,  # c_gid
            links,
            0,  # c_mtime
            len(data),
            0,  # c_maj: device of the file itself
            0,  # c_min
            *device,
            len(encoded),
            0,  # c_chksum: only of the other format
        )
        header = MAGIC + b"".join(b"%08x" % field for field in fields)
        return _pad(header + encoded, ALIGN) + _pad(data, ALIGN)
