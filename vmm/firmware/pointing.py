"""INT 15h AH=C2h and INT 74h: the pointing device at the auxiliary port of the keyboard controller.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 15h", AH=C2h; [PS2] IBM
PS/2 Hardware Interface Technical Reference, Mouse.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware import ebda
from vmm.firmware.bda import Bda
from vmm.firmware.caller import Caller
from vmm.firmware.ebda import Ebda
from vmm.firmware.exchange import INTERFACE_ERROR, OK, Exchange, aux_byte
from vmm.firmware.host import FirmwareHost
from vmm.firmware.rom import ROM_SEGMENT
from vmm.firmware.stubs import CALL_HANDLER

# Status, in AH, [PTL] C2h; more in exchange.py
BAD_FUNCTION: Final = 1
BAD_INPUT: Final = 2
NO_HANDLER: Final = 5

# Device commands, [PS2] "Mouse commands"
SET_SCALING_1, SET_SCALING_2 = 0xE6, 0xE7
SET_RESOLUTION: Final = 0xE8
READ_STATUS: Final = 0xE9
READ_TYPE: Final = 0xF2
SET_RATE: Final = 0xF3
ENABLE, DISABLE = 0xF4, 0xF5
RESET: Final = 0xFF
RATES: Final = (10, 20, 40, 60, 80, 100, 200)
RESOLUTIONS: Final = 4
STATUS_BYTES: Final = 3

HANDLER_SET: Final = 0x80  # with the packet size
SIZE_MASK: Final = 0x07
STANDARD_SIZE: Final = 3
DEVICE_FLAG: Final = 0x0004  # equipment: there is a pointing device
FRAME: Final = struct.Struct("<8H")  # handler, where it returns, its arguments


class Pointing:
    """The pointing device functions. `mouse_return` is where the stub of INT 74h goes on."""

    def __init__(self, host: FirmwareHost, mouse_return: int) -> None:
        self._bus = host.bus
        self._bda = Bda(host.memory)
        self._ebda = Ebda(host.memory)
        self._exchange = Exchange(host)
        self._return = mouse_return
        self._functions: tuple[Callable[[Caller], int | None], ...] = (
            self._switch,
            self._reset,
            self._set_rate,
            self._set_resolution,
            self._read_type,
            self._initialize,
            self._extended,
            self._set_handler,
        )

    def call(self, caller: Caller) -> bool:
        """Serve one function; whether CF is to be clear."""
        status: int | None = INTERFACE_ERROR
        if caller.al >= len(self._functions):
            status = BAD_FUNCTION
        elif self._bda.word(b.EQUIPMENT) & DEVICE_FLAG:
            status = self._functions[caller.al](caller)
        if status is None:  # the stub calls again
            return True
        caller.ah = status
        return status == OK

    # -- functions; None: the stub will call again

    def _switch(self, caller: Caller) -> int | None:
        if caller.bh > 1:
            return BAD_INPUT
        if caller.bh and not self._ebda.byte(ebda.MOUSE_SIZE) & HANDLER_SET:
            return NO_HANDLER
        self._ebda.set_byte(ebda.MOUSE_COUNT, 0)
        return self._exchange.run(caller, bytes((ENABLE if caller.bh else DISABLE,)), 0, bool(caller.bh))

    def _reset(self, caller: Caller) -> int | None:
        status = self._exchange.run(caller, bytes((RESET,)), 2)
        if status == OK:
            caller.bl, caller.bh = self._exchange.answer()[:2]
            self._ebda.set_byte(ebda.MOUSE_COUNT, 0)
        return status

    def _set_rate(self, caller: Caller) -> int | None:
        if caller.bh >= len(RATES):
            return BAD_INPUT
        return self._exchange.run(caller, bytes((SET_RATE, RATES[caller.bh])), 0)

    def _set_resolution(self, caller: Caller) -> int | None:
        if caller.bh >= RESOLUTIONS:
            return BAD_INPUT
        return self._exchange.run(caller, bytes((SET_RESOLUTION, caller.bh)), 0)

    def _read_type(self, caller: Caller) -> int | None:
        status = self._exchange.run(caller, bytes((READ_TYPE,)), 1)
        if status == OK:
            caller.bh = self._exchange.answer()[0]
        return status

    def _initialize(self, caller: Caller) -> int | None:
        """C205h: BH is the size of a packet."""
        if not caller.called_again:
            if not 1 <= caller.bh <= SIZE_MASK + 1:
                return BAD_INPUT
            handler = self._ebda.byte(ebda.MOUSE_SIZE) & HANDLER_SET
            self._ebda.set_byte(ebda.MOUSE_SIZE, handler | caller.bh - 1)
        return self._reset(caller)

    def _extended(self, caller: Caller) -> int | None:
        if caller.bh == 0:
            status = self._exchange.run(caller, bytes((READ_STATUS,)), STATUS_BYTES)
            if status == OK:
                caller.bl, caller.cl, caller.dl = self._exchange.answer()[:STATUS_BYTES]
            return status
        if caller.bh > 2:
            return BAD_INPUT
        return self._exchange.run(caller, bytes((SET_SCALING_1 if caller.bh == 1 else SET_SCALING_2,)), 0)

    def _set_handler(self, caller: Caller) -> int | None:
        segment = caller.view.segs[r.ES].base >> 4 & 0xFFFF
        self._ebda.set_dword(ebda.MOUSE_HANDLER, segment << 16 | caller.bx)
        size = self._ebda.byte(ebda.MOUSE_SIZE) & SIZE_MASK
        self._ebda.set_byte(ebda.MOUSE_SIZE, size | (HANDLER_SET if segment or caller.bx else 0))
        return OK

    # -- INT 74h

    def interrupt(self, caller: Caller) -> None:
        """Take a byte; a whole packet goes to the handler, which the stub calls."""
        byte = aux_byte(self._bus)
        if byte is None:
            return
        settings = self._ebda.byte(ebda.MOUSE_SIZE)
        last = settings & SIZE_MASK
        count = self._ebda.byte(ebda.MOUSE_COUNT) & SIZE_MASK
        self._ebda.set_byte(ebda.MOUSE_DATA + count, byte)
        if count < last:
            self._ebda.set_byte(ebda.MOUSE_COUNT, count + 1)
            return
        self._ebda.set_byte(ebda.MOUSE_COUNT, 0)
        if settings & HANDLER_SET:
            handler = self._ebda.dword(ebda.MOUSE_HANDLER)
            status, x, y, z = self._ebda.read(ebda.MOUSE_DATA, 4)
            arguments = (z if last >= STANDARD_SIZE else 0, y, x, status)
            frame = (handler & 0xFFFF, handler >> 16, self._return, ROM_SEGMENT, *arguments)
            caller.store_on_stack(2, FRAME.pack(*frame))
            caller.conclude(CALL_HANDLER)
