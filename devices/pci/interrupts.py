"""From INTA#..INTD# of a slot to an ISA interrupt: board swizzle, PIRQ lines, PIIX3 steering.

The wiring is that of the PC that SeaBIOS and the $PIR table of QEMU describe: pin p (1 = INTA#)
of slot s is wired to PIRQ (s + p - 2) mod 4, so that slot 1 INTA# is PIRQA.

Sources:
    [PIIX3] Intel 82371FB (PIIX) and 82371SB (PIIX3) data sheet (290550-002), §2.2.13 PIRQRC.
    [SEABIOS] src/fw/pciinit.c, the expectations of the firmware.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from devices.backplane import IrqLine, SharedIrqLine

PIRQS: Final = 4
PIRQRC_DISABLED: Final = 0x80
PIRQRC_IRQ: Final = 0x0F
# IRQs that PIRQRC may name; the others are reserved, [PIIX3] §2.2.13
ROUTABLE: Final = frozenset({3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15})


def pirq_of(slot: int, pin: int) -> int:
    """Return the PIRQ (0 = PIRQA) that `pin` (1 = INTA#) of `slot` is wired to."""
    return (slot + pin - 2) % PIRQS


class PciInterruptRouter:
    """Four wired-OR PIRQ lines, steered to the ISA interrupts that PIRQRC[A:D] name.

    `isa_lines[irq]` is driven only when the routed level changes, so a line that no PIRQ was ever
    routed to is never touched. `direct[pirq]` follows its PIRQ whatever the steering: the wires to an
    I/O APIC.
    """

    def __init__(self, isa_lines: Sequence[IrqLine], direct: Sequence[IrqLine] = ()) -> None:
        self._isa_lines, self._direct = isa_lines, direct
        self._asserted = [False] * PIRQS
        self._routes: list[int | None] = [None] * PIRQS
        self._high: frozenset[int] = frozenset()
        self._pirqs = [SharedIrqLine(partial(self._drive, pirq)) for pirq in range(PIRQS)]

    def line(self, slot: int, pin: int) -> IrqLine:
        """Return the wire for a function's interrupt pin (1 = INTA#)."""
        return self._pirqs[pirq_of(slot, pin)].connect()

    def interrupts(self, slot: int, pin: int) -> tuple[int, ...]:
        """Return the ISA interrupt that a function's pin is steered to now, if it is."""
        irq = self._routes[pirq_of(slot, pin)]
        return () if irq is None else (irq,)

    def route(self, registers: bytes) -> None:
        """Take PIRQRC[A:D]; an asserted PIRQ leaves its old interrupt and raises the new one."""
        for pirq, value in enumerate(registers[:PIRQS]):
            irq = value & PIRQRC_IRQ
            self._routes[pirq] = None if value & PIRQRC_DISABLED or irq not in ROUTABLE else irq
        self._update()

    def _drive(self, pirq: int, level: bool) -> None:
        self._asserted[pirq] = level
        if self._direct:
            self._direct[pirq].set_level(level)
        self._update()

    def _update(self) -> None:
        pairs = zip(self._asserted, self._routes, strict=True)
        high = frozenset(irq for asserted, irq in pairs if asserted and irq is not None)
        before, self._high = self._high, high
        for irq in before - high:
            self._isa_lines[irq].set_level(False)
        for irq in high - before:
            self._isa_lines[irq].set_level(True)
