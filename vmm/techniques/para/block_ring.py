"""Block I/O through a shared ring: a page of requests, whose answers take their place.

A doorbell has every request carried out that the guest has made since the last one; each answer is in
its slot before the counter of answers moves. What a request says is the guest's and may be anything: it
ends in a status, and touches no memory but RAM.

Sources: [XEN] io/ring.h, io/blkif.h: the idea; the layout is docs/reference/hypercalls.md.
"""

from __future__ import annotations

from typing import Final, Protocol

from disks.errors import HOST_ERRORS
from disks.image import SECTOR_BYTES, BlockImage
from vmm.techniques.para import abi

MODEL: Final = b"Trapline shared ring"
_COUNTER: Final = 0x1_0000_0000


class Ram(Protocol):
    """Guest-physical memory, and what of it is RAM."""

    def read(self, address: int, length: int) -> bytes:
        """Return bytes."""

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""

    def is_ram(self, address: int, length: int) -> bool:
        """Whether all of a range is RAM."""


class BlockRing:
    """The disk of a paravirtual machine. `image` None: there is none."""

    def __init__(self, memory: Ram, image: BlockImage | None = None) -> None:
        self._memory = memory
        self.image = image
        self._ring: int | None = None
        self._answered = 0

    def reset(self) -> None:
        """Forget the ring."""
        self._ring = None
        self._answered = 0

    def info(self) -> bytes | int:
        """Return what `block_info` holds, or an error."""
        image = self.image
        if image is None:
            return abi.ENODEV
        sectors = min(image.size_bytes // SECTOR_BYTES, _COUNTER - 1)
        return abi.BLOCK_INFO_LAYOUT.pack(sectors, abi.BLOCK_READ_ONLY if image.read_only else 0, MODEL)

    def attach(self, page: int) -> int:
        """Take a page as the ring; its counters are set to 0."""
        if self.image is None:
            return abi.ENODEV
        if page % abi.PAGE or not self._memory.is_ram(page, abi.PAGE):
            return abi.EINVAL
        self._ring, self._answered = page, 0
        self._memory.write(page, abi.RING_COUNTERS.pack(0, 0))
        return 0

    def kick(self) -> int:
        """Carry out what is asked; how many requests that were, or an error."""
        if self._ring is None:
            return abi.ENODEV
        made = int.from_bytes(self._memory.read(self._ring, 4), "little")
        waiting = (made - self._answered) % _COUNTER
        if waiting > abi.RING_SLOTS:
            return abi.E2BIG
        for _ in range(waiting):
            self._serve(self._ring + abi.RING_SLOTS_AT + self._answered % abi.RING_SLOTS * abi.RING_SLOT.size)
            self._answered = (self._answered + 1) % _COUNTER
            self._memory.write(self._ring + 4, self._answered.to_bytes(4, "little"))
        return waiting

    def _serve(self, slot: int) -> None:
        raw = self._memory.read(slot, abi.RING_SLOT.size)
        operation, _, low, high, count, buffer, _, _ = abi.RING_SLOT.unpack(raw)
        try:
            status = self._carry_out(operation, low | high << 32, count, buffer)
        except HOST_ERRORS:
            status = abi.EIO
        self._memory.write(slot + abi.RING_STATUS_AT, status.to_bytes(4, "little", signed=True))

    def _carry_out(self, operation: int, sector: int, count: int, buffer: int) -> int:
        image = self.image
        assert image is not None
        if operation == abi.BLOCK_FLUSH:
            image.flush()
            return 0
        if operation not in (abi.BLOCK_READ, abi.BLOCK_WRITE):
            return abi.ENOSYS
        if not 0 < count <= abi.MOST_RING_SECTORS or (sector + count) * SECTOR_BYTES > image.size_bytes:
            return abi.EINVAL
        if not self._memory.is_ram(buffer, count * SECTOR_BYTES):
            return abi.EFAULT
        if operation == abi.BLOCK_READ:
            self._memory.write(buffer, image.read(sector, count))
        elif image.read_only:
            return abi.EPERM
        else:
            image.write(sector, self._memory.read(buffer, count * SECTOR_BYTES))
        return 0
