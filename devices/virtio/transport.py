"""The registers of a virtio PCI device: a modern and a legacy interface on one set of queues.

A transitional device: a driver that knows virtio 1.x finds its structures in the memory BAR, an older one
its header in I/O space; both negotiate features, place queues and notify. The device behind it is
given one buffer after the other. A notification is worked off when it is written: all buffers that are
available, or until the device has had enough for now; then one look at whether the driver wants an interrupt.
Not modelled: MSI-X (the board has none: every vector reads as NO_VECTOR), notification data, queue reset.

Sources:
    [VIRTIO-1.1] Virtual I/O Device (VIRTIO) Version 1.1, §2.1-§2.2, §3.1, §4.1.
    [VIRTIO-0.95] Virtio PCI Card Specification v0.9.5, §2: the legacy interface.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Protocol

import msgspec

from devices.backplane import DeviceState, GuestMemory, IrqLine, PortBank, Tracer
from devices.saved import Byte, DoubleWord, Word, require
from devices.virtio import registers as r
from devices.virtio.events import VirtioBroken
from devices.virtio.ring import Chain, RingError, Virtqueue, VirtqueueState

_COMMON: Final = struct.Struct("<IIIIHHBBHHHHHQQQ")
_LEGACY: Final = struct.Struct("<IIIHHHBB")
_LOW: Final = 0xFFFF_FFFF
RING_FEATURES: Final = r.VIRTIO_F_INDIRECT_DESC | r.VIRTIO_F_EVENT_IDX

Features = Annotated[int, msgspec.Meta(ge=0)]
Field = tuple[int, int, Callable[[int], None]]
"""A register that can be written: first byte, bytes, what takes the value."""


class VirtioDevice(Protocol):
    """What sits behind the transport."""

    @property
    def features(self) -> int:
        """The feature bits of this kind of device, 0-23."""

    @property
    def queue_sizes(self) -> Sequence[int]:
        """The most buffers of each queue; a power of two."""

    def holds(self, queue: int) -> bool:
        """Whether the device keeps the buffers of this queue for a time when it has something to tell."""

    def serve(self, queue: int, chain: Chain) -> int:
        """Work on one buffer and return the bytes written to it.

        Raises:
            RingError: the buffer is too short for what it has to hold.
        """

    def had_enough(self) -> bool:
        """Whether to leave the buffers that are left; the device then calls `run` after a while."""

    def config(self) -> bytes:
        """Return the device configuration structure."""

    def write_config(self, offset: int, data: bytes) -> None:
        """Take a write to it.

        Raises:
            RingError: a value that the device cannot work with.
        """

    def driver_reset(self) -> None:
        """The driver has reset the device."""


class VirtioTransportState(DeviceState, frozen=True, kw_only=True):
    """Registers and queues."""

    status: Byte
    isr: Byte
    features: Features
    driver_features: Features
    device_feature_select: DoubleWord
    driver_feature_select: DoubleWord
    queue_select: Word
    by_page: bool
    master: bool
    queues: tuple[VirtqueueState, ...]


class VirtioTransport:
    """`io_bank` goes where the I/O BAR says, `memory_bank` where the memory BAR does."""

    def __init__(
        self, name: str, memory: GuestMemory, irq: IrqLine, device: VirtioDevice, tracer: Tracer | None = None
    ) -> None:
        self.name = name
        self._irq, self._device, self._tracer = irq, device, tracer
        self.config_bytes = len(device.config())
        self._offered = device.features | RING_FEATURES | r.VIRTIO_F_VERSION_1
        self._legacy_offered = device.features | RING_FEATURES | r.VIRTIO_F_ANY_LAYOUT
        self.queues = [Virtqueue(memory, size) for size in device.queue_sizes]
        self._common_fields: tuple[Field, ...] = (
            (r.DEVICE_FEATURE_SELECT, 4, self._select_device_feature),
            (r.DRIVER_FEATURE_SELECT, 4, self._select_driver_feature),
            (r.DRIVER_FEATURE, 4, self._write_driver_feature),
            (r.DEVICE_STATUS, 1, self._write_status),
            (r.QUEUE_SELECT, 2, self._select_queue),
            (r.QUEUE_SIZE, 2, self._write_queue_size),
            (r.QUEUE_ENABLE, 2, self._enable_queue),
            (r.QUEUE_DESC, 8, lambda value: self._place(desc=value)),
            (r.QUEUE_DRIVER, 8, lambda value: self._place(driver=value)),
            (r.QUEUE_DEVICE, 8, lambda value: self._place(device=value)),
        )
        self._legacy_fields: tuple[Field, ...] = (
            (r.GUEST_FEATURES, 4, self._write_guest_features),
            (r.QUEUE_PFN, 4, self._write_page),
            (r.QUEUE_SEL, 2, self._select_queue),
            (r.QUEUE_NOTIFY, 2, self._kick),
            (r.STATUS, 1, self._write_legacy_status),
        )
        self.io_bank = PortBank(f"{name} legacy", self._read_io, self._write_io)
        self.memory_bank = PortBank(name, self._read_memory, self._write_memory)
        self._master = False
        self.reset()

    def reset(self) -> None:
        """Become the device after a reset, be it the driver's or the machine's."""
        self.status = self._isr = 0
        self.features = self._driver_features = 0
        self._device_feature_select = self._driver_feature_select = self._queue_select = 0
        self._by_page = False
        for queue in self.queues:
            queue.reset()
        self._irq.set_level(False)

    def set_master(self, enabled: bool) -> None:
        """Follow the bus master enable of COMMAND; notifications held back by it are worked off."""
        self._master = enabled
        self.run()

    # -- the two address spaces

    def _read_memory(self, offset: int, size: int) -> int:
        if offset >= r.NOTIFY_AT:
            return 0
        if offset >= r.DEVICE_AT:
            return _part(self._device.config(), offset - r.DEVICE_AT, size)
        if offset >= r.ISR_AT:
            return self._take_isr() if offset == r.ISR_AT else 0
        return _part(self._common(), offset, size)

    def _write_memory(self, offset: int, size: int, value: int) -> None:
        if offset >= r.NOTIFY_AT:
            self._kick((offset - r.NOTIFY_AT) // r.NOTIFY_MULTIPLIER)
        elif offset >= r.DEVICE_AT:
            self._write_config(offset - r.DEVICE_AT, size, value)
        elif offset < r.COMMON_BYTES:
            _change(self._common(), self._common_fields, offset, value.to_bytes(size, "little"))

    def _read_io(self, offset: int, size: int) -> int:
        if offset == r.ISR and size == 1:
            return self._take_isr()
        if offset >= r.CONFIG:
            return _part(self._device.config(), offset - r.CONFIG, size)
        value = _part(self._legacy() + self._device.config(), offset, size)
        if offset + size > r.ISR:
            self._take_isr()
        return value

    def _write_io(self, offset: int, size: int, value: int) -> None:
        if offset == r.QUEUE_NOTIFY and size == 2:
            self._kick(value)
        elif offset >= r.CONFIG:
            self._write_config(offset - r.CONFIG, size, value)
        else:
            _change(self._legacy(), self._legacy_fields, offset, value.to_bytes(size, "little"))

    def _common(self) -> bytes:
        """The common configuration structure as it reads now."""
        select, queue = self._queue_select, self._queue()
        feature = self._offered >> 32 * self._device_feature_select if self._device_feature_select < 2 else 0
        chosen = self._driver_features >> 32 * self._driver_feature_select
        return _COMMON.pack(
            self._device_feature_select,
            feature & _LOW,
            self._driver_feature_select,
            chosen & _LOW if self._driver_feature_select < 2 else 0,
            r.NO_VECTOR,
            len(self.queues),
            self.status,
            0,  # the configuration never changes by itself
            select,
            queue.size if queue else 0,
            r.NO_VECTOR,
            queue.enabled if queue else 0,
            select if queue else 0,
            queue.desc if queue else 0,
            queue.driver if queue else 0,
            queue.device if queue else 0,
        )

    def _legacy(self) -> bytes:
        """The legacy header as it reads now."""
        queue = self._queue()
        return _LEGACY.pack(
            self._legacy_offered,
            self._driver_features & _LOW,
            queue.page & _LOW if queue else 0,
            queue.max_size if queue else 0,
            self._queue_select,
            0,
            self.status,
            self._isr,
        )

    def _write_config(self, offset: int, size: int, value: int) -> None:
        try:
            self._device.write_config(offset, value.to_bytes(size, "little"))
        except RingError as error:
            self._break(-1, str(error))

    # -- features and status

    def _select_device_feature(self, value: int) -> None:
        self._device_feature_select = value

    def _select_driver_feature(self, value: int) -> None:
        self._driver_feature_select = value

    def _write_driver_feature(self, value: int) -> None:
        if self.status & r.FEATURES_OK or self._driver_feature_select > 1:
            return
        shift = 32 * self._driver_feature_select
        self._driver_features = self._driver_features & ~(_LOW << shift) | value << shift

    def _write_guest_features(self, value: int) -> None:
        self.features = self._driver_features = value & self._legacy_offered

    def _write_status(self, value: int) -> None:
        if value & r.FEATURES_OK and not self.status & r.FEATURES_OK:
            if self._driver_features & ~self._offered or not self._driver_features & r.VIRTIO_F_VERSION_1:
                value &= ~r.FEATURES_OK  # [VIRTIO-1.1] §2.2.2, §6.2
            else:
                self.features = self._driver_features
        self._write_legacy_status(value)

    def _write_legacy_status(self, value: int) -> None:
        if value == 0:
            self.reset()
            self._device.driver_reset()
            return
        self.status = value | self.status & r.DEVICE_NEEDS_RESET
        self.run()

    # -- queues

    def _queue(self) -> Virtqueue | None:
        return self.queues[self._queue_select] if self._queue_select < len(self.queues) else None

    def _select_queue(self, value: int) -> None:
        self._queue_select = value

    def _write_queue_size(self, value: int) -> None:
        queue = self._queue()
        if queue and not queue.enabled and 0 < value <= queue.max_size and value & value - 1 == 0:
            queue.size = value

    def _enable_queue(self, value: int) -> None:
        queue = self._queue()
        if queue and value == 1:
            queue.enabled = True

    def _place(self, desc: int | None = None, driver: int | None = None, device: int | None = None) -> None:
        queue = self._queue()
        if queue and not queue.enabled:
            queue.desc = queue.desc if desc is None else desc
            queue.driver = queue.driver if driver is None else driver
            queue.device = queue.device if device is None else device

    def _write_page(self, value: int) -> None:
        queue = self._queue()
        if queue:
            queue.set_page(value)
            self._by_page = True

    def _kick(self, number: int) -> None:
        if number < len(self.queues):
            self.queues[number].kicked = True
            if self._may_run():
                self._work_off(number)

    def run(self) -> None:
        """Work off the queues whose notifications were held back, or of which buffers are left."""
        for number, queue in enumerate(self.queues):
            if queue.kicked and self._may_run():
                self._work_off(number)

    def _may_run(self) -> bool:
        """Say whether the device works: a legacy driver uses it before DRIVER_OK, [VIRTIO-1.1] §3.1.2."""
        status = self.status
        return (
            self._master and not status & r.DEVICE_NEEDS_RESET and bool(status & r.DRIVER_OK or self._by_page)
        )

    def _work_off(self, number: int) -> None:
        """Work off what is available in a queue that was notified."""
        queue = self.queues[number]
        queue.kicked = False
        if not queue.enabled or self._device.holds(number):
            return
        used: list[tuple[int, int]] = []
        reason = ""
        try:
            heads = queue.available(self.features)
            for head in heads:
                chain = queue.chain(head, self.features)
                used.append((head, self._device.serve(number, chain)))
                if len(used) < len(heads) and self._device.had_enough():
                    queue.leave(len(heads) - len(used))
                    break
        except RingError as error:
            reason = str(error)
        if used and queue.give_back(used, self.features):
            self._interrupt(r.ISR_QUEUE)
        if reason:
            self._break(number, reason)

    def _break(self, number: int, reason: str) -> None:
        """Stop until the driver resets the device, and tell it so, [VIRTIO-1.1] §2.1.2."""
        self.status |= r.DEVICE_NEEDS_RESET
        if self._tracer is not None:
            self._tracer.emit(VirtioBroken(device=self.name, queue=number, reason=reason))
        if self.status & r.DRIVER_OK:
            self._interrupt(r.ISR_CONFIG)

    def _interrupt(self, why: int) -> None:
        self._isr |= why
        self._irq.set_level(True)

    def _take_isr(self) -> int:
        """Reading the ISR status clears it and lowers INTx, [VIRTIO-1.1] §4.1.4.5.1."""
        isr, self._isr = self._isr, 0
        self._irq.set_level(False)
        return isr

    # -- state

    def save(self) -> VirtioTransportState:
        """Return registers and queues."""
        return VirtioTransportState(
            status=self.status,
            isr=self._isr,
            features=self.features,
            driver_features=self._driver_features,
            device_feature_select=self._device_feature_select,
            driver_feature_select=self._driver_feature_select,
            queue_select=self._queue_select,
            by_page=self._by_page,
            master=self._master,
            queues=tuple(queue.save() for queue in self.queues),
        )

    def check(self, state: VirtioTransportState) -> None:
        """Raise StateError unless the transport can become `state`, whose fields are in their ranges."""
        require(len(state.queues) == len(self.queues), self.name, f"it has {len(state.queues)} queues")
        for queue, saved in zip(self.queues, state.queues, strict=True):
            queue.check(saved)

    def load(self, state: VirtioTransportState) -> None:
        """Become `state`, which has been checked, and drive INTx to match; no queue is looked at."""
        self.status, self._isr = state.status, state.isr
        self.features, self._driver_features = state.features, state.driver_features
        self._device_feature_select = state.device_feature_select
        self._driver_feature_select = state.driver_feature_select
        self._queue_select, self._by_page, self._master = state.queue_select, state.by_page, state.master
        for queue, saved in zip(self.queues, state.queues, strict=True):
            queue.load(saved)
        self._irq.set_level(bool(self._isr))


def _part(image: bytes, offset: int, size: int) -> int:
    """Read `size` bytes of a structure; zeros behind it."""
    return int.from_bytes(image[offset : offset + size], "little")


def _change(image: bytes, fields: Sequence[Field], offset: int, data: bytes) -> None:
    """Write `data` at `offset`: each register it touches takes its new value."""
    changed = bytearray(image)
    changed[offset : offset + len(data)] = data
    for first, length, take in fields:
        if first < offset + len(data) and offset < first + length:
            take(int.from_bytes(changed[first : first + length], "little"))
