"""A sequencer on a register file of which some registers act, as those of the chip do."""

from __future__ import annotations

import random
from typing import Final

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.instruction import ADC, ADD, AND, OR, alu
from devices.aic7870.register_file import Keeping, Queue, RegisterFile
from devices.aic7870.sequencer import Sequencer, SequencerState
from devices.aic7870.sequencer_registers import LOADRAM

STORE: Final = 0x01  # has functions, but only stores
COUNTER: Final = 0x06  # a read counts it up
KEEP: Final = 0x07  # keeps six bits, and shows them at 0Fh; by 20h and 21h, some of what is written pauses
SHOWN: Final = 0x0F
PAUSE: Final = 0x91  # a write of anything but 0 pauses
PAGE: Final = 0x90  # a write fills the SCB window
STATUS: Final = 0x0C  # only shows what the test put there
QUEUE: Final = 0x95  # 24 bytes deep; a full one pauses, and with bit 7 of STORE every read of it too
QUEUE_BYTES: Final = 24
ORDER: Final = 0x96  # keeps seven bits; with one of 0Bh it pauses
PAIR: Final = range(0x97, 0x99)  # keep all, show it at 1Bh and 1Ch; by 20h, what is written may pause
BLOCK_ENDS: Final = frozenset((COUNTER, KEEP, PAUSE, QUEUE, ORDER, *PAIR))


class Rig:
    """The control side, and a few registers with functions."""

    def __init__(self, block_ends: frozenset[int] | None = BLOCK_ENDS, hot: int = 0) -> None:
        self.registers = registers = RegisterFile()
        self.halted = True
        self.log: list[tuple[str, int]] = []
        self.store = self.counter = self.status = 0
        registers.readers[STORE] = lambda: self.store
        registers.writers[STORE] = self._store
        registers.readers[COUNTER] = self._count
        registers.writers[COUNTER] = lambda value: None
        registers.readers[STATUS] = lambda: self.status
        registers.writers[STATUS] = lambda value: None
        registers.keep(KEEP, Keeping(0x3F, SHOWN, ((0x20, 0x0F), (0x21, 0xFF)), self._kept))
        registers.keep(ORDER, Keeping(0x7F, None, ((0x21, 0x10),), self._kept, 0x0B), self._order)
        for at, address in enumerate(PAIR):
            registers.keep(address, Keeping(also=0x1B + at, when=((0x20, 0x03),), then=self._kept))
        registers.readers[QUEUE] = self._pop
        registers.writers[QUEUE] = self._push
        registers.queues[QUEUE] = Queue(self._take, self._put)
        self.queue = bytearray()
        registers.writers[PAUSE] = self._pause
        registers.writers[PAGE] = self._page
        self.sequencer = Sequencer(registers, self, block_ends)
        self.sequencer.hot = hot

    # what the sequencer asks of the chip
    def paused(self) -> bool:
        return self.halted

    def step_done(self) -> None:
        self.halted = True
        self.log.append(("step", self.sequencer.pc))

    def breakpoint(self) -> None:
        self.halted = True
        self.log.append(("breakpoint", self.sequencer.pc))

    def illegal_opcode(self) -> None:
        self.halted = self.registers.attention = True
        self.log.append(("illegal", self.sequencer.pc))

    # registers
    def _store(self, value: int) -> None:
        if value != self.store:
            self.store = value
            self.registers.epoch += 1

    def _count(self) -> int:
        self.counter = self.counter + 1 & 0xFF
        self.registers.epoch += 1
        if self.counter & 0x3F == 0:
            self.halted = self.registers.attention = True
        return self.counter

    def _kept(self) -> None:
        self.log.append(("kept", self.sequencer.pc))
        if not self.registers.plain[KEEP] & 3:
            self.halted = self.registers.attention = True

    def _pause(self, value: int) -> None:
        if value:
            self.halted = self.registers.attention = True
            self.registers.epoch += 1
            self.log.append(("pause", self.sequencer.pc))

    def _order(self, value: int) -> None:
        plain = self.registers.plain
        plain[ORDER] = value & 0x7F
        if value & 0x0B:
            self.halted = self.registers.attention = True
        elif plain[0x21] & 0x10:
            self._kept()

    def _pop(self) -> int:
        if self.store & 0x80:
            self.halted = self.registers.attention = True
        self.registers.epoch += 1
        return self.queue.pop(0) if self.queue else 0xEE

    def _push(self, value: int) -> None:
        self.registers.epoch += 1
        if len(self.queue) < QUEUE_BYTES:
            self.queue.append(value)
            if len(self.queue) == QUEUE_BYTES:
                self.halted = self.registers.attention = True

    def _take(self, count: int) -> bytearray | None:
        if len(self.queue) < count or self.store & 0x80:
            return None
        return bytearray(self._pop() for _ in range(count))

    def _put(self, data: bytes | bytearray) -> int:
        for count, value in enumerate(data, 1):
            self._push(value)
            if self.registers.attention:
                return count
        return len(data)

    def _page(self, value: int) -> None:
        plain = self.registers.plain
        if plain[PAGE] != value:
            plain[PAGE] = value
            plain[0xA0:0xC0] = bytes(value + k & 0xFF for k in range(32))
            self.registers.epoch += 1

    # what a test does
    def write(self, address: int, *values: int) -> None:
        for value in values:
            self.sequencer.ports.host_write(address, value)

    def load(self, words: list[int], first: int = 0) -> None:
        """Download a program as a driver does and leave the PC at 0."""
        self.write(reg.SEQCTL, LOADRAM)
        self.write(reg.SEQADDR0, first & 0xFF)
        self.write(reg.SEQADDR1, first >> 8)
        for word in words:
            self.write(reg.SEQRAM, *word.to_bytes(4, "little"))
        self.write(reg.SEQCTL, 0)
        self.write(reg.SEQADDR0, 0)
        self.write(reg.SEQADDR1, 0)

    def run(self, limit: int = 1000) -> int:
        self.halted = False
        return self.sequencer.run(limit)

    def state(self) -> tuple[SequencerState, bytes, list[tuple[str, int]], tuple[int, ...]]:
        """Return everything that can be told apart."""
        visible = self.store, self.counter, self.registers.epoch, self.halted, *self.queue
        return self.sequencer.save(), bytes(self.registers.plain), self.log, visible


