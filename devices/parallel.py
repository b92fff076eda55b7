"""A parallel port with a printer at its end: data, status and control registers.

A rising STROBE with the printer initialized and selected hands it the data byte. It is then busy for
BUSY_NS and pulses ACK for ACK_NS at the end of that, which is the interrupt if the control register
lets it through. Without a printer the status lines float high, as at an open connector: busy, out of
paper, no acknowledge.

Not modelled: input through the data register (bit 5 of the control register is kept and has no
effect), EPP and ECP.

Sources:
  [PP] IBM Personal Computer AT Technical Reference, 1984, "Serial/Parallel Adapter": parallel port.
  [1284] IEEE 1284-1994, compatibility mode: the handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.backplane import Clock, DeviceState, IrqLine, Timer
from devices.isa import byte_bank, ignored

# Status register, [PP] "Printer status"
NOT_BUSY: Final = 0x80
NOT_ACK: Final = 0x40
PAPER_OUT: Final = 0x20
SELECTED: Final = 0x10
NO_ERROR: Final = 0x08
STATUS_ONES: Final = 0x07  # unused bits
OPEN_CONNECTOR: Final = NOT_ACK | PAPER_OUT | SELECTED | NO_ERROR | STATUS_ONES

# Control register, [PP] "Printer control"
STROBE: Final = 0x01
NOT_INIT: Final = 0x04
SELECT_IN: Final = 0x08
IRQ_ENABLE: Final = 0x10
CONTROL_ONES: Final = 0xC0
CONTROL_WRITABLE: Final = 0x3F
RESET_CONTROL: Final = NOT_INIT | SELECT_IN

BUSY_NS: Final = 10_000
ACK_NS: Final = 5_000


class ParallelState(DeviceState, frozen=True, kw_only=True):
    """Registers, and when the printer is done with its byte (0: it is ready)."""

    data: int
    control: int
    ready_ns: int


class ParallelPort:
    """One port of three registers. `printer` takes each byte; None: nothing is connected."""

    def __init__(
        self, clock: Clock, irq: IrqLine, printer: Callable[[int], None] | None = None, name: str = "lpt1"
    ) -> None:
        self.name = name
        self._clock, self._irq, self._printer = clock, irq, printer
        self._timer: Timer | None = None
        self.ports = byte_bank(
            name,
            (lambda: self._data, self._read_status, lambda: self._control | CONTROL_ONES),
            (self._write_data, ignored, self._write_control),
        )
        self.reset()

    def reset(self) -> None:
        """Power-on: the printer ready, its interrupt off."""
        self._data, self._control, self._ready_ns = 0, RESET_CONTROL, 0
        self._follow()

    def save(self) -> ParallelState:
        """Return the state."""
        return ParallelState(data=self._data, control=self._control, ready_ns=self._ready_ns)

    def load(self, state: DeviceState) -> None:
        """Become `state` and go on with the handshake."""
        saved = msgspec.convert(state, ParallelState)
        self._data, self._control, self._ready_ns = saved.data, saved.control, saved.ready_ns
        self._follow()

    def _read_status(self) -> int:
        if self._printer is None:
            return OPEN_CONNECTOR
        status = SELECTED | NO_ERROR | STATUS_ONES
        status |= 0 if self._busy or not self._control & NOT_INIT else NOT_BUSY
        return status if self._acknowledging else status | NOT_ACK

    @property
    def _busy(self) -> bool:
        return self._clock.now_ns() < self._ready_ns

    @property
    def _acknowledging(self) -> bool:
        return self._busy and self._clock.now_ns() >= self._ready_ns - ACK_NS

    def _write_data(self, value: int) -> None:
        self._data = value

    def _write_control(self, value: int) -> None:
        rises = bool(value & STROBE & ~self._control)
        self._control = value & CONTROL_WRITABLE
        ready = self._control & NOT_INIT and self._control & SELECT_IN and not self._busy
        if rises and ready and self._printer is not None:
            self._printer(self._data)
            self._ready_ns = self._clock.now_ns() + BUSY_NS
        self._follow()

    def _follow(self) -> None:
        """Drive the interrupt line as ACK stands, and come back when it changes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._irq.set_level(self._acknowledging and bool(self._control & IRQ_ENABLE))
        if self._busy:
            change = self._ready_ns - (0 if self._acknowledging else ACK_NS)
            self._timer = self._clock.at(change, self._follow, self.name)
