"""Port-I/O bus: routes one guest access to the one device that owns the port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from devices.backplane import OPEN_BUS, PortDevice, PortRange, ReadBlock, WriteBlock
from vmm.errors import BusConflictError

PORTS: Final = 0x10000


class _Slot(NamedTuple):
    device: PortDevice
    first: int


def _open_read(offset: int, size: int) -> int:
    return OPEN_BUS[size]


def _open_write(offset: int, size: int, value: int) -> None:
    return None


def _nobody(ports: PortRange) -> None:
    return None


class PortBus:
    """The 64 Ki-port x86 I/O space. One list lookup and one call per access.

    `readers[port]` and `writers[port]` hold `(method, offset)` for the engine's hot path;
    `block_readers` and `block_writers` hold the data ports that REP INS/OUTS may move in bulk;
    `on_change` hears which ports changed hands.
    """

    def __init__(self) -> None:
        self._slots: list[_Slot | None] = [None] * PORTS
        self.readers: list[tuple[Callable[[int, int], int], int]] = [(_open_read, 0)] * PORTS
        self.writers: list[tuple[Callable[[int, int, int], None], int]] = [(_open_write, 0)] * PORTS
        self.block_readers: dict[int, ReadBlock] = {}
        self.block_writers: dict[int, WriteBlock] = {}
        self.on_change: Callable[[PortRange], None] = _nobody

    def attach(self, device: PortDevice, ports: PortRange) -> None:
        """Give `device` the `ports`; raise BusConflictError if any is taken."""
        first, last = ports.first, ports.first + ports.length - 1
        for port in range(first, last + 1):
            if (taken := self._slots[port]) is not None:
                raise BusConflictError(taken.device.name, device.name, first, last)
        for offset in range(ports.length):
            self._slots[first + offset] = _Slot(device, first)
            self.readers[first + offset] = (device.read, offset)
            self.writers[first + offset] = (device.write, offset)
        read_block = getattr(device, "read_block", None)
        write_block = getattr(device, "write_block", None)
        if read_block is not None:
            self.block_readers[first] = read_block
        if write_block is not None:
            self.block_writers[first] = write_block
        self.on_change(ports)

    def detach(self, ports: PortRange) -> None:
        """Take back `ports`; they float again."""
        for port in range(ports.first, ports.first + ports.length):
            self._slots[port] = None
            self.readers[port] = (_open_read, 0)
            self.writers[port] = (_open_write, 0)
            self.block_readers.pop(port, None)
            self.block_writers.pop(port, None)
        self.on_change(ports)

    def owner(self, port: int) -> str | None:
        """Return the name of the device at `port`, or None where the bus floats."""
        slot = self._slots[port]
        return None if slot is None else slot.device.name

    def read(self, port: int, size: int) -> int:
        """Route a read of 1, 2 or 4 bytes; ports nobody owns read as all ones."""
        method, offset = self.readers[port]
        return method(offset, size)

    def write(self, port: int, size: int, value: int) -> None:
        """Route a write; ports nobody owns drop it."""
        method, offset = self.writers[port]
        method(offset, size, value)
