"""Talking to the device at the auxiliary port: bytes out, an acknowledgement for each, bytes back.

The device needs time, so a service lets its stub call again until the device has answered. How far the
exchange is stands in the EBDA. Meanwhile the auxiliary interrupt is off, and keys arrive by INT 9.

Sources: [PS2] IBM PS/2 Hardware Interface Technical Reference, Keyboard and Auxiliary Device Controller.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from vmm.bus import PortBus
from vmm.firmware import ebda
from vmm.firmware.caller import RETRY, Caller
from vmm.firmware.ebda import Ebda
from vmm.firmware.host import FirmwareHost

# Status, as in AH of INT 15h AH=C2h
OK: Final = 0
INTERFACE_ERROR: Final = 3
RESEND: Final = 4

DATA_PORT, COMMAND_PORT = 0x60, 0x64
OUTPUT_FULL: Final = 0x01
AUX_BYTE: Final = 0x21  # status: output full, from the auxiliary port
READ_COMMAND_BYTE, WRITE_COMMAND_BYTE = 0x20, 0x60
WRITE_KEYBOARD_BUFFER: Final = 0xD2
WRITE_AUX: Final = 0xD4
AUX_INTERRUPT: Final = 0x02
AUX_OFF: Final = 0x20
DRAIN: Final = 4  # bytes of a packet that may still wait
ACKNOWLEDGE: Final = 0xFA
DEVICE_RESEND: Final = 0xFE
SLAVE_MASK_PORT, MASTER_MASK_PORT = 0xA1, 0x21
AUX_LINE, CASCADE_LINE = 0x10, 0x04
TIMEOUT_US: Final = 500_000  # for the whole exchange, a reset included
MASK: Final = 0xFFFF_FFFF
MOST_ANSWERS: Final = 4
STATE: Final = struct.Struct("<BB4sIB")


class _State(NamedTuple):
    """How far an exchange is; `command` is the controller's command byte as it was found."""

    acknowledged: int
    received: int
    answer: bytes
    deadline: int
    command: int


def aux_byte(bus: PortBus) -> int | None:
    """Return a byte of the device that waits at the controller, if one does."""
    if bus.read(COMMAND_PORT, 1) & AUX_BYTE != AUX_BYTE:
        return None
    return bus.read(DATA_PORT, 1) & 0xFF


class Exchange:
    """One exchange at a time."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bus = host.bus
        self._ebda = Ebda(host.memory)

    def run(self, caller: Caller, send: bytes, more: int, interrupt: bool | None = None) -> int | None:
        """Go on with an exchange: `send`, then receive `more` bytes, which `answer` gives.

        Returns its status at the end, None while the stub is to call again. `interrupt` says whether
        IRQ 12 is to come from then on; None: as before.
        """
        now = self._host.clock.now_ns() // 1000 & MASK
        state = self._load() if caller.called_again else self._begin(send, now)
        status: int | None = None
        while status is None and (byte := aux_byte(self._bus)) is not None:
            state, status = self._take(state, byte, send, more)
        self._ebda.write(ebda.EXCHANGE, STATE.pack(*state))
        if status is None and 0 < (state.deadline - now & MASK) < 1 << 31:
            caller.conclude(RETRY)
            return None
        self._end(state.command, bool(state.command & AUX_INTERRUPT) if interrupt is None else interrupt)
        return INTERFACE_ERROR if status is None else status

    def answer(self) -> bytes:
        """Return what the last exchange has received, padded to four bytes."""
        return self._load().answer

    def _load(self) -> _State:
        return _State(*STATE.unpack(self._ebda.read(ebda.EXCHANGE, STATE.size)))

    def _begin(self, send: bytes, now: int) -> _State:
        """Quieten the port and send the first byte."""
        self._drain()
        command = self._read_command_byte()
        self._write_command_byte(command & ~(AUX_INTERRUPT | AUX_OFF))
        self._drain()
        self._send(send[0])
        return _State(0, 0, bytes(MOST_ANSWERS), now + TIMEOUT_US & MASK, command)

    def _take(self, state: _State, byte: int, send: bytes, more: int) -> tuple[_State, int | None]:
        """Take a byte: an acknowledgement as long as some are missing, then the answer."""
        if state.acknowledged < len(send):
            if byte != ACKNOWLEDGE:
                return state, RESEND if byte == DEVICE_RESEND else INTERFACE_ERROR
            state = state._replace(acknowledged=state.acknowledged + 1)
            if state.acknowledged < len(send):
                self._send(send[state.acknowledged])
                return state, None
            return state, None if more else OK
        at = state.received % MOST_ANSWERS
        answer = state.answer[:at] + bytes((byte,)) + state.answer[at + 1 :]
        received = min(state.received + 1, MOST_ANSWERS)
        return state._replace(answer=answer, received=received), OK if received >= more else None

    def _end(self, command: int, interrupt: bool) -> None:
        enabled = AUX_INTERRUPT if interrupt else 0
        self._write_command_byte(command & ~(AUX_OFF | AUX_INTERRUPT) | enabled)
        if interrupt:
            for port, line in ((SLAVE_MASK_PORT, AUX_LINE), (MASTER_MASK_PORT, CASCADE_LINE)):
                self._bus.write(port, 1, self._bus.read(port, 1) & 0xFF & ~line)

    def _send(self, byte: int) -> None:
        self._bus.write(COMMAND_PORT, 1, WRITE_AUX)
        self._bus.write(DATA_PORT, 1, byte)

    def _drain(self) -> None:
        for _ in range(DRAIN):
            if aux_byte(self._bus) is None:
                return

    def _read_command_byte(self) -> int:
        """Ask the controller; a scan code that waits in its buffer is put back for INT 9."""
        waiting = self._bus.read(COMMAND_PORT, 1) & AUX_BYTE == OUTPUT_FULL
        code = self._bus.read(DATA_PORT, 1) & 0xFF if waiting else 0
        self._bus.write(COMMAND_PORT, 1, READ_COMMAND_BYTE)
        command = self._bus.read(DATA_PORT, 1) & 0xFF
        if waiting:
            self._bus.write(COMMAND_PORT, 1, WRITE_KEYBOARD_BUFFER)
            self._bus.write(DATA_PORT, 1, code)
        return command

    def _write_command_byte(self, value: int) -> None:
        self._bus.write(COMMAND_PORT, 1, WRITE_COMMAND_BYTE)
        self._bus.write(DATA_PORT, 1, value)
