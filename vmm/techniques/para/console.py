"""The paravirtual console: the monitor's own driver of COM1.

What the guest writes leaves by the chip's transmitter; what arrives makes the line's interrupt, which
the guest sees as the console's event. The transmitter here is never busy, so nothing is waited for.

Sources: [16550D] PC16550D data sheet.
"""

from __future__ import annotations

from typing import Final

from vmm.techniques.para.events import Ports

COM1: Final = 0x3F8
_DATA: Final = 0
_IER: Final = 1
_FCR: Final = 2
_LCR: Final = 3
_MCR: Final = 4
_LSR: Final = 5
_LINE: Final = 3  # 8 bits, no parity
_FIFOS: Final = 7  # on and empty, an interrupt for each byte
_LINES: Final = 0x0B  # DTR, RTS, OUT2
_DIVISOR_LATCH: Final = 0x80
_RECEIVED: Final = 1  # IER, and LSR: data ready


class Console:
    """The two directions of one serial port."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def set_up(self) -> None:
        """115200 baud, FIFOs, interrupts for what is received."""
        for offset, value in (
            (_IER, 0), (_LCR, _DIVISOR_LATCH), (_DATA, 1), (_IER, 0), (_LCR, _LINE), (_FCR, _FIFOS),
            (_MCR, _LINES), (_IER, _RECEIVED),
        ):  # fmt: skip
            self._ports.write(COM1 + offset, 1, value)

    def write(self, data: bytes) -> int:
        """Send all of `data`; returns how much."""
        for byte in data:
            self._ports.write(COM1 + _DATA, 1, byte)
        return len(data)

    def read(self, most: int) -> bytes:
        """Return what has arrived, `most` bytes at most."""
        data = bytearray()
        while len(data) < most and self._ports.read(COM1 + _LSR, 1) & _RECEIVED:
            data.append(self._ports.read(COM1 + _DATA, 1))
        return bytes(data)
