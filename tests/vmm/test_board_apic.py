"""How the board wires its APICs, without a processor; and that without `apic` there are none."""

from __future__ import annotations

import pytest

from devices.apic import registers as r
from vmm.board import IO_APIC, LOCAL_APIC, Board, Fittings, Outside
from vmm.bus import PortBus
from vmm.clock import MachineClock, ManualTime
from vmm.firmware.mp_table import IO_APIC_ID, virtual_wire
from vmm.memory import Memory

EXTINT, NMI, LEVEL, ACTIVE_LOW = 0x700, 0x400, 0x8000, 0x2000


class Bench:
    """A board in virtual wire mode, as firmware leaves it."""

    def __init__(self, *, apic: bool = True) -> None:
        self.resets: list[str] = []
        self.nmis = 0
        self.memory, self.bus = Memory(1 << 20), PortBus()
        outside = Outside(
            set_interrupt=lambda level: None,
            set_a20=lambda level: None,
            request_reset=self.resets.append,
            on_exit=lambda value: None,
            on_serial=lambda port, byte: None,
            on_debug=lambda byte: None,
            raise_nmi=self._nmi,
        )
        fittings = Fittings(0, {}, apic=apic)
        self.board = Board(self.memory, self.bus, MachineClock(ManualTime()), outside, fittings)
        if apic:
            virtual_wire(self.memory)

    def _nmi(self) -> None:
        self.nmis += 1

    def write(self, address: int, value: int) -> None:
        self.memory.write(address, value.to_bytes(4, "little"))

    def redirect(self, pin: int, entry: int) -> None:
        for half, value in ((1, 0), (0, entry)):
            self.write(IO_APIC, 0x10 + 2 * pin + half)
            self.write(IO_APIC + 0x10, value)

    def set_up_pic(self) -> None:
        """Vectors 20h and 28h, all unmasked."""
        for base, vector, cascade in ((0x20, 0x20, 4), (0xA0, 0x28, 2)):
            for port, value in ((base, 0x11), (base + 1, vector), (base + 1, cascade), (base + 1, 1)):
                self.bus.write(port, 1, value)
            self.bus.write(base + 1, 1, 0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_in_virtual_wire_mode_the_8259_interrupts_as_ever(bench: Bench) -> None:
    bench.set_up_pic()
    bench.board._irq(4).set_level(True)
    assert bench.board.intr.level
    assert bench.board.acknowledge() == 0x24
    assert not bench.board.intr.level


def test_an_interrupt_line_reaches_the_io_apic_beside_the_8259(bench: Bench) -> None:
    bench.redirect(4, 0x54)
    bench.board._irq(4).set_level(True)
    assert bench.board.acknowledge() == 0x54


def test_the_timer_is_on_pin_2(bench: Bench) -> None:
    bench.redirect(2, 0x52)
    bench.redirect(0, 0x50)
    bench.bus.write(0x43, 1, 0x30)  # mode 0: OUT falls
    bench.board._irq(0).set_level(True)
    assert bench.board.acknowledge() == 0x52
    assert not bench.board.intr.level


def test_the_8259_is_on_pin_0(bench: Bench) -> None:
    bench.set_up_pic()
    bench.write(LOCAL_APIC + r.LVT_LINT0, 1 << 16)
    bench.redirect(0, EXTINT)
    bench.board._irq(1).set_level(True)
    assert bench.board.intr.level
    assert bench.board.acknowledge() == 0x21


@pytest.mark.parametrize("pirq", range(4))
def test_pirq_lines_are_on_pins_16_to_19_active_low(bench: Bench, pirq: int) -> None:
    pin = 16 + pirq
    bench.redirect(pin, LEVEL | ACTIVE_LOW | 0x60 + pirq)
    line = bench.board.pci_router.line(1, pirq + 1)
    assert not bench.board.intr.level
    line.set_level(True)
    assert bench.board.acknowledge() == 0x60 + pirq
    line.set_level(False)
    bench.write(LOCAL_APIC + r.EOI, 0)
    assert not bench.board.intr.level


def test_an_nmi_comes_by_lint1(bench: Bench) -> None:
    bench.board.nmi()
    assert bench.nmis == 1
    bench.write(LOCAL_APIC + r.LVT_LINT1, 1 << 16 | NMI)
    bench.board.nmi()
    assert bench.nmis == 1


def test_an_init_to_the_processor_resets_the_machine(bench: Bench) -> None:
    bench.write(LOCAL_APIC + r.ICR_LOW, 0x0000_C500)
    assert bench.resets == ["INIT to the processor"]


def test_firmware_gives_the_io_apic_its_id(bench: Bench) -> None:
    bench.write(IO_APIC, 0)
    assert bench.memory.read(IO_APIC + 0x10, 4)[3] == IO_APIC_ID


def test_without_apics_nobody_answers_there_and_the_8259_is_the_processors() -> None:
    bench = Bench(apic=False)
    assert bench.board.apics is None
    assert bench.memory.read(LOCAL_APIC + r.VERSION, 4) == b"\xff" * 4
    bench.set_up_pic()
    bench.board._irq(4).set_level(True)
    assert bench.board.intr is bench.board.pic.output
    assert bench.board.acknowledge() == 0x24
    bench.board.nmi()
    assert bench.nmis == 1
