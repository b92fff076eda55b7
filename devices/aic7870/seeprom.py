"""The 93C46 serial EEPROM beside an AIC-7870: 64 words of 16 bits behind four pins.

All operations take no time: the ready signal that follows a write is there at once.

Sources:
    [93C46] Microchip 93C46 1K 5.0V Microwire serial EEPROM (DS21749), table 2-1, §2.
    [SEE] The layout of the words is `struct seeprom_config` of the BSD and Linux drivers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from devices.saved import Bit, Word, require

WORDS: Final = 64
WORD_BITS: Final = 16
WORD_MASK: Final = 0xFFFF
ERASED: Final = 0xFFFF

# Operations: two bits behind the start bit, then six of address, [93C46] table 2-1
COMMAND_BITS: Final = 8
EXTENDED: Final = 0b00  # the upper two bits of the address say which
WRITE: Final = 0b01
READ: Final = 0b10
ERASE: Final = 0b11
EWDS: Final = 0b00
WRAL: Final = 0b01
ERAL: Final = 0b10
EWEN: Final = 0b11

# What the next rising clock edge does
IDLE: Final = 0  # waits for the start bit
COMMAND: Final = 1
OUTPUT: Final = 2
INPUT: Final = 3
DONE: Final = 4  # ignores the clock until CS falls

# The words the driver finds, [SEE]
PER_TARGET: Final = 0x0218  # rate 0, synchronous, disconnect, look for it in the BIOS scan
BIOS_CONTROL: Final = 0x18B6
ADAPTER_CONTROL: Final = 0x001D  # automatic and low and high termination, parity; no bus reset at start
BUS_RELEASE_AND_ID: Final = 0x2807  # 40 PCI clocks, host id 7
TARGETS_WIDE, TARGETS_NARROW = 16, 8
SIGNATURE: Final = 0x00FF


def default_words(wide: bool = False) -> tuple[int, ...]:
    """Return a sound image: host id 7, everything allowed, no reset of the bus at start (CFRESETB clear)."""
    words = [PER_TARGET] * 16 + [BIOS_CONTROL, ADAPTER_CONTROL, BUS_RELEASE_AND_ID]
    words += [TARGETS_WIDE if wide else TARGETS_NARROW, 0xFF00] + [ERASED] * 9 + [SIGNATURE]
    words.append(sum(words) & WORD_MASK)
    return tuple(words + [ERASED] * (WORDS - len(words)))


class SeepromState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The words, and how far an operation has come."""

    words: Annotated[tuple[Word, ...], msgspec.Meta(min_length=WORDS, max_length=WORDS)]
    writable: bool
    stage: Annotated[int, msgspec.Meta(ge=IDLE, le=DONE)]
    shift: Word
    bits: Annotated[int, msgspec.Meta(ge=0, le=WORD_BITS)]
    address: Annotated[int, msgspec.Meta(ge=0, lt=WORDS)]
    every: bool
    output: Bit
    clock: bool


class Seeprom:
    """The chip: `set_pins` drives CS, SK and DI, `output` is DO."""

    def __init__(self, words: tuple[int, ...]) -> None:
        self.words = list(words)
        self.output = 1
        self._writable = False
        self._clock = False
        self._edges: tuple[Callable[[int], None], ...] = (
            self._start, self._command_bit, self._output_bit, self._input_bit, self._nothing,
        )  # fmt: skip
        self._deselect()

    def _deselect(self) -> None:
        self._stage = IDLE
        self._shift = self._bits = self._address = 0
        self._every = False
        self.output = 1

    def set_pins(self, select: bool, clock: bool, data: int) -> None:
        """Take new levels; a rising clock while selected shifts one bit."""
        rising = clock and not self._clock
        self._clock = clock
        if not select:
            self._deselect()
        elif rising:
            self._edges[self._stage](data)

    def _start(self, bit: int) -> None:
        if bit:
            self._stage = COMMAND

    def _nothing(self, bit: int) -> None:
        pass

    def _command_bit(self, bit: int) -> None:
        self._shift = self._shift << 1 | bit
        self._bits += 1
        if self._bits < COMMAND_BITS:
            return
        operation, self._address = self._shift >> 6, self._shift & WORDS - 1
        self._shift = self._bits = 0
        self._stage = DONE
        if operation == READ:
            self._stage, self._shift, self._bits = OUTPUT, self.words[self._address], WORD_BITS
            self.output = 0  # the dummy bit before D15
        elif operation == WRITE:
            self._stage = INPUT
        elif operation == ERASE:
            self._store(ERASED)
        else:
            self._extended(self._address >> 4)

    def _extended(self, operation: int) -> None:
        self._every = True
        if operation == WRAL:
            self._stage = INPUT
        elif operation == ERAL:
            self._store(ERASED)
        else:
            self._writable = operation == EWEN

    def _output_bit(self, bit: int) -> None:
        if self._bits:
            self._bits -= 1
            self.output = self._shift >> self._bits & 1

    def _input_bit(self, bit: int) -> None:
        self._shift = self._shift << 1 | bit
        self._bits += 1
        if self._bits == WORD_BITS:
            self._stage = DONE
            self._store(self._shift)

    def _store(self, word: int) -> None:
        if not self._writable:
            return
        if self._every:
            self.words = [word] * WORDS
        else:
            self.words[self._address] = word

    def save(self) -> SeepromState:
        """Return words and pins."""
        return SeepromState(
            words=tuple(self.words),
            writable=self._writable,
            stage=self._stage,
            shift=self._shift,
            bits=self._bits,
            address=self._address,
            every=self._every,
            output=self.output,
            clock=self._clock,
        )

    def check(self, state: SeepromState) -> None:
        """Raise StateError unless the chip can become `state`, whose fields are in their ranges."""
        most = {COMMAND: COMMAND_BITS - 1, INPUT: WORD_BITS - 1}.get(state.stage, WORD_BITS)
        gathered = state.stage in (COMMAND, INPUT)
        fits = state.bits <= most and not (gathered and state.shift >> state.bits)
        require(fits, "EEPROM", "more bits than belong to an operation")

    def load(self, state: SeepromState) -> None:
        """Become `state`, which has been checked."""
        self.words, self._writable = list(state.words), state.writable
        self._stage = state.stage
        self._shift, self._bits, self._address = state.shift, state.bits, state.address
        self._every, self.output, self._clock = state.every, state.output, state.clock
