"""INT 14h: serial ports, polled. A port that does not get ready in time answers with bit 7 of AH.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 14h"; [16550D] PC16550D
data sheet, National Semiconductor, 1995.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import Caller
from vmm.firmware.host import FirmwareHost
from vmm.firmware.patience import Patience

PORTS: Final = 4
# Registers, [16550D] table I
DATA, IER, LCR, MCR, LSR, MSR = 0, 1, 3, 4, 5, 6
DLAB: Final = 0x80
LCR_BREAK: Final = 0x40
DTR, RTS = 0x01, 0x02
DATA_READY: Final = 0x01
LINE_ERRORS: Final = 0x1E
THR_EMPTY: Final = 0x20
CTS, DSR = 0x10, 0x20
TIMED_OUT: Final = 0x80
DIVISORS: Final = (0x417, 0x300, 0x180, 0xC0, 0x60, 0x30, 0x18, 0x0C)  # 110 to 9600 baud
EXTENDED_DIVISORS: Final = (*DIVISORS, 0x06)  # and 19200
SETTINGS: Final = 0x1F  # of AL: parity, stop bits, length, as in LCR
LENGTHS: Final = 4
PARITIES: Final = (0x00, 0x08, 0x18, 0x28, 0x38)  # none, odd, even, stuck odd, stuck even
STOP_2: Final = 0x04
MCR_BITS: Final = 0x1F


class Int14:
    """The serial services."""

    def __init__(self, host: FirmwareHost) -> None:
        self._bus = host.bus
        self._bda = Bda(host.memory)
        self._patience = Patience(host)
        self._functions: dict[int, Callable[[Caller, int], None]] = {
            0x00: self._initialize,
            0x01: self._send,
            0x02: self._receive,
            0x03: self._status,
            0x04: self._initialize_extended,
            0x05: self._modem_control,
        }

    def call(self, caller: Caller) -> None:
        """Serve one INT 14h; for a port that is not there, change nothing."""
        function = self._functions.get(caller.ah)
        port = self._bda.word(b.COM_PORTS + 2 * caller.dx) if caller.dx < PORTS else 0
        if function is not None and port:
            function(caller, port)

    def _in(self, port: int, register: int) -> int:
        return self._bus.read(port + register & 0xFFFF, 1) & 0xFF

    def _out(self, port: int, register: int, value: int) -> None:
        self._bus.write(port + register & 0xFFFF, 1, value & 0xFF)

    def _program(self, port: int, divisor: int, settings: int) -> None:
        self._out(port, LCR, DLAB)
        self._out(port, DATA, divisor)
        self._out(port, IER, divisor >> 8)
        self._out(port, LCR, settings)
        self._out(port, IER, 0)

    def _initialize(self, caller: Caller, port: int) -> None:
        self._program(port, DIVISORS[caller.al >> 5], caller.al & SETTINGS)
        self._status(caller, port)

    def _initialize_extended(self, caller: Caller, port: int) -> None:
        """04h: AL break, BH parity, BL stop bits, CH length, CL rate."""
        if caller.cl < len(EXTENDED_DIVISORS) and caller.bh < len(PARITIES) and caller.ch < LENGTHS:
            settings = caller.ch | PARITIES[caller.bh]
            settings |= (STOP_2 if caller.bl else 0) | (LCR_BREAK if caller.al else 0)
            self._program(port, EXTENDED_DIVISORS[caller.cl], settings)
        self._status(caller, port)

    def _status(self, caller: Caller, port: int) -> None:
        caller.ah = self._in(port, LSR)
        caller.al = self._in(port, MSR)

    def _ready(self, caller: Caller, port: int, modem: int, line: int) -> bool | None:
        """Whether the modem inputs and the line status are there; None: call again."""
        if self._in(port, MSR) & modem == modem and self._in(port, LSR) & line == line:
            return True
        seconds = self._bda.byte(b.COM_TIMEOUTS + caller.dx)
        return None if self._patience.wait(caller, seconds) else False

    def _send(self, caller: Caller, port: int) -> None:
        if not caller.called_again:
            self._out(port, MCR, self._in(port, MCR) & MCR_BITS | DTR | RTS)
        ready = self._ready(caller, port, CTS | DSR, THR_EMPTY)
        if ready is None:
            return
        if ready:
            self._out(port, DATA, caller.al)
        caller.ah = self._in(port, LSR) & ~TIMED_OUT if ready else self._in(port, LSR) | TIMED_OUT

    def _receive(self, caller: Caller, port: int) -> None:
        if not caller.called_again:
            self._out(port, MCR, self._in(port, MCR) & MCR_BITS & ~RTS | DTR)
        ready = self._ready(caller, port, DSR, DATA_READY)
        if ready is None:
            return
        status = self._in(port, LSR)
        if ready:
            caller.al = self._in(port, DATA)
        caller.ah = status & LINE_ERRORS if ready else status | TIMED_OUT

    def _modem_control(self, caller: Caller, port: int) -> None:
        """05h: AL = 0 reads MCR into BL, AL = 1 writes it."""
        if caller.al == 0:
            caller.bl = self._in(port, MCR)
        elif caller.al == 1:
            self._out(port, MCR, caller.bl & MCR_BITS)
        else:
            return
        self._status(caller, port)
