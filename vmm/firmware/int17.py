"""INT 17h and INT 5: printing on a parallel port, and a copy of the text screen.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 17h", "Interrupt 05h";
[PP] IBM Personal Computer AT Technical Reference, 1984, "Serial/Parallel Adapter".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.bus import PortBus
from vmm.firmware import bda as b
from vmm.firmware import ebda
from vmm.firmware.bda import Bda
from vmm.firmware.caller import Caller
from vmm.firmware.ebda import Ebda
from vmm.firmware.host import FirmwareHost
from vmm.firmware.patience import Patience

PORTS: Final = 3
DATA, STATUS, CONTROL = 0, 1, 2
# Status register, [PP]
NOT_BUSY: Final = 0x80
STATUS_BITS: Final = 0xF8
INVERTED: Final = 0x48  # acknowledge and error: active low, told active high
TIMED_OUT: Final = 0x01
# Control register, [PP]
STROBE: Final = 0x01
NOT_INIT: Final = 0x04
SELECT_IN: Final = 0x08
IDLE: Final = NOT_INIT | SELECT_IN

# INT 5: the byte at 0050:0000, [PTL]
PRINTED: Final = 0x00
PRINTING: Final = 0x01
PRINT_FAILED: Final = 0xFF
FAULTS: Final = 0x28  # of AH as function 02h gives it: out of paper, error
TEXT_MODES: Final = (0, 1, 2, 3, 7)
COLOUR_TEXT, MONOCHROME_TEXT = 0xB8000, 0xB0000
MONOCHROME_MODE: Final = 7
LINE_END: Final = b"\r\n"
SPACE: Final = 0x20
CELL_MASK: Final = 0x7FFF
MOST_ROWS: Final = 60


def strobe(bus: PortBus, port: int, byte: int) -> None:
    """Hand a byte to the printer."""
    bus.write(port + DATA & 0xFFFF, 1, byte)
    bus.write(port + CONTROL & 0xFFFF, 1, IDLE | STROBE)
    bus.write(port + CONTROL & 0xFFFF, 1, IDLE)


class Int17:
    """The printer services."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bus = host.bus
        self._bda = Bda(host.memory)
        self._ebda = Ebda(host.memory)
        self._patience = Patience(host)
        self._functions: dict[int, Callable[[Caller, int], None]] = {
            0x00: self._print,
            0x01: self._initialize,
            0x02: self._tell,
        }

    def call(self, caller: Caller) -> None:
        """Serve one INT 17h; for a port that is not there, change nothing."""
        function = self._functions.get(caller.ah)
        port = self._bda.word(b.LPT_PORTS + 2 * caller.dx) if caller.dx < PORTS else 0
        if function is not None and port:
            function(caller, port)

    def _status(self, port: int) -> int:
        return self._bus.read(port + STATUS & 0xFFFF, 1) & STATUS_BITS

    def _tell(self, caller: Caller, port: int) -> None:
        caller.ah = self._status(port) ^ INVERTED

    def _print(self, caller: Caller, port: int) -> None:
        late = 0
        if not self._status(port) & NOT_BUSY:
            if self._patience.wait(caller, self._bda.byte(b.LPT_TIMEOUTS + caller.dx)):
                return
            late = TIMED_OUT
        else:
            strobe(self._bus, port, caller.al)
        caller.ah = self._status(port) ^ INVERTED | late

    def _initialize(self, caller: Caller, port: int) -> None:
        self._bus.write(port + CONTROL & 0xFFFF, 1, SELECT_IN)
        self._bus.write(port + CONTROL & 0xFFFF, 1, IDLE)
        self._tell(caller, port)

    # -- INT 5

    def print_screen(self, caller: Caller) -> None:
        """Print the text screen on LPT1, a character each time the printer is ready."""
        if not caller.called_again:
            if self._bda.byte(b.PRINT_SCREEN) == PRINTING:
                return
            self._bda.set_byte(b.PRINT_SCREEN, PRINTING)
            self._ebda.set_dword(ebda.PRINT_POSITION, 0)
        port, position = self._bda.word(b.LPT_PORTS), self._ebda.dword(ebda.PRINT_POSITION)
        character = self._character(position)
        while port and character is not None and self._status(port) & NOT_BUSY:
            if (self._status(port) ^ INVERTED) & FAULTS:
                break
            strobe(self._bus, port, character)
            position += 1
            character = self._character(position)
        self._ebda.set_dword(ebda.PRINT_POSITION, position)
        if character is None:
            self._bda.set_byte(b.PRINT_SCREEN, PRINTED)
        elif not port or (self._status(port) ^ INVERTED) & FAULTS or not self._wait(caller):
            self._bda.set_byte(b.PRINT_SCREEN, PRINT_FAILED)

    def _wait(self, caller: Caller) -> bool:
        return self._patience.wait(caller, self._bda.byte(b.LPT_TIMEOUTS))

    def _character(self, position: int) -> int | None:
        """Return a byte of the text screen in lines, the first of them empty; None at the end.

        A screen in a graphics mode is empty.
        """
        mode, columns = self._bda.byte(b.VIDEO_MODE), self._bda.word(b.COLUMNS)
        if position < len(LINE_END):
            return LINE_END[position]
        row, column = divmod(position - len(LINE_END), columns + len(LINE_END))
        if mode not in TEXT_MODES or row > min(self._bda.byte(b.LAST_ROW), MOST_ROWS):
            return None
        if column >= columns:
            return LINE_END[column - columns]
        start = MONOCHROME_TEXT if mode == MONOCHROME_MODE else COLOUR_TEXT
        cell = self._bda.word(b.PAGE_START) + 2 * (row * columns + column)
        return self._host.memory.read(start + (cell & CELL_MASK), 1)[0] or SPACE
