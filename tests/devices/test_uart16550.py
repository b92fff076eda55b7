"""PC16550D behaviour, one data-sheet sentence per test."""

from collections.abc import Callable

import pytest

from devices import uart16550 as u
from devices.backplane import IrqLine
from devices.pic8259 import Pic8259Pair
from tests.devices.timed_rig import TimedRig
from vmm.clock import MachineClock


class Rig(TimedRig):
    """A UART on a bench: probes on its interrupt pin and its line, registers by offset."""

    def __init__(self, clock: MachineClock | None = None) -> None:
        super().__init__(clock)
        self.sent = bytearray()
        self.uart = u.Uart16550(self.clock, self.line, self.sent.append, "com1")

    def read(self, register: int) -> int:
        return self.uart.ports.read(register, 1)

    def write(self, register: int, value: int) -> None:
        self.uart.ports.write(register, 1, value)

    def set_divisor(self, divisor: int, line: int = 0x03) -> None:
        self.write(u.LCR, u.LCR_DLAB)
        self.uart.ports.write(0, 2, divisor)
        self.write(u.LCR, line)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def fifo_rig(rig: Rig) -> Rig:
    """FIFOs on, trigger at 8, receive interrupts on, 115200 baud, 8 data bits."""
    rig.set_divisor(1)
    rig.write(u.FCR, 0x81)
    rig.write(u.IER, u.IER_RX)
    return rig


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(clock)
    rig.set_divisor(12)
    exercises = [
        lambda: rig.write(u.FCR, 0xC1),
        lambda: rig.write(u.IER, 0x0F),
        lambda: rig.uart.receive(b"abc"),  # below the trigger: a time-out under way
        rig.uart.receive_break,
        lambda: rig.uart.receive(b"x" * 40),  # more than the FIFO holds
        lambda: rig.write(u.MCR, u.MCR_LOOP),
        lambda: rig.write(u.LCR, 0x9F),
    ]
    return rig.uart, [(rig.uart.ports, 8)], exercises


CONTRACT = [("uart16550", make_for_contract)]


def test_write_to_thr_sends_one_byte(rig: Rig) -> None:
    rig.write(u.THR, 0x41)
    assert rig.sent == b"A"


def test_dlab_opens_the_divisor_latches(rig: Rig) -> None:
    rig.set_divisor(0x1234)
    rig.write(u.LCR, u.LCR_DLAB)
    assert rig.uart.ports.read(0, 2) == 0x1234
    assert rig.sent == b""
    rig.write(u.LCR, 0)
    assert rig.read(u.IER) == 0


def test_transmitter_is_always_empty(rig: Rig) -> None:
    rig.write(u.THR, 0x41)
    assert rig.read(u.LSR) == u.LSR_THRE | u.LSR_TEMT


def test_received_byte_sets_data_ready_until_read(rig: Rig) -> None:
    rig.uart.receive(b"x")
    assert rig.read(u.LSR) & u.LSR_DR
    assert rig.read(u.RBR) == ord("x")
    assert not rig.read(u.LSR) & u.LSR_DR


def test_enabling_thre_interrupts_raises_one_at_once(rig: Rig) -> None:
    rig.write(u.IER, u.IER_THRE)
    assert rig.irq


def test_reading_iir_clears_the_thre_interrupt_it_reports(rig: Rig) -> None:
    rig.write(u.IER, u.IER_THRE)
    assert rig.read(u.IIR) == u.IIR_THRE
    assert rig.read(u.IIR) == u.IIR_NONE
    assert rig.edges == [True, False]


def test_reading_iir_keeps_thre_while_it_reports_something_more_urgent(rig: Rig) -> None:
    rig.uart.receive(b"x")
    rig.write(u.IER, u.IER_THRE | u.IER_RX)
    assert rig.read(u.IIR) == u.IIR_RX
    rig.read(u.RBR)
    assert rig.read(u.IIR) == u.IIR_THRE


def test_each_byte_sent_raises_thre_again(rig: Rig) -> None:
    rig.write(u.IER, u.IER_THRE)
    rig.read(u.IIR)
    rig.write(u.THR, 0x41)
    assert rig.edges == [True, False, True]


def test_disabled_interrupts_keep_the_pin_low(rig: Rig) -> None:
    rig.uart.receive(b"x")
    rig.write(u.THR, 0x41)
    assert not rig.irq


def test_only_four_interrupt_enables_exist(rig: Rig) -> None:
    rig.write(u.IER, 0xFF)
    assert rig.read(u.IER) == 0x0F


