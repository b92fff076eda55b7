"""PCI bus 0 and configuration mechanism #1: the ports CF8h-CFFh that reach every function.

CONFADD (CF8h) is a register for 32-bit accesses only; smaller ones belong to whatever else
decodes those ports, which on this board is the reset control register at CF9h. Not modelled:
other buses (they read as all ones), special cycles, mechanism #2.

Sources:
    [PCI-2.1] PCI Local Bus Specification, revision 2.1, §3.7.4.1.
    [440FX] Intel 440FX PCIset: 82441FX PMC and 82442FX DBX (290549-001), §3.1.
"""

from __future__ import annotations

from typing import Final

from devices.backplane import OPEN_BUS, DeviceState, PortDevice
from devices.pci.config import ConfigSpace, HasConfig

SLOTS: Final = 32
FUNCTIONS: Final = 8

CONFADD_ENABLE: Final = 0x8000_0000
CONFADD_WRITABLE: Final = 0x80FF_FFFC  # bits 30:24 and 1:0 are reserved, [440FX] §3.1.1
CONFDATA: Final = 4  # offset of CFCh in the bank
WINDOW: Final = 4  # ports from there to CFFh
RESET_CONTROL: Final = 1  # offset of CF9h in the bank


class PciBus:
    """Who sits in which slot."""

    def __init__(self) -> None:
        self.functions: dict[tuple[int, int], HasConfig] = {}
        self._configs: list[ConfigSpace | None] = [None] * (SLOTS * FUNCTIONS)

    def attach(self, slot: int, function: int, device: HasConfig) -> None:
        """Put `device` at `slot`.`function`; raise ValueError where one already is."""
        if (slot, function) in self.functions:
            raise ValueError(
                f"{device.name}: PCI {slot:02x}.{function} is taken by {self.functions[slot, function].name}"
            )
        self.functions[slot, function] = device
        self._configs[slot * FUNCTIONS + function] = device.config

    def config(self, slot: int, function: int) -> ConfigSpace | None:
        """Return the configuration space at `slot`.`function`, or None where nothing answers."""
        return self._configs[slot * FUNCTIONS + function]


class ConfigMechanismState(DeviceState, frozen=True, kw_only=True):
    """The address latch."""

    address: int


class ConfigMechanism1:
    """Eight ports from CF8h on. Byte accesses to CF9h go to `reset_control`, if there is one."""

    def __init__(self, name: str, bus: PciBus, reset_control: PortDevice | None = None) -> None:
        self.name = name
        self._bus = bus
        self._reset_control = reset_control
        self._address = 0

    def reset(self) -> None:
        """Clear CONFADD."""
        self._address = 0

    def read(self, offset: int, size: int) -> int:
        """Guest IN."""
        if offset >= CONFDATA:
            config = self._target()
            at = offset - CONFDATA
            if config is None or at >= WINDOW:
                return OPEN_BUS[size]
            inside = min(size, WINDOW - at)
            return config.read((self._address & 0xFC) + at, inside) | OPEN_BUS[size] & -1 << 8 * inside
        if offset == 0 and size == 4:
            return self._address
        if offset == RESET_CONTROL and size == 1 and self._reset_control is not None:
            return self._reset_control.read(0, 1)
        return OPEN_BUS[size]

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest OUT."""
        if offset >= CONFDATA:
            config = self._target()
            at = offset - CONFDATA
            if config is not None and at < WINDOW:
                config.write((self._address & 0xFC) + at, min(size, WINDOW - at), value)
        elif offset == 0 and size == 4:
            self._address = value & CONFADD_WRITABLE
        elif offset == RESET_CONTROL and size == 1 and self._reset_control is not None:
            self._reset_control.write(0, 1, value)

    def save(self) -> ConfigMechanismState:
        """Return the address latch."""
        return ConfigMechanismState(address=self._address)

    def load(self, state: ConfigMechanismState) -> None:
        """Become `state`."""
        self._address = state.address & CONFADD_WRITABLE

    def _target(self) -> ConfigSpace | None:
        address = self._address
        if not address & CONFADD_ENABLE or address & 0x00FF_0000:
            return None
        return self._bus.config(address >> 11 & 31, address >> 8 & 7)
