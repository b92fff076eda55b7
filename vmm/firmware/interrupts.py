"""Interrupt lines that the BIOS has no work for: acknowledged, so that the next one can come.

The timer, keyboard, clock and mouse have stubs of their own.

Sources: [8259A] Intel 8259A data sheet, OCW2 and OCW3; [PTL] IBM PS/2 and PC BIOS Interface
Technical Reference, section 2, "Interrupt 0Ah" and following.
"""

from __future__ import annotations

from typing import Final

from vmm.bus import PortBus
from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import Caller
from vmm.firmware.host import FirmwareHost

MASTER, SLAVE = 0x20, 0xA0
EOI: Final = 0x20  # OCW2, non-specific
READ_IN_SERVICE: Final = 0x0B  # OCW3
READ_REQUESTS: Final = 0x0A
MASTER_FIRST: Final = 0x08
SLAVE_FIRST: Final = 0x70
MASTER_VECTORS: Final = range(MASTER_FIRST, MASTER_FIRST + 8)
SLAVE_VECTORS: Final = range(SLAVE_FIRST, SLAVE_FIRST + 8)
DISKETTE_VECTOR: Final = 0x0E
DISKETTE_HAPPENED: Final = 0x80  # 40:3E
COPROCESSOR_VECTOR: Final = 0x75
DISK_VECTORS: Final = (0x76, 0x77)
COPROCESSOR_CLEAR: Final = 0xF0
INTERRUPT_HAPPENED: Final = 0xFF


def in_service(bus: PortBus, chip: int) -> int:
    """Return which interrupts the PIC at `chip` holds to be in service."""
    bus.write(chip, 1, READ_IN_SERVICE)
    mask = bus.read(chip, 1)
    bus.write(chip, 1, READ_REQUESTS)
    return mask & 0xFF


class HardwareInterrupts:
    """INT 0Ah-0Fh and 71h-77h."""

    def __init__(self, host: FirmwareHost) -> None:
        self._bus = host.bus
        self._bda = Bda(host.memory)

    def call(self, caller: Caller) -> None:
        """Acknowledge the line of this vector, unless the interrupt was spurious."""
        vector = caller.vector
        if vector == COPROCESSOR_VECTOR:
            self._bus.write(COPROCESSOR_CLEAR, 1, 0)
        elif vector == DISKETTE_VECTOR:
            self._bda.set_byte(b.RECALIBRATED, self._bda.byte(b.RECALIBRATED) | DISKETTE_HAPPENED)
        elif vector in DISK_VECTORS:
            self._bda.set_byte(b.DISK_INTERRUPT, INTERRUPT_HAPPENED)
        if vector in SLAVE_VECTORS:
            if in_service(self._bus, SLAVE) & 1 << vector - SLAVE_FIRST:
                self._bus.write(SLAVE, 1, EOI)
            self._bus.write(MASTER, 1, EOI)  # its cascade line was in service all the same
        elif in_service(self._bus, MASTER) & 1 << (vector - MASTER_FIRST & 7):
            self._bus.write(MASTER, 1, EOI)