@pytest.mark.parametrize(("fcr", "level"), [(0x01, 1), (0x41, 4), (0x81, 8), (0xC1, 14)])
def test_receive_interrupt_comes_at_the_trigger_level(rig: Rig, fcr: int, level: int) -> None:
    rig.write(u.FCR, fcr)
    rig.write(u.IER, u.IER_RX)
    rig.uart.receive(b"x" * (level - 1))
    assert not rig.irq
    rig.uart.receive(b"x")
    assert rig.read(u.IIR) == u.IIR_FIFOS | u.IIR_RX


def test_characters_left_below_the_trigger_time_out_after_four_character_times(fifo_rig: Rig) -> None:
    fifo_rig.uart.receive(b"abc")
    fifo_rig.advance(347_000)  # four characters of ten bits at 115200 take 347,222 ns
    assert not fifo_rig.irq
    fifo_rig.advance(1_000)
    assert fifo_rig.read(u.IIR) == u.IIR_FIFOS | u.IIR_TIMEOUT


def test_reading_a_character_clears_the_time_out_and_starts_it_anew(fifo_rig: Rig) -> None:
    fifo_rig.uart.receive(b"abc")
    fifo_rig.advance(400_000)
    fifo_rig.read(u.RBR)
    assert not fifo_rig.irq
    fifo_rig.advance(400_000)
    assert fifo_rig.irq


def test_the_host_queue_refills_the_fifo_without_overrun(fifo_rig: Rig) -> None:
    text = bytes(range(100))
    fifo_rig.uart.receive(text)
    received = bytes(fifo_rig.read(u.RBR) for _ in text)
    assert received == text
    assert fifo_rig.read(u.LSR) == u.LSR_THRE | u.LSR_TEMT
    assert fifo_rig.uart.unread == 0


def test_iir_shows_the_fifos_of_a_16550a(rig: Rig) -> None:
    rig.write(u.FCR, u.FCR_ENABLE)
    assert rig.read(u.IIR) >> 6 == 3
    rig.write(u.FCR, 0)
    assert rig.read(u.IIR) >> 6 == 0


def test_switching_the_fifos_empties_them(rig: Rig) -> None:
    rig.uart.receive(b"x")
    rig.write(u.FCR, u.FCR_ENABLE)
    assert not rig.read(u.LSR) & u.LSR_DR


def test_a_break_is_a_nul_with_bi_until_lsr_is_read(fifo_rig: Rig) -> None:
    fifo_rig.write(u.IER, u.IER_RX | u.IER_LINE)
    fifo_rig.uart.receive_break()
    assert fifo_rig.read(u.IIR) == u.IIR_FIFOS | u.IIR_LINE
    assert fifo_rig.read(u.LSR) & (u.LSR_BI | u.LSR_FIFO_ERROR) == u.LSR_BI | u.LSR_FIFO_ERROR
    assert not fifo_rig.read(u.LSR) & u.LSR_BI
    assert fifo_rig.read(u.RBR) == 0


def test_a_break_behind_other_characters_shows_when_it_comes_to_the_top(fifo_rig: Rig) -> None:
    fifo_rig.uart.receive(b"a")
    fifo_rig.uart.receive_break()
    assert not fifo_rig.read(u.LSR) & u.LSR_BI
    fifo_rig.read(u.RBR)
    assert fifo_rig.read(u.LSR) & u.LSR_BI


def test_loop_back_receives_what_is_sent_and_sends_nothing(rig: Rig) -> None:
    rig.write(u.MCR, u.MCR_LOOP)
    rig.write(u.THR, 0xAE)
    assert rig.read(u.RBR) == 0xAE
    assert rig.sent == b""


def test_loop_back_overruns(rig: Rig) -> None:
    rig.write(u.MCR, u.MCR_LOOP)
    rig.write(u.THR, 1)
    rig.write(u.THR, 2)
    assert rig.read(u.LSR) & u.LSR_OE
    assert rig.read(u.RBR) == 2


def test_loop_back_keeps_the_line_waiting(rig: Rig) -> None:
    rig.write(u.MCR, u.MCR_LOOP)
    rig.uart.receive(b"x")
    assert not rig.read(u.LSR) & u.LSR_DR
    rig.write(u.MCR, 0)
    assert rig.read(u.RBR) == ord("x")


@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [(u.MCR_RTS, u.MSR_CTS), (u.MCR_DTR, u.MSR_DSR), (u.MCR_OUT1, u.MSR_RI), (u.MCR_OUT2, u.MSR_DCD)],
)
def test_loop_back_feeds_the_modem_outputs_to_the_inputs(rig: Rig, outputs: int, inputs: int) -> None:
    rig.write(u.MCR, u.MCR_LOOP | outputs)
    assert rig.read(u.MSR) & 0xF0 == inputs


