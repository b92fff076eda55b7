"""The one protocol between an image on the host and a device that shows it to a guest."""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

SECTOR_BYTES: Final = 512


@runtime_checkable
class BlockImage(Protocol):
    """A random-access array of 512-byte sectors.

    Host failures (no space, I/O error) raise OSError or `disks.errors.DiskError`; a device turns
    them into an error status for its guest. A request outside the image raises ValueError: the
    device checks the range first.
    """

    @property
    def size_bytes(self) -> int:
        """Size the guest sees; a multiple of 512."""

    @property
    def read_only(self) -> bool:
        """Whether `write` is refused."""

    def read(self, lba: int, sectors: int) -> bytes:
        """Return `sectors` * 512 bytes from sector `lba`."""

    def write(self, lba: int, data: bytes | bytearray | memoryview) -> None:
        """Store whole sectors from `lba` on. They are durable only after `flush`."""

    def flush(self) -> None:
        """Return once everything written so far survives a crash of process and host."""

    def close(self) -> None:
        """Flush and release the file. Idempotent."""


@runtime_checkable
class DirectImage(Protocol):
    """An image whose sectors lie in a row on the host, so that memory can be filled without a copy."""

    def read_into(self, lba: int, views: list[memoryview]) -> None:
        """Fill the views, one after the other, with whole sectors from `lba` on; fail as `read` does."""


def check_range(size_bytes: int, lba: int, sectors: int) -> None:
    """Raise ValueError unless the sectors lie inside an image of `size_bytes`."""
    if lba < 0 or sectors < 0 or (lba + sectors) * SECTOR_BYTES > size_bytes:
        raise ValueError(f"sectors {lba}..{lba + sectors} are outside an image of {size_bytes} bytes")


def sectors_in(data: bytes | bytearray | memoryview) -> int:
    """Return how many sectors `data` holds; raise ValueError when it ends inside one."""
    if len(data) % SECTOR_BYTES:
        raise ValueError(f"{len(data)} bytes are not whole sectors")
    return len(data) // SECTOR_BYTES
