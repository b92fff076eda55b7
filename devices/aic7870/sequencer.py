"""The sequencer of an AIC-7870: a processor of 512 words that runs what the driver downloads.

It runs inside a host access, a deadline or an event of a target, until it is paused or only waits:
a loop that comes back to where it was while nothing it could see has changed would go round for
ever. Instructions take no time. The first run of a stretch of code compiles it (`compiler.py`);
the interpreter below gives the same results, and runs when somebody watches, steps or has set a
breakpoint.

Not modelled: parity of the sequencer RAM, FASTMODE (there is no clock to divide).

Sources:
    [AIC] Adaptec AIC-7870 data book, as the BSD and Linux drivers use it.
"""

from __future__ import annotations

from typing import Annotated, Final, Protocol

import msgspec

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.accesses import BY_HAND, MAY_HAVE_STOPPED, WENT_BACK
from devices.aic7870.compiler import Compiled, Compiler
from devices.aic7870.events import SequencerRunaway
from devices.aic7870.instruction import (
    ADDRESS_BITS,
    ADDRESS_WIDTH,
    CALL,
    CONDITIONAL,
    FIRST_BRANCH,
    PROGRAM_BYTES,
    STACK_BITS,
    STACK_DEPTH,
    WORD_BYTES,
    WORDS,
    Address,
    Instruction,
    decode,
)
from devices.aic7870.interpreter import execute
from devices.aic7870.register_file import RegisterFile
from devices.aic7870.sequencer_ports import SequencerPorts
from devices.aic7870.translation import LONGEST_PATH
from devices.aic7870.waiting import Waiting
from devices.backplane import Tracer
from devices.saved import Bit, Byte, Word

HOT: Final = 8  # times by the same place before it is compiled
RUN_LIMIT: Final = 20_000  # instructions in one go; a command of 256 scatter/gather elements takes 13,000
NO_BREAKPOINT: Final = reg.BRKDIS << 8


class SequencerControl(Protocol):
    """What the rest of the chip does about its sequencer."""

    def paused(self) -> bool:
        """Tell whether the sequencer has to stand still."""

    def step_done(self) -> None:
        """Pause: STEP is set, and an instruction has been executed."""

    def breakpoint(self) -> None:
        """Pause and interrupt: the next instruction is the breakpoint's."""

    def illegal_opcode(self) -> None:
        """Pause and interrupt: there is no such operation."""


class SequencerWatcher(Protocol):
    """Somebody who looks on at the monitor's side. Nothing of it is the guest's to see."""

    def before(self, sequencer: Sequencer) -> bool:
        """Look at the instruction about to be executed; False holds the sequencer until a run asks again."""


class SequencerState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sequencer's registers and program. `stack` begins with the newest address."""

    program: Annotated[bytes, msgspec.Meta(min_length=PROGRAM_BYTES, max_length=PROGRAM_BYTES)]
    seqctl: Byte
    byte: Annotated[int, msgspec.Meta(ge=0, lt=WORD_BYTES)]
    pc: Address
    stack: tuple[Address, Address, Address, Address]
    stack_high: bool
    accum: Byte
    sindex: Byte
    dindex: Byte
    zero: bool
    carry: Bit
    function1: Byte
    breakpoint: Word


