"""What a BIOS does to PCI at power-on, for machines that start a guest without one.

Places every BAR, steers the four PIRQ lines, fills the interrupt line registers and turns on
decoding and bus mastering, all through the registers a BIOS would write.

Sources:
    [PCI-2.1] PCI Local Bus Specification, revision 2.1, §6.2.5.1 (sizing a base register).
    [SEABIOS] src/fw/pciinit.c: the interrupts 10, 10, 11, 11 for PIRQA..PIRQD.
"""

from __future__ import annotations

from typing import Final

from devices.pci.bus import PciBus
from devices.pci.config import (
    BAR0,
    BAR_IO,
    COMMAND,
    COMMAND_IO,
    COMMAND_MASTER,
    COMMAND_MEMORY,
    INTERRUPT_LINE,
    INTERRUPT_PIN,
    ConfigSpace,
)
from devices.pci.interrupts import pirq_of
from devices.pci.piix3 import IDETIM_DECODE, IDETIM_PRIMARY, IDETIM_SECONDARY, PIRQRCA, Piix3Ide, Piix3Isa

PIRQ_INTERRUPTS: Final = (10, 10, 11, 11)
IO_BASE: Final = 0xC000
MEMORY_END: Final = 0xFEC0_0000  # memory BARs go below, the first one at the top
BARS: Final = 6
SIZING: Final = 0xFFFF_FFFF


def configure(bus: PciBus) -> frozenset[int]:
    """Configure every function on `bus`; return the IRQs that must be level triggered (ELCR)."""
    free = {BAR_IO: IO_BASE, 0: MEMORY_END}
    for (slot, _), function in sorted(bus.functions.items(), key=lambda item: item[0]):
        config = function.config
        if isinstance(function, Piix3Isa):
            config.write(PIRQRCA, 4, int.from_bytes(bytes(PIRQ_INTERRUPTS), "little"))
        if isinstance(function, Piix3Ide):
            config.write(IDETIM_PRIMARY, 2, IDETIM_DECODE)
            config.write(IDETIM_SECONDARY, 2, IDETIM_DECODE)
        _place_bars(config, free)
        pin = config.read(INTERRUPT_PIN, 1)
        if pin:
            config.write(INTERRUPT_LINE, 1, PIRQ_INTERRUPTS[pirq_of(slot, pin)])
        command = config.read(COMMAND, 2)
        config.write(COMMAND, 2, command | COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER)
    return frozenset(PIRQ_INTERRUPTS)


def _place_bars(config: ConfigSpace, free: dict[int, int]) -> None:
    """Give each BAR naturally aligned addresses: ports upwards, memory downwards."""
    for offset in range(BAR0, BAR0 + 4 * BARS, 4):
        config.write(offset, 4, SIZING)
        mask = config.read(offset, 4)
        if not mask:
            continue
        kind = mask & BAR_IO
        size = -(mask & (~0x3 if kind else ~0xF)) & SIZING
        address = -(-free[kind] // size) * size if kind else free[kind] - size & -size
        free[kind] = address + size if kind else address
        config.write(offset, 4, address)