def test_modem_changes_interrupt_until_msr_is_read(rig: Rig) -> None:
    rig.write(u.IER, u.IER_MODEM)
    rig.uart.set_modem_inputs(u.MSR_DSR | u.MSR_DCD)
    assert rig.read(u.IIR) == u.IIR_MODEM
    assert rig.read(u.MSR) == u.MSR_DSR | u.MSR_DCD | u.MSR_CTS >> 4
    assert not rig.irq


def test_only_the_end_of_ringing_is_reported(rig: Rig) -> None:
    rig.uart.set_modem_inputs(u.MSR_CONNECTED | u.MSR_RI)
    assert rig.read(u.MSR) & 0x0F == 0
    rig.uart.set_modem_inputs(u.MSR_CONNECTED)
    assert rig.read(u.MSR) & 0x0F == u.MSR_TERI


def test_scratch_register_holds_its_byte(rig: Rig) -> None:
    rig.write(u.SCR, 0x5A)
    assert rig.read(u.SCR) == 0x5A


def test_load_drives_the_interrupt_pin(rig: Rig) -> None:
    rig.write(u.IER, u.IER_THRE)
    twin = Rig()
    twin.uart.load(rig.uart.save())
    assert twin.irq


def test_linux_autoconfiguration_finds_a_16550a(rig: Rig) -> None:
    """The probes of drivers/tty/serial/8250/8250_port.c, autoconfig() and what it calls."""
    rig.write(u.IER, 0)
    assert rig.read(u.IER) & 0x0F == 0
    rig.write(u.IER, 0x0F)
    assert rig.read(u.IER) & 0x0F == 0x0F
    rig.write(u.IER, 0)
    rig.write(u.MCR, u.MCR_LOOP | 0x0A)
    assert rig.read(u.MSR) & 0xF0 == 0x90
    rig.write(u.MCR, 0)
    rig.write(u.FCR, u.FCR_ENABLE)
    assert rig.read(u.IIR) >> 6 == 3
    for lcr in (0x80, 0xBF):  # the extended feature register of a 16650 would read 0
        rig.write(u.LCR, lcr)
        assert rig.read(u.IIR) != 0
    rig.write(u.LCR, 0)
    rig.write(u.FCR, 0x21)  # a 16750 would show its 64-byte FIFO
    assert rig.read(u.IIR) >> 5 == 6


class Board(Rig):
    """The UART on IRQ 4 of an 8259A pair: edges are what counts."""

    def __init__(self) -> None:
        super().__init__()
        self.uart = u.Uart16550(
            self.clock, IrqLine(lambda level: self.pic.set_irq(4, level)), self.sent.append, "com1"
        )
        self.pic = Pic8259Pair(IrqLine(lambda level: None))
        for offset, value in ((0, 0x11), (1, 8), (1, 4), (1, 1), (1, 0)):
            self.pic.master_ports.write(offset, 1, value)

    def interrupts(self, handler: Callable[[], None]) -> int:
        """Serve interrupts with `handler` until there are none; return how many there were."""
        count = 0
        while count < 100:
            if not self.pic.output.level:
                self.advance(100_000_000)
                if not self.pic.output.level:
                    break
            assert self.pic.acknowledge() == 12
            count += 1
            handler()
            self.pic.master_ports.write(0, 1, 0x20)
        return count


def test_writing_thr_ends_its_interrupt_so_that_the_next_one_is_an_edge() -> None:
    board = Board()
    text = bytearray(b"HELLO")

    def send_one_without_reading_iir() -> None:
        if text:
            board.write(u.THR, text.pop(0))
        else:
            board.write(u.IER, 0)

    board.write(u.IER, u.IER_THRE)

    assert board.interrupts(send_one_without_reading_iir) == 6
    assert board.sent == b"HELLO"


@pytest.mark.parametrize(("fcr", "most"), [(0x00, 1), (0x00, 14), (0x01, 16), (0x81, 14), (0xC1, 14)])
def test_what_a_handler_leaves_below_the_trigger_interrupts_again(fcr: int, most: int) -> None:
    board = Board()
    received = bytearray()

    def read_some() -> None:
        for _ in range(most):
            if board.read(u.LSR) & u.LSR_DR:
                received.append(board.read(u.RBR))

    board.write(u.FCR, fcr)
    board.write(u.IER, u.IER_RX)
    board.uart.receive(bytes(range(50)))
    board.interrupts(read_some)

    assert received == bytes(range(50))


def test_enabling_the_interrupt_with_characters_waiting_starts_the_time_out(rig: Rig) -> None:
    rig.write(u.FCR, 0xC1)
    rig.uart.receive(b"abc")
    rig.advance(1_000_000_000)
    assert not rig.irq

    rig.write(u.IER, u.IER_RX)
    assert not rig.irq
    rig.advance(1_000_000_000)

    assert rig.irq
    assert rig.read(u.IIR) & 0x0F == u.IIR_TIMEOUT
