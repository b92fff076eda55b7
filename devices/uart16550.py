"""National Semiconductor PC16550D UART ("the serial port"), polled and interrupt driven.

A byte leaves THR in zero guest time. On the receive side the host's queue is unbounded and refills the
FIFO as the guest reads, so the line never overruns; only loop-back can.

The interrupt pin is not gated by OUT2, as little as in other virtual machines: small systems written
for those enable interrupts and leave OUT2 alone.

Not modelled: the time bits take (but for the receive time-out), parity and framing errors, DMA mode,
sending a break.

Sources:
  [16550D] PC16550D data sheet, National Semiconductor, June 1995.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from devices.backplane import Clock, DeviceState, IrqLine, Timer
from devices.isa import byte_bank, ignored

# Register offsets, [16550D] table I
RBR: Final = 0  # read; DLL when DLAB
THR: Final = 0  # write; DLL when DLAB
IER: Final = 1  # DLM when DLAB
IIR: Final = 2  # read
FCR: Final = 2  # write
LCR: Final = 3
MCR: Final = 4
LSR: Final = 5
MSR: Final = 6
SCR: Final = 7

IER_RX: Final = 0x01
IER_THRE: Final = 0x02
IER_LINE: Final = 0x04
IER_MODEM: Final = 0x08
IER_WRITABLE: Final = 0x0F

# Interrupt identification, [16550D] table III, highest priority first
IIR_LINE: Final = 0x06
IIR_RX: Final = 0x04
IIR_TIMEOUT: Final = 0x0C
IIR_THRE: Final = 0x02
IIR_MODEM: Final = 0x00
IIR_NONE: Final = 0x01
IIR_FIFOS: Final = 0xC0

FCR_ENABLE: Final = 0x01
FCR_CLEAR_RX: Final = 0x02
FCR_TRIGGER_SHIFT: Final = 6
TRIGGER_LEVELS: Final = (1, 4, 8, 14)

LCR_DLAB: Final = 0x80
LCR_PARITY: Final = 0x08
LCR_STOP: Final = 0x04
LCR_LENGTH: Final = 0x03
MCR_DTR: Final = 0x01
MCR_RTS: Final = 0x02
MCR_OUT1: Final = 0x04
MCR_OUT2: Final = 0x08
MCR_LOOP: Final = 0x10
MCR_WRITABLE: Final = 0x1F

LSR_DR: Final = 0x01
LSR_OE: Final = 0x02
LSR_BI: Final = 0x10
LSR_THRE: Final = 0x20
LSR_TEMT: Final = 0x40
LSR_FIFO_ERROR: Final = 0x80
LSR_ERRORS: Final = 0x1E

# Modem status: the inputs in the upper half, what changed in the lower
MSR_TERI: Final = 0x04
MSR_CTS: Final = 0x10
MSR_DSR: Final = 0x20
MSR_RI: Final = 0x40
MSR_DCD: Final = 0x80
MSR_CONNECTED: Final = MSR_CTS | MSR_DSR | MSR_DCD

FIFO_BYTES: Final = 16
BREAK: Final = 0x100  # marks a break among the characters of the FIFO
INPUT_HZ: Final = 1_843_200
CLOCKS_PER_BIT: Final = 16
TIMEOUT_CHARACTERS: Final = 4
NS_PER_S: Final = 1_000_000_000


class Uart16550State(DeviceState, frozen=True, kw_only=True):
    """Registers and characters under way; `host` are those the FIFO had no room for."""

    ier: int
    fifos: bool
    trigger: int
    lcr: int
    mcr: int
    errors: int
    modem_inputs: int
    modem_changes: int
    scratch: int
    divisor: int
    thre_pending: bool
    timed_out: bool
    timeout_ns: int
    fifo: tuple[int, ...]
    host: tuple[int, ...]


class Uart16550:
    """One UART: `ports` on the guest's side, `receive` and `send` on the host's."""

    def __init__(self, clock: Clock, irq: IrqLine, send: Callable[[int], None], name: str = "uart") -> None:
        self.name = name
        self._clock = clock
        self._irq = irq
        self._send = send
        self._timer: Timer | None = None
        self._fifo: deque[int] = deque()
        self._host: deque[int] = deque()
        self._modem_inputs = MSR_CONNECTED
        self.ports = byte_bank(
            name,
            (
                self._read_rbr, self._read_ier, self._read_iir, lambda: self._lcr,
                lambda: self._mcr, self._read_lsr, self._read_msr, lambda: self._scratch,
            ),
            (
                self._write_thr, self._write_ier, self._write_fcr, self._write_lcr,
                self._write_mcr, ignored, ignored, self._write_scratch,
            ),
        )  # fmt: skip
        self.reset()

    def reset(self) -> None:
        """Master reset, [16550D] table II. What was received and not read is lost."""
        self._ier = self._lcr = self._mcr = self._errors = 0
        self._modem_changes = self._scratch = 0
        self._fifos = False
        self._trigger = 1
        self._divisor = 0
        self._thre_pending = False
        self._fifo.clear()
        self._host.clear()
        self._refill()

    def save(self) -> Uart16550State:
        """Return the state."""
        return Uart16550State(
            ier=self._ier,
            fifos=self._fifos,
            trigger=self._trigger,
            lcr=self._lcr,
            mcr=self._mcr,
            errors=self._errors,
            modem_inputs=self._modem_inputs,
            modem_changes=self._modem_changes,
            scratch=self._scratch,
            divisor=self._divisor,
            thre_pending=self._thre_pending,
            timed_out=self._timed_out,
            timeout_ns=self._timeout_ns,
            fifo=tuple(self._fifo),
            host=tuple(self._host),
        )

    def load(self, state: DeviceState) -> None:
        """Become `state`, drive the line and go on waiting for the receive time-out."""
        saved = msgspec.convert(state, Uart16550State)
        self._ier, self._lcr, self._mcr = saved.ier, saved.lcr, saved.mcr
        self._fifos, self._trigger = saved.fifos, saved.trigger
        self._errors = saved.errors
        self._modem_inputs, self._modem_changes = saved.modem_inputs, saved.modem_changes
        self._scratch, self._divisor = saved.scratch, saved.divisor
        self._thre_pending = saved.thre_pending
        self._fifo, self._host = deque(saved.fifo), deque(saved.host)
        self._stop_timeout()
        self._timed_out = saved.timed_out
        if saved.timeout_ns >= 0:
            self._await_timeout(saved.timeout_ns)
        self._update_irq()

    # The host's side

    def receive(self, data: bytes) -> None:
        """Let `data` arrive on the line."""
        self._host.extend(data)
        self._refill()

    def receive_break(self) -> None:
        """Let a break arrive: a NUL character with BI set in LSR."""
        self._host.append(BREAK)
        self._refill()

    def set_modem_inputs(self, inputs: int) -> None:
        """Drive CTS, DSR, RI and DCD, as `MSR_` bits; a terminal connected is the initial state."""
        old = self._modem_status()
        self._modem_inputs = inputs & 0xF0
        self._note_modem_changes(old)
        self._update_irq()

    @property
    def unread(self) -> int:
        """Number of characters received that the guest has not read."""
        return len(self._host) + len(self._fifo)

    # Receiving

    def _refill(self) -> None:
        """Move characters from the line to the FIFO; whatever happened, the time-out starts anew."""
        fifo, host = self._fifo, self._host
        if host and not self._mcr & MCR_LOOP:
            was_empty = not fifo
            depth = FIFO_BYTES if self._fifos else 1
            while host and len(fifo) < depth:
                fifo.append(host.popleft())
            if was_empty:
                self._note_head()
        self._restart_timeout()
        self._update_irq()

    def _note_head(self) -> None:
        """Show in LSR the error of the character that comes to the top, [16550D] "LSR"."""
        if self._fifo and self._fifo[0] & BREAK:
            self._errors |= LSR_BI

    def _restart_timeout(self) -> None:
        self._stop_timeout()
        if self._fifos and self._ier & IER_RX and 0 < len(self._fifo) < self._trigger:
            self._await_timeout(self._clock.now_ns() + TIMEOUT_CHARACTERS * self._character_ns())

    def _stop_timeout(self) -> None:
        self._timed_out = False
        self._timeout_ns = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _await_timeout(self, deadline_ns: int) -> None:
        self._timeout_ns = deadline_ns
        self._timer = self._clock.at(deadline_ns, self._on_timeout, f"{self.name} receive time-out")

    def _on_timeout(self) -> None:
        self._timer = None
        self._timeout_ns = -1
        self._timed_out = True
        self._update_irq()

    def _character_ns(self) -> int:
        """Return the time of a character: start, data, parity and stop bits at the divided clock."""
        bits = 7 + (self._lcr & LCR_LENGTH) + bool(self._lcr & LCR_PARITY) + bool(self._lcr & LCR_STOP)
        return bits * CLOCKS_PER_BIT * (self._divisor or 1) * NS_PER_S // INPUT_HZ

    # Interrupts

    def _interrupt(self) -> int:
        """Return the IIR code of the most urgent enabled interrupt."""
        ier = self._ier
        if ier & IER_LINE and self._errors:
            return IIR_LINE
        if ier & IER_RX and self._fifo:
            if len(self._fifo) >= self._trigger or not self._fifos:
                return IIR_RX
            if self._timed_out:
                return IIR_TIMEOUT
        if ier & IER_THRE and self._thre_pending:
            return IIR_THRE
        if ier & IER_MODEM and self._modem_changes:
            return IIR_MODEM
        return IIR_NONE

    def _update_irq(self) -> None:
        self._irq.set_level(self._ier != 0 and self._interrupt() != IIR_NONE)

    # Registers

    def _read_rbr(self) -> int:
        if self._lcr & LCR_DLAB:
            return self._divisor & 0xFF
        if not self._fifo:
            return 0
        character = self._fifo.popleft()
        self._note_head()
        self._restart_timeout()
        self._update_irq()
        if not self._fifo and self._host:  # the line has fallen: the controller sees what comes now
            self._refill()
        return character & 0xFF

    def _write_thr(self, value: int) -> None:
        """Send a byte at once, so that THR is empty again before the guest looks."""
        if self._lcr & LCR_DLAB:
            self._divisor = self._divisor & 0xFF00 | value
            return
        if self._thre_pending:  # to write THR resets the interrupt, [16550D] table III
            self._thre_pending = False
            if self._ier:
                self._update_irq()
        if self._mcr & MCR_LOOP:
            self._loop_back(value)
        else:
            self._send(value)
        self._thre_pending = True
        if self._ier:
            self._update_irq()

    def _loop_back(self, value: int) -> None:
        """Receive what is sent; with no room left the character is lost, [16550D] "LSR" bit 1."""
        if self._fifos and len(self._fifo) == FIFO_BYTES:
            self._errors |= LSR_OE
            return
        if not self._fifos and self._fifo:
            self._errors |= LSR_OE
            self._fifo.clear()
        self._fifo.append(value)
        self._restart_timeout()

    def _read_ier(self) -> int:
        return self._divisor >> 8 if self._lcr & LCR_DLAB else self._ier

    def _write_ier(self, value: int) -> None:
        """Enable interrupts; enabling THRE with THR empty, which it always is, raises it at once."""
        if self._lcr & LCR_DLAB:
            self._divisor = self._divisor & 0x00FF | value << 8
            return
        enabled = value & ~self._ier
        self._ier = value & IER_WRITABLE
        if enabled & IER_THRE:
            self._thre_pending = True
        if enabled & IER_RX:
            self._restart_timeout()
        self._update_irq()

    def _read_iir(self) -> int:
        """Read the most urgent interrupt; that clears THRE, if it is the one reported."""
        interrupt = self._interrupt()
        if interrupt == IIR_THRE:
            self._thre_pending = False
            self._update_irq()
        return interrupt | IIR_FIFOS if self._fifos else interrupt

    def _write_fcr(self, value: int) -> None:
        """Switch the FIFOs, which empties them; the other bits count only with FCR0 set."""
        enable = bool(value & FCR_ENABLE)
        if enable != self._fifos or value & FCR_CLEAR_RX:
            self._fifo.clear()
        self._fifos = enable
        self._trigger = TRIGGER_LEVELS[value >> FCR_TRIGGER_SHIFT] if enable else 1
        self._refill()

    def _write_lcr(self, value: int) -> None:
        self._lcr = value

    def _write_mcr(self, value: int) -> None:
        old = self._modem_status()
        self._mcr = value & MCR_WRITABLE
        self._note_modem_changes(old)
        self._refill()

    def _read_lsr(self) -> int:
        """Read the line status, which clears the errors."""
        status = LSR_THRE | LSR_TEMT | self._errors
        if self._fifo:
            status |= LSR_DR
            if self._fifos and max(self._fifo) >= BREAK:
                status |= LSR_FIFO_ERROR
        if self._errors:
            self._errors = 0
            self._update_irq()
        return status

    def _read_msr(self) -> int:
        """Read the modem status, which clears the changes."""
        status = self._modem_status() | self._modem_changes
        if self._modem_changes:
            self._modem_changes = 0
            self._update_irq()
        return status

    def _modem_status(self) -> int:
        """Return the modem inputs, which in loop-back are the outputs, [16550D] "MCR" bit 4."""
        mcr = self._mcr
        if not mcr & MCR_LOOP:
            return self._modem_inputs
        return (mcr & MCR_RTS) << 3 | (mcr & MCR_DTR) << 5 | (mcr & (MCR_OUT1 | MCR_OUT2)) << 4

    def _note_modem_changes(self, old: int) -> None:
        """Set DCTS, DDSR and DDCD for inputs that moved, TERI for RI when it fell."""
        new = self._modem_status()
        changed = (old ^ new) & MSR_CONNECTED
        self._modem_changes |= changed >> 4 | (MSR_TERI if old & ~new & MSR_RI else 0)

    def _write_scratch(self, value: int) -> None:
        self._scratch = value
