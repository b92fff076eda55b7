"""Intel 8042 keyboard controller of a PS/2: two serial ports, a command byte, A20 and reset.

A byte stays readable at port 60h until the next one arrives, which over the wire takes BYTE_NS from
the moment the guest took the one before: interrupt handlers that chain read the port twice.
Answers of the controller itself come at once. Writes take no time, so the input buffer is never full.

Without a device on the auxiliary port the port itself still tests good, and a byte sent there times
out, as on a PS/2 without a mouse.

Not modelled: password security, diagnostic dumps, the multiplexed auxiliary port, inhibit by key lock.

Sources:
  [PS2] IBM PS/2 Hardware Interface Technical Reference, Keyboard and Auxiliary Device Controller, 1991.
  [8042] Intel UPI-41/42 8042 data sheet, 210393-008, 1993 (status register, output port).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from devices.backplane import Clock, DeviceState, IrqLine, Timer
from devices.isa import byte_bank
from devices.scancodes import BREAK_SET1, BREAK_SET2, TRANSLATION

# Status register, [PS2] "Status register"
OBF: Final = 0x01
SYSTEM: Final = 0x04
COMMAND: Final = 0x08
NOT_LOCKED: Final = 0x10
AUX_OBF: Final = 0x20
TIMEOUT: Final = 0x40

# Command byte, [PS2] "Controller command byte"
KBD_INT: Final = 0x01
AUX_INT: Final = 0x02
COMMAND_SYSTEM: Final = 0x04
KBD_OFF: Final = 0x10
AUX_OFF: Final = 0x20
TRANSLATE: Final = 0x40
RESET_COMMAND_BYTE: Final = KBD_INT | COMMAND_SYSTEM | TRANSLATE  # as firmware leaves it

# Commands at port 64h, [PS2] "Controller commands"; 20h-3Fh and 60h-7Fh read and write the RAM
READ_RAM: Final = 0x20
WRITE_RAM: Final = 0x60
TEST_PASSWORD: Final = 0xA4
DISABLE_AUX: Final = 0xA7
ENABLE_AUX: Final = 0xA8
TEST_AUX: Final = 0xA9
SELF_TEST: Final = 0xAA
TEST_KEYBOARD: Final = 0xAB
DISABLE_KEYBOARD: Final = 0xAD
ENABLE_KEYBOARD: Final = 0xAE
READ_INPUT_PORT: Final = 0xC0
READ_OUTPUT_PORT: Final = 0xD0
WRITE_OUTPUT_PORT: Final = 0xD1
WRITE_KEYBOARD_BUFFER: Final = 0xD2
WRITE_AUX_BUFFER: Final = 0xD3
WRITE_AUX: Final = 0xD4
DISABLE_A20: Final = 0xDD  # of the usual clones
ENABLE_A20: Final = 0xDF
READ_TEST_INPUTS: Final = 0xE0
PULSE_OUTPUT_PORT: Final = 0xF0  # to FFh; a 0 in bits 0-3 pulses that output low

RAM_BYTES: Final = 32
MOST_REPLIES: Final = 16  # the chip has one buffer; a guest that never reads it loses the oldest
SELF_TEST_PASSED: Final = 0x55
INTERFACE_GOOD: Final = 0x00
NO_PASSWORD: Final = 0xF1
INPUT_PORT: Final = 0x80  # keyboard not locked
NO_ANSWER: Final = 0xFE

# Output port, [PS2] "Output port"
OUT_NOT_RESET: Final = 0x01
OUT_A20: Final = 0x02
OUT_KBD_INT: Final = 0x10
OUT_AUX_INT: Final = 0x20
OUT_IDLE: Final = 0xC0  # clock and data of the keyboard, high
OUT_WRITABLE: Final = OUT_NOT_RESET | OUT_A20

BYTE_NS: Final = 1_000_000  # eleven bits at 10 to 16.7 kHz, [PS2] "Data transmission"


class Ps2Device(Protocol):
    """What hangs on a serial port of the controller."""

    def connect(self, on_ready: Callable[[], None]) -> None:
        """Name the listener to be called when a byte becomes ready."""

    def has_byte(self) -> bool:
        """Return whether `next_byte` would give one."""

    def next_byte(self) -> int | None:
        """Give up the next byte, if there is one."""

    def command(self, byte: int) -> None:
        """Take a byte from the controller."""


class I8042State(DeviceState, frozen=True, kw_only=True):
    """Registers and answers under way. A reply is a byte and the status bits that go with it."""

    ram: bytes
    output: int
    output_flags: int
    command_written: bool
    argument_of: int
    output_port: int
    release: bool
    replies: tuple[tuple[int, int], ...]
    wire_free_ns: int


class I8042:
    """The controller: `data_port` is port 60h, `command_port` 64h.

    `set_a20` is told of every write to the A20 bit; who owns the gate decides what it means.
    `request_reset` gets the reason.
    """

    def __init__(
        self,
        clock: Clock,
        keyboard: Ps2Device,
        keyboard_irq: IrqLine,
        aux_irq: IrqLine,
        set_a20: Callable[[bool], None],
        request_reset: Callable[[str], None],
        aux: Ps2Device | None = None,
        name: str = "i8042",
    ) -> None:
        self.name = name
        self._clock = clock
        self._keyboard = keyboard
        self._aux = aux
        self._keyboard_irq = keyboard_irq
        self._aux_irq = aux_irq
        self._set_a20 = set_a20
        self._request_reset = request_reset
        self._timer: Timer | None = None
        self._replies: deque[tuple[int, int]] = deque(maxlen=MOST_REPLIES)
        self._ram = bytearray(RAM_BYTES)
        self._build_tables()
        self.data_port = byte_bank(f"{name} data", (self._read_data,), (self._write_data,))
        self.command_port = byte_bank(f"{name} command", (self._read_status,), (self._write_command,))
        self.reset()
        keyboard.connect(self._pump)
        if aux is not None:
            aux.connect(self._pump)

    def _build_tables(self) -> None:
        self._commands: list[Callable[[int], None]] = [self._ignore] * 256
        self._commands[READ_RAM : READ_RAM + RAM_BYTES] = [self._read_ram] * RAM_BYTES
        self._commands[WRITE_RAM : WRITE_RAM + RAM_BYTES] = [self._await_argument] * RAM_BYTES
        self._commands[PULSE_OUTPUT_PORT:] = [self._pulse] * 16
        self._constants = {
            TEST_PASSWORD: NO_PASSWORD,
            TEST_AUX: INTERFACE_GOOD,
            TEST_KEYBOARD: INTERFACE_GOOD,
            READ_INPUT_PORT: INPUT_PORT,
            READ_TEST_INPUTS: 0,
        }
        for command in self._constants:
            self._commands[command] = self._answer_constant
        self._commands[SELF_TEST] = self._self_test
        for command in (DISABLE_AUX, ENABLE_AUX, DISABLE_KEYBOARD, ENABLE_KEYBOARD):
            self._commands[command] = self._switch
        self._commands[READ_OUTPUT_PORT] = self._read_output_port
        for command in (DISABLE_A20, ENABLE_A20):
            self._commands[command] = self._switch_a20
        self._arguments: dict[int, Callable[[int], None]] = {
            WRITE_OUTPUT_PORT: self._write_output_port,
            WRITE_KEYBOARD_BUFFER: self._write_keyboard_buffer,
            WRITE_AUX_BUFFER: self._write_aux_buffer,
            WRITE_AUX: self._write_aux,
        }
        for command in self._arguments:
            self._commands[command] = self._await_argument

    def reset(self) -> None:
        """Power-on. The A20 gate belongs to the board, which opens it itself at reset."""
        self._ram[:] = bytes(RAM_BYTES)
        self._ram[0] = RESET_COMMAND_BYTE
        self._output = self._output_flags = 0
        self._command_written = False
        self._argument_of = 0
        self._output_port = OUT_NOT_RESET | OUT_A20
        self._release = False
        self._replies.clear()
        self._wire_free_ns = 0
        self._stop_timer()
        self._update_irq()

    def save(self) -> I8042State:
        """Return the state."""
        return I8042State(
            ram=bytes(self._ram),
            output=self._output,
            output_flags=self._output_flags,
            command_written=self._command_written,
            argument_of=self._argument_of,
            output_port=self._output_port,
            release=self._release,
            replies=tuple(self._replies),
            wire_free_ns=self._wire_free_ns,
        )

    def load(self, state: DeviceState) -> None:
        """Become `state` and drive the interrupt lines; a device's byte is fetched a moment later."""
        saved = msgspec.convert(state, I8042State)
        self._ram[:] = saved.ram.ljust(RAM_BYTES, b"\0")[:RAM_BYTES]
        self._output = saved.output
        self._output_flags = saved.output_flags
        self._command_written = saved.command_written
        self._argument_of = saved.argument_of
        self._output_port = saved.output_port
        self._release = saved.release
        self._replies = deque(saved.replies, MOST_REPLIES)
        self._wire_free_ns = saved.wire_free_ns
        self._stop_timer()
        self._update_irq()
        self._await_wire()

    # Ports

    def _read_status(self) -> int:
        status = NOT_LOCKED | self._output_flags | (self._ram[0] & COMMAND_SYSTEM)
        return status | COMMAND if self._command_written else status

    def _read_data(self) -> int:
        """Take the byte in the output buffer; with none there, the last one again."""
        byte = self._output
        if self._output_flags:
            self._output_flags = 0
            self._update_irq()
            self._wire_free_ns = self._clock.now_ns() + BYTE_NS
            self._pump()
        return byte

    def _write_command(self, value: int) -> None:
        self._command_written = True
        self._argument_of = 0
        self._commands[value](value)

    def _write_data(self, value: int) -> None:
        """Take the argument of the last command; without one, the byte is for the keyboard."""
        command, self._argument_of = self._argument_of, 0
        self._command_written = False
        if not command:
            self._ram[0] &= ~KBD_OFF  # to send is to enable, [PS2] "Keyboard interface"
            self._keyboard.command(value)
        elif command in self._arguments:
            self._arguments[command](value)
        else:
            self._ram[command - WRITE_RAM] = value
        self._update_irq()
        self._pump()

    # The output buffer

    def _reply(self, byte: int, flags: int = 0) -> None:
        self._replies.append((byte, flags | OBF))
        self._pump()

    def _pump(self) -> None:
        """Fill the output buffer if it is empty: with an answer of ours, else from a device."""
        if self._output_flags:
            return
        if self._replies:
            self._fill(*self._replies.popleft())
        elif self._clock.now_ns() < self._wire_free_ns:
            self._await_wire()
        elif not self._ram[0] & KBD_OFF and self._keyboard.has_byte():
            self._fetch_from_keyboard()
        elif self._aux is not None and not self._ram[0] & AUX_OFF:
            byte = self._aux.next_byte()
            if byte is not None:
                self._fill(byte, OBF | AUX_OBF)

    def _fetch_from_keyboard(self) -> None:
        """Take one code from the keyboard; the prefix of a release is kept, not shown, in translation."""
        while (byte := self._keyboard.next_byte()) is not None:
            if not self._ram[0] & TRANSLATE:
                self._fill(byte, OBF)
                return
            if byte != BREAK_SET2:
                release, self._release = self._release, False
                self._fill(TRANSLATION[byte] | (BREAK_SET1 if release else 0), OBF)
                return
            self._release = True

    def _fill(self, byte: int, flags: int) -> None:
        self._output, self._output_flags = byte, flags
        self._update_irq()

    def _update_irq(self) -> None:
        """IRQ1 or IRQ12 is high while a byte of its side waits and the command byte allows it."""
        waiting, ram = self._output_flags, self._ram[0]
        self._keyboard_irq.set_level(waiting & (OBF | AUX_OBF) == OBF and bool(ram & KBD_INT))
        self._aux_irq.set_level(bool(waiting & AUX_OBF) and bool(ram & AUX_INT))

    def _await_wire(self) -> None:
        if self._timer is None:
            deadline = max(self._wire_free_ns, self._clock.now_ns())
            self._timer = self._clock.at(deadline, self._on_wire_free, "i8042 wire")

    def _on_wire_free(self) -> None:
        self._timer = None
        self._pump()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Commands; each gets its own code

    def _ignore(self, command: int) -> None:
        return None

    def _await_argument(self, command: int) -> None:
        self._argument_of = command

    def _answer_constant(self, command: int) -> None:
        self._reply(self._constants[command])

    def _read_ram(self, command: int) -> None:
        self._reply(self._ram[command - READ_RAM])

    def _self_test(self, command: int) -> None:
        """Start afresh and say so; the command byte keeps what firmware chose."""
        self._replies.clear()
        self._output_flags = 0
        self._release = False
        self._ram[0] |= COMMAND_SYSTEM
        self._update_irq()
        self._reply(SELF_TEST_PASSED)

    def _switch(self, command: int) -> None:
        """Disable or enable one of the two interfaces."""
        bit = AUX_OFF if command in (DISABLE_AUX, ENABLE_AUX) else KBD_OFF
        if command in (DISABLE_AUX, DISABLE_KEYBOARD):
            self._ram[0] |= bit
        else:
            self._ram[0] &= ~bit
            self._pump()

    def _read_output_port(self, command: int) -> None:
        interrupts = OUT_KBD_INT if self._keyboard_irq.level else 0
        interrupts |= OUT_AUX_INT if self._aux_irq.level else 0
        self._reply(self._output_port | OUT_IDLE | interrupts)

    def _switch_a20(self, command: int) -> None:
        enabled = command == ENABLE_A20
        self._write_output_port(self._output_port & ~OUT_A20 | (OUT_A20 if enabled else 0))

    def _pulse(self, command: int) -> None:
        if not command & OUT_NOT_RESET:
            self._request_reset("keyboard controller")

    # Arguments

    def _write_output_port(self, value: int) -> None:
        self._output_port = value & OUT_WRITABLE | OUT_NOT_RESET
        self._set_a20(bool(value & OUT_A20))
        if not value & OUT_NOT_RESET:
            self._request_reset("keyboard controller")

    def _write_keyboard_buffer(self, value: int) -> None:
        self._reply(value)

    def _write_aux_buffer(self, value: int) -> None:
        self._reply(value, AUX_OBF)

    def _write_aux(self, value: int) -> None:
        """Send a byte to the auxiliary device, or find that there is none."""
        self._ram[0] &= ~AUX_OFF
        if self._aux is None:
            self._reply(NO_ANSWER, AUX_OBF | TIMEOUT)
        else:
            self._aux.command(value)
