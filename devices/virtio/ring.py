"""A split virtqueue: descriptor table, available ring and used ring in guest memory.

The device's side: it takes what the driver has made available, follows chains of descriptors
(indirect tables too), and gives them back. All of it is under the guest's hand, so each step is bounded; what
cannot be right raises `RingError`, which the transport turns into DEVICE_NEEDS_RESET. Not
modelled: packed virtqueues, VIRTIO_F_IN_ORDER, VIRTIO_F_NOTIFY_ON_EMPTY.

Sources:
    [VIRTIO-1.1] Virtual I/O Device (VIRTIO) Version 1.1, §2.6 split virtqueues.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, NamedTuple

import msgspec

from devices.backplane import GuestMemory
from devices.saved import Word, require
from devices.virtio.registers import VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC

# Descriptor: address, length, flags, next, [VIRTIO-1.1] §2.6.5
_DESCRIPTOR: Final = struct.Struct("<QIHH")
DESCRIPTOR_BYTES: Final = 16
DESC_NEXT: Final = 1
DESC_WRITE: Final = 2
DESC_INDIRECT: Final = 4

AVAIL_NO_INTERRUPT: Final = 1  # §2.6.6
_AVAIL_HEAD: Final = struct.Struct("<HH")  # flags, idx
AVAIL_RING: Final = 4
USED_INDEX: Final = 2  # §2.6.8
USED_RING: Final = 4
USED_BYTES: Final = 8

MOST_DESCRIPTORS: Final = 1024  # of one chain, an indirect table's included
MOST_CHAIN_BYTES: Final = 1 << 32  # [VIRTIO-1.1] §2.6.5
SHORT_TABLE: Final = 8 * DESCRIPTOR_BYTES  # is followed as fast as it is taken apart
LEGACY_ALIGN: Final = 0x1000  # [VIRTIO-1.1] §4.1.5.1.3.1
PFN_SHIFT: Final = 12

ADDRESS_BITS: Final = 64
Address = Annotated[int, msgspec.Meta(ge=0)]
_SEGMENT: Final = struct.Struct("<QI4x")
_FOLLOWING: Final = bytes(at + 1 & 0xFF for at in range(MOST_DESCRIPTORS))  # next, in a table in order
_FOLLOWING_HIGH: Final = bytes(at + 1 >> 8 for at in range(MOST_DESCRIPTORS))

Segments = list[tuple[int, int]]
"""Runs of guest memory: address and length."""


class RingError(Exception):
    """The driver has put into the ring what cannot be worked on. Never leaves the device."""


class Chain(NamedTuple):
    """One buffer of the driver: what the device may read, then what it may write."""

    head: int
    readable: Segments
    writable: Segments


class VirtqueueState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One queue; the rings themselves are guest memory."""

    size: Annotated[int, msgspec.Meta(ge=1, le=0x8000)]
    enabled: bool
    desc: Address
    driver: Address
    device: Address
    next_avail: Word
    next_used: Word
    kicked: bool


