"""Both APICs and an 8259A's INT, plugged together as on a board, with what they do to the processor."""

from __future__ import annotations

from devices.apic import messages as m
from devices.apic import registers as r
from devices.apic.io import IOREDTBL, IOREGSEL, IOWIN, IoApic
from devices.apic.local import LocalApic
from devices.backplane import IrqLine
from vmm.clock import MachineClock, ManualTime

PIC_VECTOR = 0x08
ENABLED = 0x1FF


def mode(number: int) -> int:
    """Return the delivery mode as a register or a message has it."""
    return number << m.MODE_SHIFT


class Rig:
    """A local APIC enabled by software, with spurious vector FFh, and an I/O APIC."""

    def __init__(self, clock: MachineClock | None = None, *, svr: int = ENABLED) -> None:
        self.time = ManualTime()
        self.clock = clock or MachineClock(self.time)
        self.intr = IrqLine(lambda level: None)
        self.nmis = self.inits = self.intas = 0
        self.local = LocalApic(self.clock, self.intr, self._inta, self._nmi, self._init)
        self.io = IoApic(self.local)
        self.ended: list[int] = []
        self.local.on_eoi = self._on_eoi
        self.write(r.SVR, svr)

    def _inta(self) -> int:
        self.intas += 1
        return PIC_VECTOR

    def _nmi(self) -> None:
        self.nmis += 1

    def _init(self) -> None:
        self.inits += 1

    def _on_eoi(self, vector: int) -> None:
        self.ended.append(vector)
        self.io.end_of_interrupt(vector)

    def read(self, offset: int) -> int:
        return self.local.read(offset, 4)

    def write(self, offset: int, value: int) -> None:
        self.local.write(offset, 4, value)

    def request(self, *vectors: int) -> None:
        """Let fixed interrupts arrive, by IPIs to itself."""
        for vector in vectors:
            self.write(r.ICR_LOW, 0x4_0000 | vector)

    def taken(self) -> list[int]:
        """Let the processor take interrupts, without ending any, while INTR is high."""
        vectors = []
        while self.intr.level:
            vectors.append(self.local.acknowledge())
        return vectors

    def wait(self, nanoseconds: int) -> None:
        self.time.value_ns += nanoseconds
        self.clock.run_due()

    # -- the I/O APIC

    def read_io(self, register: int) -> int:
        self.io.write(IOREGSEL, 4, register)
        return self.io.read(IOWIN, 4)

    def write_io(self, register: int, value: int) -> None:
        self.io.write(IOREGSEL, 4, register)
        self.io.write(IOWIN, 4, value)

    def redirect(self, pin: int, entry: int, destination: int = 0) -> None:
        """Write an entry, the half with the mask last."""
        self.write_io(IOREDTBL + 2 * pin + 1, destination << 24)
        self.write_io(IOREDTBL + 2 * pin, entry)

    def entry(self, pin: int) -> int:
        return self.read_io(IOREDTBL + 2 * pin)