class Sequencer:
    """Registers 60h-6Fh and the processor behind them.

    `block_ends` are the addresses an access to which may pause or interrupt; without the list
    every register that has a function counts as one. `return_stack` holds four addresses of
    9 bits, the newest lowest.
    """

    __slots__ = (
        "_compiler",
        "_control",
        "_fetched",
        "_heat",
        "_name",
        "_over",
        "_paths",
        "_reported",
        "_running",
        "_sides",
        "_tracer",
        "_waiting",
        "breakpoint",
        "byte",
        "carry",
        "function1",
        "hot",
        "pc",
        "ports",
        "program",
        "registers",
        "return_stack",
        "seqctl",
        "stack_high",
        "watcher",
        "zero",
    )

    def __init__(
        self,
        registers: RegisterFile,
        control: SequencerControl,
        block_ends: frozenset[int] | None = None,
        name: str = "aic7870",
        tracer: Tracer | None = None,
    ) -> None:
        self.registers = registers
        self.watcher: SequencerWatcher | None = None
        self.hot = HOT
        self.program = bytearray(PROGRAM_BYTES)
        self._control = control
        self._compiler = Compiler(self, registers, block_ends)
        self._fetched: dict[int, Instruction] = {}
        self._paths: list[Compiled | None] = [None] * WORDS
        self._heat = [0] * WORDS
        self._sides: set[tuple[int, bool]] = set()  # on which sides of its branches it has been
        self._running = False
        self._over = False
        self._waiting = Waiting(self)
        self._name = name
        self._tracer = tracer
        self._reported = False
        self.ports = SequencerPorts(self)
        self.reset()

    def reset(self) -> None:
        """Become the sequencer after CHIPRST; the sequencer RAM keeps what it holds."""
        plain = self.registers.plain
        plain[reg.ACCUM] = plain[reg.SINDEX] = plain[reg.DINDEX] = 0
        self.seqctl = reg.SEQCTL_AT_RESET
        self.pc = self.byte = self.return_stack = self.carry = self.function1 = 0
        self.breakpoint = NO_BREAKPOINT
        self.zero = self.stack_high = False
        self._waiting.forget()

    @property
    def accum(self) -> int:
        """The accumulator."""
        return self.registers.plain[reg.ACCUM]

    @property
    def sindex(self) -> int:
        """The source index."""
        return self.registers.plain[reg.SINDEX]

    @property
    def dindex(self) -> int:
        """The destination index."""
        return self.registers.plain[reg.DINDEX]

    @property
    def stack(self) -> tuple[int, ...]:
        """The four return addresses, the newest first."""
        return tuple(self.return_stack >> ADDRESS_WIDTH * k & ADDRESS_BITS for k in range(STACK_DEPTH))

    def push(self, address: int) -> None:
        """Put a return address on the stack; the oldest falls off."""
        self.return_stack = (self.return_stack << ADDRESS_WIDTH | address) & STACK_BITS

    def pop(self) -> int:
        """Take the newest return address; it goes round to be the oldest."""
        address = self.return_stack & ADDRESS_BITS
        self.return_stack = self.return_stack >> ADDRESS_WIDTH | address << ADDRESS_WIDTH * (STACK_DEPTH - 1)
        return address

    def fetch(self, pc: int) -> Instruction:
        """Return the instruction at an address."""
        instruction = self._fetched.get(pc)
        if instruction is None:
            start = pc * WORD_BYTES
            word = int.from_bytes(self.program[start : start + WORD_BYTES], "little")
            instruction = self._fetched[pc] = decode(word)
        return instruction

    def program_changed(self) -> None:
        """Forget everything that was made of the sequencer RAM."""
        self._fetched.clear()
        self._paths[:] = [None] * WORDS
        self._heat[:] = [0] * WORDS
        self._sides.clear()
        self._waiting.forget()
        self._reported = False

    def illegal(self) -> None:
        """An operation that does not exist came by."""
        if not self.seqctl & reg.FAILDIS:
            self._control.illegal_opcode()

    # ---------------------------------------------------------------------- running

    def run(self, limit: int = RUN_LIMIT) -> int:
        """Execute until paused, until nothing but waiting is left, or `limit` instructions; return how many.

        What is left at the limit goes on at the next run; the tracer hears of it once a program.
        """
        if self._running or limit <= 0 or self._stopped():
            return 0
        if self._waiting.begin() and self.watcher is None and not self.seqctl & reg.STEP:
            return 0
        self._running = True
        self._over = self.registers.attention = False
        executed = 0
        try:
            while True:
                once = self._run_watched if self._watched() else self._run_free
                executed += once(limit - executed)
                if self._over or executed >= limit or self._stopped():
                    break
        finally:
            self._running = False
        if executed >= limit and not self._over:
            self._report(limit)
        return executed

    def _report(self, limit: int) -> None:
        if self._tracer is not None and not self._reported:
            self._reported = True
            self._tracer.emit(SequencerRunaway(adapter=self._name, pc=self.pc, instructions=limit))

    def _stopped(self) -> bool:
        return self._control.paused() or bool(self.seqctl & reg.LOADRAM)

    def _watched(self) -> bool:
        return bool(self.watcher is not None or self.seqctl & reg.STEP or not self.breakpoint & NO_BREAKPOINT)

    def _run_watched(self, limit: int) -> int:
        executed = 0
        while executed < limit:
            if self.watcher is not None and not self.watcher.before(self):
                self._over = True
                break
            went_back = self._one()
            executed += 1
            if self.seqctl & reg.STEP:
                self._control.step_done()
                self._over = True
            if self.pc == self.breakpoint:
                self._control.breakpoint()
                self._over = True
            if self._over or self._stopped() or (went_back and self._waits()):
                break
        return executed

    def _run_free(self, limit: int) -> int:
        executed, pc = 0, self.pc
        paths, registers, waiting = self._paths, self.registers, self._waiting
        room_for_a_path = limit - LONGEST_PATH
        while executed < limit:
            run = paths[pc] or self._warm(pc)
            if run is None or executed > room_for_a_path:
                count, why = 0, BY_HAND
            else:
                pc, count, why = run()
                executed += count
            if why == WENT_BACK and registers.epoch != waiting.epoch:
                waiting.epoch = registers.epoch
            elif why:
                self.pc = pc
                if why & BY_HAND:
                    count, why = self._stretch(limit - executed)
                    executed += count
                    pc = self.pc
                if why & MAY_HAVE_STOPPED:
                    registers.attention = False
                    if self._stopped() or self._watched():
                        return executed
                if why & WENT_BACK and self._waits():
                    return executed
        self.pc = pc
        return executed

    def _warm(self, pc: int) -> Compiled | None:
        """Compile what the sequencer comes by often."""
        self._heat[pc] += 1
        if self._heat[pc] <= self.hot:
            return None
        self._paths[pc] = self._compiler.compile(self.fetch, pc, self._sides)
        return self._paths[pc]

    def _stretch(self, limit: int) -> tuple[int, int]:
        """Execute without having compiled, as far as one instruction follows the other."""
        executed = 0
        while True:
            address = self.pc
            went_back = self._one()
            if self.fetch(address).operation in CONDITIONAL:
                self._sides.add((address, self.pc != address + 1))
            executed += 1
            if executed == limit or self.pc != address + 1 or self._stopped() or self._watched():
                return executed, MAY_HAVE_STOPPED | (WENT_BACK if went_back else 0)

    def _one(self) -> bool:
        """Execute one instruction; tell whether it was a jump back, which a loop has to have."""
        address = self.pc
        instruction = self.fetch(address)
        execute(self, instruction)
        if self.pc > address or instruction.operation == CALL:
            return False
        return instruction.operation >= FIRST_BRANCH or not instruction.returns

    def _waits(self) -> bool:
        """Tell whether the sequencer waits, which ends the run; it has jumped back."""
        self._over = self._waiting.again()
        return self._over

    # ------------------------------------------------------------------------ state

    def save(self) -> SequencerState:
        """Return the state as a value; pure."""
        newest, second, third, oldest = self.stack
        return SequencerState(
            program=bytes(self.program),
            seqctl=self.seqctl,
            byte=self.byte,
            pc=self.pc,
            stack=(newest, second, third, oldest),
            stack_high=self.stack_high,
            accum=self.accum,
            sindex=self.sindex,
            dindex=self.dindex,
            zero=self.zero,
            carry=self.carry,
            function1=self.function1,
            breakpoint=self.breakpoint,
        )

    def load(self, state: SequencerState) -> None:
        """Become `state`."""
        self.program[:] = state.program
        self.seqctl = state.seqctl
        self.byte = state.byte
        self.pc = state.pc & ADDRESS_BITS
        for address in reversed(state.stack):
            self.push(address)
        self.stack_high = state.stack_high
        plain = self.registers.plain
        plain[reg.ACCUM], plain[reg.SINDEX], plain[reg.DINDEX] = state.accum, state.sindex, state.dindex
        self.zero = state.zero
        self.carry = state.carry
        self.function1 = state.function1
        self.breakpoint = state.breakpoint
        self.registers.epoch += 1
        self.program_changed()