SOURCES: Final = (0x20, 0x21, 0x22, 0xA0, 0xA1, reg.ACCUM, reg.SINDEX, reg.DINDEX, reg.ALLONES,
                  reg.ALLZEROS, reg.FLAGS, reg.SINDIR, reg.FUNCTION1, reg.STACK, reg.SEQADDR0,
                  reg.SEQADDR1, STORE, COUNTER, KEEP, SHOWN, STATUS, PAGE, QUEUE, ORDER)  # fmt: skip
DESTINATIONS: Final = (0x20, 0x21, 0x22, 0xA0, 0xA1, reg.ACCUM, reg.SINDEX, reg.DINDEX, reg.NONE,
                       reg.DINDIR, reg.FUNCTION1, STORE, COUNTER, KEEP, SHOWN, PAGE, QUEUE,
                       ORDER)  # fmt: skip
RARE: Final = (
    PAUSE,
    reg.SEQADDR0,
    reg.SEQADDR1,
    reg.BRKADDR0,
    reg.BRKADDR1,
    reg.SEQCTL,
    reg.FLAGS,
    reg.STACK,
)
OPERATIONS: Final = (0, 1, 2, 3, 4, 5, 0, 1, 3, 8, 9, 10, 11, 11, 12, 13, 14, 15)


def random_program(seed: int, length: int = 64) -> list[int]:
    """Return a program that has a little of everything, loops and nonsense included."""
    draw = random.Random(seed)
    words: list[int] = []
    while len(words) < length:
        if draw.random() < 0.08:
            words += _long_sum(draw) if draw.random() < 0.3 else _moves(draw)
            continue
        operation = draw.choice(OPERATIONS) if draw.random() < 0.995 else draw.choice((6, 7))
        source = draw.choice(SOURCES) if draw.random() < 0.97 else draw.randrange(256)
        immediate = draw.choice((0, 0, 1, 0xFF, 0x20, 0x65, 0xA0, draw.randrange(256)))
        word = operation << 25 | source << 8 | immediate
        if operation >= 8:
            word |= draw.randrange(length) << 16
        else:
            destination = draw.choice(DESTINATIONS) if draw.random() < 0.97 else draw.choice(RARE)
            word |= destination << 16 | (draw.random() < 0.12) << 24
        words.append(word)
    return words[:length]


def _long_sum(draw: random.Random) -> list[int]:
    """Return an addition to several bytes, mostly to a double word of plain ones."""
    first, number = (
        draw.choice((0x20, 0x24, 0xA0, 0xA1, 0x04, 0x64)),
        draw.choice((0, 1, 0xFF, draw.randrange(256))),
    )
    words = [alu(AND, reg.ACCUM, reg.ALLZEROS, 0xFF)] if draw.random() < 0.8 else []
    words.append(alu(ADD, first, first, number))
    words += [
        alu(ADC, first + at, first + at, draw.random() < 0.05) for at in range(1, draw.choice((3, 4, 4, 4)))
    ]
    words[-1] |= (draw.random() < 0.3) << 24  # RET
    return words


MOVE_SOURCES: Final = (0x06, 0x1E, 0x22, 0x5C, 0xA0, 0xFA)
MOVE_TARGETS: Final = (0x01, 0x05, 0x20, 0x24, 0x97, 0xA2, 0xFB)


def _moves(draw: random.Random) -> list[int]:
    """Return moves of bytes side by side."""
    count, how = draw.randrange(2, 10), draw.randrange(6)
    words = moves(draw.choice(MOVE_SOURCES), draw.choice(MOVE_TARGETS), count, how)
    words[-1] |= (draw.random() < 0.3) << 24  # RET
    return words


def moves(first: int, to: int, count: int, how: int) -> list[int]:
    """Return moves from `first` up to `to` up: by the indices or not, among registers, or of the queue."""
    words = [alu(OR, reg.SINDEX, reg.ALLZEROS, first), alu(OR, reg.DINDEX, reg.ALLZEROS, to)]
    for at in range(count):
        source, target = (first + at & 0xFF, to + at & 0xFF) if how & 1 else (reg.SINDIR, reg.DINDIR)
        pair = ((target, source), (QUEUE, source), (target, QUEUE))[how >> 1]
        words.append(alu(AND, *pair, 0xFF))
    return words