class Virtqueue:
    """The device's end of one queue of at most `max_size` buffers."""

    def __init__(self, memory: GuestMemory, max_size: int) -> None:
        self._memory = memory
        self.max_size = max_size
        self.reset()

    def reset(self) -> None:
        """Become the queue after a reset: not enabled."""
        self.size = self.max_size
        self.enabled = False
        self.desc = self.driver = self.device = 0
        self.kicked = False
        self._next_avail = self._next_used = 0

    def set_page(self, page: int) -> None:
        """Place the whole queue in the legacy way, [VIRTIO-1.1] §2.6.2; page 0 takes it away."""
        self.reset()
        self.desc = page << PFN_SHIFT
        self.driver = self.desc + DESCRIPTOR_BYTES * self.size
        end = self.driver + AVAIL_RING + 2 * self.size + 2
        self.device = end + -end % LEGACY_ALIGN
        self.enabled = page != 0

    @property
    def page(self) -> int:
        """What a legacy driver reads back."""
        return self.desc >> PFN_SHIFT if self.enabled else 0

    # -- taking

    def available(self, features: int) -> list[int]:
        """Take all buffers that the driver has made available; return the heads of their chains."""
        memory, first, size = self._memory, self._next_avail, self.size
        _, index = _AVAIL_HEAD.unpack(memory.read(self.driver, AVAIL_RING))
        pending = index - first & 0xFFFF
        if pending > size:
            raise RingError("available index runs ahead of the queue")
        if not pending:
            return []
        at, ring = first % size, self.driver + AVAIL_RING
        fits = min(pending, size - at)
        taken = memory.read(ring + 2 * at, 2 * fits)
        if fits < pending:  # the ring wraps
            taken += memory.read(ring, 2 * (pending - fits))
        self._next_avail = index
        if features & VIRTIO_F_EVENT_IDX:  # tell of the next buffer, §2.6.10
            memory.write(self.device + USED_RING + USED_BYTES * size, index.to_bytes(2, "little"))
        return list(struct.unpack(f"<{pending}H", taken))

    def leave(self, buffers: int) -> None:
        """Leave so many of the buffers taken last, as if their notification were still to come."""
        self.kicked = True
        self._next_avail = self._next_avail - buffers & 0xFFFF

    def chain(self, head: int, features: int) -> Chain:
        """Follow the chain that starts at `head`."""
        readable: Segments = []
        writable: Segments = []
        limit, index, total, direct = self.size, head, 0, True
        table = self._memory.read(self.desc, DESCRIPTOR_BYTES * limit)
        for _ in range(MOST_DESCRIPTORS):
            if index >= limit:
                raise RingError("descriptor outside its table")
            address, length, flags, following = _DESCRIPTOR.unpack_from(table, DESCRIPTOR_BYTES * index)
            if flags & DESC_INDIRECT:
                if not direct or flags & DESC_NEXT or not features & VIRTIO_F_INDIRECT_DESC:
                    raise RingError("indirect descriptor where none may be")
                table = self._indirect(address, length)
                if length > SHORT_TABLE and index == head and (usual := _in_order(head, table)):
                    return usual
                limit, index, direct = len(table) // DESCRIPTOR_BYTES, 0, False
                continue
            if flags & DESC_WRITE:
                writable.append((address, length))
            elif writable:
                raise RingError("readable descriptor after a writable one")
            else:
                readable.append((address, length))
            total += length
            if not flags & DESC_NEXT:
                break
            index = following
        else:
            raise RingError("chain without end")
        if total > MOST_CHAIN_BYTES:
            raise RingError("chain longer than 4 GiB")
        return Chain(head, readable, writable)

    def _indirect(self, address: int, length: int) -> bytes:
        if not length or length % DESCRIPTOR_BYTES:
            raise RingError("indirect table of broken size")
        return self._memory.read(address, min(length, MOST_DESCRIPTORS * DESCRIPTOR_BYTES))

    # -- giving back

    def give_back(self, used: list[tuple[int, int]], features: int) -> bool:
        """Return buffers as (head, bytes written); return whether the driver wants an interrupt."""
        memory, size, first = self._memory, self.size, self._next_used
        at, left = first % size, used
        while left:  # twice where the ring wraps
            fits = left[: size - at]
            elements = struct.pack(f"<{2 * len(fits)}I", *[word for element in fits for word in element])
            memory.write(self.device + USED_RING + USED_BYTES * at, elements)
            at, left = 0, left[len(fits) :]
        self._next_used = last = first + len(used) & 0xFFFF
        memory.write(self.device + USED_INDEX, last.to_bytes(2, "little"))
        if features & VIRTIO_F_EVENT_IDX:  # §2.6.7.2: has the index passed used_event?
            event = int.from_bytes(memory.read(self.driver + AVAIL_RING + 2 * size, 2), "little")
            return last - event - 1 & 0xFFFF < last - first & 0xFFFF
        flags, _ = _AVAIL_HEAD.unpack(memory.read(self.driver, AVAIL_RING))
        return not flags & AVAIL_NO_INTERRUPT

    # -- state

    def save(self) -> VirtqueueState:
        """Return the state."""
        return VirtqueueState(
            size=self.size,
            enabled=self.enabled,
            desc=self.desc,
            driver=self.driver,
            device=self.device,
            next_avail=self._next_avail,
            next_used=self._next_used,
            kicked=self.kicked,
        )

    def check(self, state: VirtqueueState) -> None:
        """Raise StateError unless the queue can become `state`, whose fields are in their ranges."""
        size = state.size
        require(size <= self.max_size and not size & size - 1, "queue", f"a queue of {size} buffers")
        last = max(state.desc, state.driver, state.device)
        require(last >> ADDRESS_BITS == 0, "queue", "an address beyond 64 bits")

    def load(self, state: VirtqueueState) -> None:
        """Become `state`, which has been checked."""
        self.size, self.enabled, self.kicked = state.size, state.enabled, state.kicked
        self.desc, self.driver, self.device = state.desc, state.driver, state.device
        self._next_avail, self._next_used = state.next_avail, state.next_used


def _in_order(head: int, table: bytes) -> Chain | None:
    """Take a table apart whose descriptors follow one another, as drivers make them; None for another."""
    flags, flags_high, following, following_high = (table[at::DESCRIPTOR_BYTES] for at in range(12, 16))
    last = len(flags) - 1
    readable = flags.count(DESC_NEXT)
    usual = bytes((DESC_NEXT,)) * readable + bytes((DESC_NEXT | DESC_WRITE,)) * (last - readable)
    if flags != usual + bytes((DESC_WRITE,)) or any(flags_high):
        return None
    if following[:last] != _FOLLOWING[:last] or following_high[:last] != _FOLLOWING_HIGH[:last]:
        return None
    segments = list(_SEGMENT.iter_unpack(table))
    if sum(length for _, length in segments) > MOST_CHAIN_BYTES:
        return None
    return Chain(head, segments[:readable], segments[readable:])
