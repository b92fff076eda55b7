"""The parallel port: the strobe, the printer's answers, the interrupt."""

from __future__ import annotations

import pytest

from devices import parallel as p
from devices.backplane import IrqLine
from tests.devices.timed_rig import TimedRig
from vmm.clock import MachineClock

DATA, STATUS, CONTROL = 0, 1, 2


class Rig(TimedRig):
    """A port with a printer."""

    def __init__(self) -> None:
        super().__init__()
        self.printed = bytearray()
        self.port = p.ParallelPort(self.clock, self.line, self.printed.append)

    def read(self, offset: int) -> int:
        return self.port.ports.read(offset, 1)

    def write(self, offset: int, value: int) -> None:
        self.port.ports.write(offset, 1, value)

    def print(self, byte: int, control: int = p.RESET_CONTROL) -> None:
        self.write(DATA, byte)
        self.write(CONTROL, control | p.STROBE)
        self.write(CONTROL, control)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_an_idle_printer_is_ready_and_selected(rig: Rig) -> None:
    assert rig.read(STATUS) == 0xDF


def test_the_data_register_reads_back(rig: Rig) -> None:
    rig.write(DATA, 0xA5)
    assert rig.read(DATA) == 0xA5


def test_the_control_register_reads_back_with_its_unused_bits_set(rig: Rig) -> None:
    rig.write(CONTROL, 0x00)
    assert rig.read(CONTROL) == 0xC0
    rig.write(CONTROL, 0xFF)
    assert rig.read(CONTROL) == 0xFF


def test_a_strobe_prints_the_byte_once(rig: Rig) -> None:
    rig.print(0x41)
    assert rig.printed == b"A"


def test_a_strobe_held_prints_nothing_more(rig: Rig) -> None:
    rig.write(DATA, 0x41)
    rig.write(CONTROL, p.RESET_CONTROL | p.STROBE)
    rig.advance(p.BUSY_NS)
    rig.write(CONTROL, p.RESET_CONTROL | p.STROBE | p.IRQ_ENABLE)
    assert rig.printed == b"A"


@pytest.mark.parametrize("control", [p.NOT_INIT, p.SELECT_IN])
def test_a_printer_not_selected_or_being_initialized_takes_nothing(rig: Rig, control: int) -> None:
    rig.print(0x41, control)
    assert rig.printed == b""


def test_busy_then_acknowledge_then_ready(rig: Rig) -> None:
    rig.print(0x41)
    assert rig.read(STATUS) == 0x5F
    rig.advance(p.BUSY_NS - p.ACK_NS)
    assert rig.read(STATUS) == 0x1F
    rig.advance(p.ACK_NS)
    assert rig.read(STATUS) == 0xDF


def test_a_byte_for_a_busy_printer_is_lost(rig: Rig) -> None:
    rig.print(0x41)
    rig.print(0x42)
    assert rig.printed == b"A"


def test_the_acknowledge_interrupts_if_enabled(rig: Rig) -> None:
    rig.print(0x41, p.RESET_CONTROL | p.IRQ_ENABLE)
    assert rig.edges == []
    rig.advance(p.BUSY_NS - p.ACK_NS)
    assert rig.edges == [True]
    rig.advance(p.ACK_NS)
    assert rig.edges == [True, False]


def test_without_its_enable_bit_there_is_no_interrupt(rig: Rig) -> None:
    rig.print(0x41)
    rig.advance(p.BUSY_NS)
    assert rig.edges == []


def test_without_a_printer_the_lines_float_and_nothing_is_printed() -> None:
    rig = Rig()
    port = p.ParallelPort(rig.clock, rig.line)
    assert port.ports.read(STATUS, 1) == 0x7F
    port.ports.write(CONTROL, 1, p.RESET_CONTROL | p.STROBE)
    assert port.ports.read(STATUS, 1) == 0x7F


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    port = p.ParallelPort(clock, IrqLine(lambda level: None), lambda byte: None)
    exercises = [
        lambda: port.ports.write(DATA, 1, 0x41),
        lambda: port.ports.write(CONTROL, 1, p.RESET_CONTROL | p.STROBE | p.IRQ_ENABLE),
    ]
    return port, [(port.ports, 3)], exercises


CONTRACT = [("parallel", make_for_contract)]
