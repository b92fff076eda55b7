"""The PCI function of an AIC-7870: identity, the two base registers, DEVCONFIG.

The cache line size is hardwired to 0, and no external SCB RAM is said to be there. Kept but without
effect: what else is in DEVCONFIG, the latency timer.

Sources:
    [AIC] Adaptec AIC-7870 data book: configuration registers.
    [PCI-2.1] PCI Local Bus Specification, revision 2.1, §6.2, §6.3.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from devices.aic7870.chip import DEVICE_ID, VENDOR_ID, Aic7870
from devices.pci.config import (
    BAR0,
    CACHE_LINE_SIZE,
    COMMAND,
    COMMAND_MASTER,
    EXPANSION_ROM,
    LATENCY_TIMER,
    STATUS,
    STATUS_CLEARABLE,
    Bar,
    ConfigSpace,
    FunctionIdentity,
    MoveBar,
    PciFunction,
    Register,
)
from devices.pci.option_rom import MoveWindow, OptionRom

IO_BYTES: Final = 0x100
MEMORY_BYTES: Final = 0x1000
BAR1: Final = BAR0 + 4
DEVCONFIG: Final = 0x40
DEVCONFIG_WRITABLE: Final = 0x8000_15FF  # not RAMPSM (9): there is no external SCB RAM
COMMAND_WRITABLE: Final = 0x0157
STATUS_AT_RESET: Final = 0x0280  # fast back-to-back, medium DEVSEL
MIN_GNT: Final = 0x3E
MAX_LAT: Final = 0x3F
INTA: Final = 1

IDENTITY: Final = FunctionIdentity(VENDOR_ID, DEVICE_ID, 0x01_0000, revision=3, interrupt_pin=INTA)
_REGISTERS: Final = (
    Register(COMMAND, 2, 0, COMMAND_WRITABLE),
    Register(STATUS, 2, STATUS_AT_RESET, 0, STATUS_CLEARABLE),
    Register(CACHE_LINE_SIZE, 1, 0, 0),
    Register(LATENCY_TIMER, 1, 0, 0xFC),
    Register(MIN_GNT, 1, 8),
    Register(MAX_LAT, 1, 8),
    Register(DEVCONFIG, 4, 0, DEVCONFIG_WRITABLE),
)


class Aic7870Function(PciFunction):
    """The function. `move_ports` hears where the I/O BAR is; the others are placed by `move_window`."""

    def __init__(
        self,
        name: str,
        chip: Aic7870,
        move_ports: MoveBar,
        move_window: MoveWindow,
        rom: OptionRom | None = None,
    ) -> None:
        bars = [
            Bar(BAR0, IO_BYTES, True, move_ports),
            Bar(BAR1, MEMORY_BYTES, False, partial(move_window, chip.window, MEMORY_BYTES)),
        ]
        if rom is not None:
            bars.append(Bar(EXPANSION_ROM, rom.size, False, partial(move_window, rom, rom.size)))
        config = ConfigSpace(IDENTITY, _REGISTERS, bars)
        config.watch(COMMAND, 2, self._command_written)
        self._chip = chip
        self._master = False
        super().__init__(name, config)

    def _command_written(self) -> None:
        master = bool(self.config.read(COMMAND, 2) & COMMAND_MASTER)
        if master != self._master:
            self._master = master
            self._chip.set_master(master)
