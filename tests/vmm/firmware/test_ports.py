"""INT 14h, INT 17h and INT 5: serial ports and printers."""

from __future__ import annotations

import pytest

from devices.backplane import IrqLine, PortBank, PortRange
from devices.uart16550 import Uart16550
from tests.vmm.firmware.rig import Rig
from vmm.clock import MachineClock, ManualTime

COM1, LPT1 = 0x3F8, 0x378


class Serial:
    """The firmware and a real UART at COM1."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.rig = Rig(power_on=False)
        self.uart = Uart16550(MachineClock(ManualTime()), IrqLine(lambda _: None), self.sent.append, "com1")
        self.rig.bus.attach(self.uart.ports, PortRange(COM1, 8))
        self.rig.call(0xF0)

    def register(self, offset: int) -> int:
        return self.rig.bus.read(COM1 + offset, 1)


def test_power_on_finds_the_port_and_its_timeout() -> None:
    rig = Serial().rig
    assert (rig.bda.word(0), rig.bda.word(2), rig.bda.byte(0x7C)) == (COM1, 0, 1)
    assert rig.bda.word(0x10) >> 9 & 7 == 1


def test_initialization_sets_rate_and_format() -> None:
    serial = Serial()
    serial.rig.call(0x14, ax=0x00E3, dx=0)  # 9600, no parity, one stop bit, eight bits
    assert serial.register(3) == 0x03
    serial.rig.bus.write(COM1 + 3, 1, 0x83)
    assert (serial.register(0), serial.register(1)) == (12, 0)
    assert serial.rig.reg("ah") & 0x60 == 0x60


def test_extended_initialization_reaches_19200_and_even_parity() -> None:
    serial = Serial()
    serial.rig.call(0x14, ax=0x0400, bx=0x0201, cx=0x0208, dx=0)
    assert serial.register(3) == 0x02 | 0x18 | 0x04
    serial.rig.bus.write(COM1 + 3, 1, 0x80)
    assert serial.register(0) == 6


def test_send_raises_dtr_and_rts_and_keeps_the_character() -> None:
    serial = Serial()
    serial.rig.call(0x14, ax=0x0141, dx=0)
    assert serial.sent == b"A"
    assert serial.register(4) & 3 == 3
    assert (serial.rig.reg("al"), serial.rig.reg("ah") & 0x80) == (0x41, 0)


def test_send_without_anybody_times_out_after_a_second() -> None:
    serial = Serial()
    serial.uart.set_modem_inputs(0)
    serial.rig.call(0x14, ax=0x0141, dx=0)
    assert serial.rig.verdict == 2
    serial.rig.time.value_ns += 999_000_000
    serial.rig.call(0x14, verdict=2, ax=0x0141, dx=0)
    assert serial.rig.verdict == 2
    serial.rig.time.value_ns += 1_000_000
    serial.rig.call(0x14, verdict=2, ax=0x0141, dx=0)
    assert (serial.rig.verdict, serial.rig.reg("ah") & 0x80) == (0, 0x80)
    assert serial.sent == b""


def test_receive_waits_for_a_byte() -> None:
    serial = Serial()
    serial.rig.call(0x14, ax=0x0200, dx=0)
    assert serial.rig.verdict == 2
    serial.uart.receive(b"Z")
    serial.rig.call(0x14, verdict=2, ax=0x0200, dx=0)
    assert (serial.rig.verdict, serial.rig.reg("al"), serial.rig.reg("ah")) == (0, 0x5A, 0)


def test_status_is_line_and_modem_status() -> None:
    serial = Serial()
    serial.uart.receive(b"Z")
    serial.rig.call(0x14, ax=0x0300, dx=0)
    assert (serial.rig.reg("ah"), serial.rig.reg("al")) == (0x61, 0xB0)


def test_modem_control_is_read_and_written() -> None:
    serial = Serial()
    serial.rig.call(0x14, ax=0x0501, bx=0x00FF, dx=0)
    assert serial.register(4) == 0x1F
    serial.rig.call(0x14, ax=0x0500, bx=0, dx=0)
    assert serial.rig.reg("bl") == 0x1F


@pytest.mark.parametrize("vector", [0x14, 0x17])
def test_port_that_is_not_there_changes_nothing(vector: int) -> None:
    rig = Rig()
    rig.call(vector, ax=0x0141, dx=0)
    rig.call(vector, ax=0x0141, dx=0xFFFF)
    assert rig.reg("ax") == 0x0141


class Printer:
    """A parallel port with a printer that takes a character when STROBE rises."""

    def __init__(self) -> None:
        self.printed = bytearray()
        self.status = 0xDF
        self.data = self.control = 0
        self.inits = 0
        self.rig = Rig(power_on=False)
        self.rig.bus.attach(PortBank("lpt", self._read, self._write), PortRange(LPT1, 3))
        self.rig.call(0xF0)

    def _read(self, offset: int, size: int) -> int:
        return (self.data, self.status, self.control)[offset]

    def _write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self.data = value
        elif offset == 2:
            if value & ~self.control & 1:
                self.printed.append(self.data)
            self.inits += not value & 4
            self.control = value


def test_power_on_finds_the_printer_port_and_prints_nothing() -> None:
    printer = Printer()
    rig = printer.rig
    assert (rig.bda.word(8), rig.bda.word(0x0A), rig.bda.byte(0x78)) == (LPT1, 0, 20)
    assert rig.bda.word(0x10) >> 14 == 1
    assert printer.printed == b""


def test_print_strobes_one_character() -> None:
    printer = Printer()
    printer.rig.call(0x17, ax=0x0041, dx=0)
    assert printer.printed == b"A"
    assert (printer.rig.reg("ah"), printer.control & 1) == (0x90, 0)  # not busy, selected


def test_initialization_pulses_init() -> None:
    printer = Printer()
    printer.rig.call(0x17, ax=0x0100, dx=0)
    assert (printer.inits, printer.control & 4, printer.rig.reg("ah")) == (1, 4, 0x90)


def test_busy_printer_times_out() -> None:
    printer = Printer()
    printer.status = 0x5F
    printer.rig.call(0x17, ax=0x0041, dx=0)
    assert printer.rig.verdict == 2
    printer.rig.time.value_ns += 20_000_000_000
    printer.rig.call(0x17, verdict=2, ax=0x0041, dx=0)
    assert (printer.rig.verdict, printer.rig.reg("ah") & 1) == (0, 1)
    assert printer.printed == b""


def test_print_screen_prints_each_row_as_a_line() -> None:
    printer = Printer()
    printer.rig.call(0x05)
    lines = printer.printed.decode("cp437").split("\r\n")
    assert lines[1].rstrip() == "Trapline BIOS, 4096 KiB of memory"
    assert (len(lines), len(lines[1])) == (27, 80)
    assert printer.rig.memory.read(0x500, 1) == b"\x00"


def test_print_screen_waits_for_the_printer_and_goes_on() -> None:
    printer = Printer()
    printer.status = 0x5F
    printer.rig.call(0x05)
    assert (printer.rig.verdict, printer.rig.memory.read(0x500, 1)) == (2, b"\x01")
    printer.status = 0xDF
    printer.rig.call(0x05, verdict=2)
    assert (printer.rig.verdict, printer.rig.memory.read(0x500, 1)) == (0, b"\x00")
    assert len(printer.printed) == 25 * 82 + 2


@pytest.mark.parametrize("status", [0xFF, 0xD7], ids=["out of paper", "error"])
def test_print_screen_gives_up_at_a_printer_in_trouble(status: int) -> None:
    printer = Printer()
    printer.status = status
    printer.rig.call(0x05)
    assert (printer.rig.verdict, printer.rig.memory.read(0x500, 1)) == (0, b"\xff")


def test_print_screen_without_a_printer_fails() -> None:
    rig = Rig()
    rig.call(0x05)
    assert rig.memory.read(0x500, 1) == b"\xff"
