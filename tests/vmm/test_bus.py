"""The port bus: one owner a port, floating where there is none."""

from __future__ import annotations

import pytest

from devices.backplane import PortBank, PortRange
from vmm.bus import PORTS, PortBus
from vmm.errors import BusConflictError


class Device:
    """Answers with its base and offset; keeps what is written."""

    def __init__(self, name: str = "device", base: int = 0x100) -> None:
        self.name = name
        self._base = base
        self.written: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        return self._base + offset

    def write(self, offset: int, size: int, value: int) -> None:
        self.written.append((offset, size, value))


@pytest.mark.parametrize(("size", "value"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFF_FFFF)])
@pytest.mark.parametrize("port", [0, 0x3F8, PORTS - 1])
def test_a_floating_bus_reads_ones_and_drops_writes(port: int, size: int, value: int) -> None:
    bus = PortBus()
    bus.write(port, size, 0)
    assert bus.read(port, size) == value
    assert bus.owner(port) is None


def test_a_device_sees_offsets_from_its_first_port() -> None:
    bus, device = PortBus(), Device()
    bus.attach(device, PortRange(0x3F8, 8))
    bus.write(0x3F8, 1, 5)
    bus.write(0x3FF, 2, 6)
    assert device.written == [(0, 1, 5), (7, 2, 6)]
    assert (bus.read(0x3F8, 1), bus.read(0x3FF, 4)) == (0x100, 0x107)
    assert [bus.owner(port) for port in (0x3F7, 0x3F8, 0x3FF, 0x400)] == [None, "device", "device", None]


def test_a_conflict_names_both_and_changes_nothing() -> None:
    bus, late = PortBus(), Device("late")
    bus.attach(Device("early"), PortRange(0x10, 1))
    with pytest.raises(BusConflictError, match="early") as caught:
        bus.attach(late, PortRange(0x0D, 4))
    assert "late" in str(caught.value)
    assert bus.owner(0x0D) is None
    assert bus.owner(0x10) == "early"


def test_detached_ports_float_again() -> None:
    bus, device = PortBus(), Device()
    bus.attach(device, PortRange(0x20, 4))
    bus.detach(PortRange(0x21, 2))
    assert [bus.owner(port) for port in range(0x20, 0x24)] == ["device", None, None, "device"]
    assert bus.read(0x21, 1) == 0xFF
    bus.attach(Device("other"), PortRange(0x21, 2))
    assert bus.owner(0x22) == "other"


def test_changes_are_heard() -> None:
    bus, heard = PortBus(), []
    bus.on_change = heard.append
    bus.attach(Device(), PortRange(0x20, 4))
    bus.detach(PortRange(0x20, 4))
    assert heard == [PortRange(0x20, 4), PortRange(0x20, 4)]


def test_only_the_data_port_of_a_bank_moves_blocks() -> None:
    device = Device()
    bank = PortBank(
        "bank",
        device.read,
        device.write,
        read_block=lambda size, count: b"",
        write_block=lambda size, data: 0,
    )
    bus = PortBus()
    bus.attach(bank, PortRange(0x1F0, 8))
    assert set(bus.block_readers) == set(bus.block_writers) == {0x1F0}
    bus.detach(PortRange(0x1F0, 8))
    assert bus.block_readers == bus.block_writers == {}


def test_a_plain_device_moves_no_blocks() -> None:
    bus = PortBus()
    bus.attach(Device(), PortRange(0x1F0, 8))
    assert bus.block_readers == {}
