"""How a path through a sequencer program reads and writes registers, and how an access ends it.

A plain byte that is known is not read again before a function is called, which may change it. What seldom
happens at a register that keeps what is written to it is left to the interpreter, before the instruction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.instruction import ADDRESS_BITS, AND, BYTE, OR, Instruction
from devices.aic7870.path import KEPT, Path, Value
from devices.aic7870.register_file import REGISTERS, Keeping, RegisterFile

# Why a path was left
WENT_BACK: Final = 1  # a jump to where it was or before: perhaps a loop that only waits
MAY_HAVE_STOPPED: Final = 2  # an access that can pause, interrupt or change how to go on
BY_HAND: Final = 4  # the next instruction is the interpreter's

OWN: Final = range(reg.FIRST, reg.LAST + 1)
HCNTRL: Final = 0x87
ENDS: Final = frozenset(
    (reg.SEQCTL, reg.SEQRAM, reg.SEQADDR0, reg.SEQADDR1, reg.BRKADDR0, reg.BRKADDR1, HCNTRL)
)
"""What may move the PC, change how the sequencer runs or reset it when it is written."""

ATTENTION: Final = "F.attention"
PLAIN: Final = Keeping()
IGNORED_WRITES: Final = frozenset((reg.ALLONES, reg.NONE, reg.FLAGS, reg.SINDIR, reg.STACK))


class Accesses:
    """A path in the making, at one of its instructions."""

    def __init__(self, registers: RegisterFile, ends: frozenset[int] | None) -> None:
        self.path = Path()
        self._readers = registers.readers
        self._writers = registers.writers
        self._keeping = registers.keeping
        self._ends = frozenset(range(REGISTERS)) if ends is None else ends
        self._executed = 0
        self._pc = 0
        self._next = 0
        self._leaving = ""  # a condition on which the path ends after this instruction
        self._pc_stored = False  # S.pc is where it goes on then, else `_next`
        self._may_have_popped = False  # it may have read STACK, by SINDIR

    def _at(self, pc: int) -> None:
        """Come to the next instruction."""
        self._pc = pc
        self._next = pc + 1 & ADDRESS_BITS
        self._executed += 1
        self._leaving = ""
        self._pc_stored = self._may_have_popped = False

    # ------------------------------------------------------------------------ reads

    def _read(self, address: int) -> Value:
        path = self.path
        if address in KEPT:
            return path.value(address)
        if address == reg.ALLONES:
            return BYTE
        if address == reg.ALLZEROS:
            return 0
        if address == reg.FLAGS:
            return path.name(f"({path.zero}) << 1 | ({path.carry})")
        if address == reg.SEQADDR0:
            return self._next & BYTE
        if address == reg.SEQADDR1:
            return self._next >> 8
        if address == reg.SINDIR:
            return self._read_indirect()
        if self._readers[address] is None:
            return path.byte(address, self._keeping.get(address, PLAIN).mask)
        if address == reg.STACK:
            path.settle()
            path.stack.forget()
        elif address in self._ends and address not in OWN:
            self._leaving = ATTENTION
        return path.name(f"{path.function('r', address)}()")

    def _read_indirect(self) -> Value:
        path = self.path
        index = path.value(reg.SINDEX)
        if isinstance(index, int) and index not in OWN:
            path.keep(reg.SINDEX, index + 1 & BYTE)
            return self._read(index)
        path.settle()
        self._may_have_popped = True
        reader = path.name(f"R[{index}]")
        following = path.name(f"{index} + 1 & 255")
        path.emit(f"P[{reg.SINDEX}] = {following}")
        value = path.name(f"P[{index}]")
        path.emit(f"if {reader} is not None:")
        path.emit(f" S.pc = {self._next}")
        path.emit(f" {value} = {reader}()")
        path.called()
        self._leaving = f"{reader} is not None"
        path.stored(reg.SINDEX, following)
        return value

    # ----------------------------------------------------------------------- writes

    def _write(self, address: int, value: Value) -> None:
        path, keeping = self.path, self._keeping.get(address)
        if address in KEPT:
            path.keep(address, value)
        elif address == reg.DINDIR:
            self._write_indirect(value)
        elif address in IGNORED_WRITES:
            return
        elif keeping is not None and not path.possible(value) & keeping.acts:
            self._store(address, value, keeping)
        elif self._writers[address] is None:
            path.put(address, value)
        elif address in ENDS:
            self._expose()
            path.emit(f"{path.function('w', address)}({value})")
            self._leaving = "True"
        else:
            stops = address in self._ends and address not in OWN
            if stops:
                path.emit(f"S.pc = {self._next}")  # for an event that tells where the firmware was
                self._leave_if(ATTENTION)
            path.emit(f"{path.function('w', address)}({value})")

    def _write_indirect(self, value: Value) -> None:
        path = self.path
        index = path.value(reg.DINDEX)
        if isinstance(index, int) and index not in OWN:
            path.keep(reg.DINDEX, index + 1 & BYTE)
            self._write(index, value)
            return
        path.settle()
        writer = path.name(f"W[{index}]")
        following = path.name(f"{index} + 1 & 255")
        path.emit(f"P[{reg.DINDEX}] = {following}")
        path.stored(reg.DINDEX, following)
        path.emit(f"S.pc = {self._next}")
        self._pc_stored = True
        path.emit(f"if {writer} is not None:")
        path.emit(f" {writer}({value})")
        path.emit("else:")
        path.emit(f" P[{index}] = {value}")
        path.forget()
        self._leave_if(f"{writer} is not None")

    def _store(self, address: int, value: Value, keeping: Keeping) -> None:
        path = self.path
        if keeping.mask != BYTE:
            kept = path.possible(value) & keeping.mask
            if isinstance(value, int):
                value = kept
            elif kept != path.possible(value):
                value = path.name(f"{value} & {keeping.mask}", kept)
        path.put(address, value)
        if keeping.also is not None:
            path.put(keeping.also, value)
        if keeping.then is None or (keeping.when and all(path.is_quiet(*bits) for bits in keeping.when)):
            return
        indent = " " if keeping.when else ""
        if keeping.when:
            path.emit(f"if {any_of(keeping.when)}:")
        if address in self._ends:
            path.emit(f"{indent}S.pc = {self._next}")
            self._leave_if(ATTENTION)
        path.emit(f"{indent}{path.function('t', address)}()")

    # ---------------------------------------------------------------------- leaving

    def _guard(self, conditions: Iterable[tuple[int, int]]) -> None:
        """Leave the instruction to the interpreter where a byte has one of the bits that make it do more."""
        path = self.path
        unknown = [bits for bits in conditions if not path.is_quiet(*bits)]
        if unknown:
            path.emit(f"if {any_of(unknown)}:")
            path.leave(self._pc, self._executed - 1, BY_HAND, " ")
            path.quiet.update(unknown)

    def _guard_store(self, instruction: Instruction) -> None:
        """Do so before an instruction that stores what it can read without a function."""
        path = self.path
        address = instruction.destination
        if self._has_effects(instruction):
            return
        known = path.index(reg.DINDEX) if address == reg.DINDIR else address
        keeping = None if known is None or known in OWN else self._keeping.get(known)
        if keeping is not None and keeping.when and not self._outcome(instruction) & keeping.acts:
            self._guard(keeping.when)

    def _guard_acts(self, instruction: Instruction, result: Value) -> None:
        """Do so where bits are cleared, so that those that act are seldom left; before ZERO is changed."""
        path, address = self.path, instruction.destination
        keeping = self._keeping.get(address)
        clears = instruction.operation == AND and instruction.immediate not in (0, BYTE)
        if not clears or keeping is None or address in OWN or self._has_effects(instruction):
            return
        acting = path.possible(result) & keeping.acts
        if acting and isinstance(result, str):
            path.emit(f"if {result} & {acting}:")
            path.leave(self._pc, self._executed - 1, BY_HAND, " ")
            path.exclude(result, acting)
            self._guard(keeping.when)

    def _has_effects(self, instruction: Instruction) -> bool:
        """Tell whether reading the source may do more than give a byte."""
        source = instruction.source
        if source in KEPT or source == reg.ALLZEROS:
            return False
        return source == reg.SINDIR or self._readers[source] is not None

    def _outcome(self, instruction: Instruction) -> int:
        """Return which bits what an instruction stores may have, as far as that can be told beforehand."""
        operation, immediate, source = instruction[:3]
        bits = 0 if source == reg.ALLZEROS else self._keeping.get(source, PLAIN).mask
        if operation == AND:
            return bits & (immediate or BYTE)
        return bits | immediate if operation == OR and immediate else BYTE

    def _expose(self) -> None:
        """Store everything, the PC too: a write follows that ends the path."""
        self.path.settle()
        self.path.stack.forget()
        self.path.emit(f"S.pc = {self._next}")
        self._pc_stored = True

    def _leave_if(self, condition: str) -> None:
        """Leave after this instruction on one condition more."""
        if self._leaving != condition:
            self._leaving = f"{self._leaving} or {condition}" if self._leaving else condition

    def _leave_after(self, indent: str = "") -> None:
        """Leave for what follows the instruction."""
        why: Value = MAY_HAVE_STOPPED | (WENT_BACK if self._next <= self._pc else 0)
        if self._pc_stored:
            why = f"{MAY_HAVE_STOPPED | WENT_BACK} if S.pc <= {self._pc} else {MAY_HAVE_STOPPED}"
        self.path.leave("S.pc" if self._pc_stored else self._next, self._executed, why, indent)


def any_of(conditions: Iterable[tuple[int, int]]) -> str:
    """Return an expression for whether one of the bytes has one of its bits."""
    return " or ".join(f"P[{at}]" if bits == BYTE else f"P[{at}] & {bits}" for at, bits in conditions)
