"""Access to the clock chip's registers and RAM through ports 70h and 71h."""

from __future__ import annotations

from typing import Final

from vmm.bus import PortBus

CMOS_INDEX: Final = 0x70
CMOS_DATA: Final = 0x71


def read_cmos(bus: PortBus, index: int) -> int:
    """Return one byte."""
    bus.write(CMOS_INDEX, 1, index)
    return bus.read(CMOS_DATA, 1) & 0xFF


def write_cmos(bus: PortBus, index: int, value: int) -> None:
    """Store one byte."""
    bus.write(CMOS_INDEX, 1, index)
    bus.write(CMOS_DATA, 1, value & 0xFF)
