"""A path through a sequencer program in the making: one line or a few of Python an instruction.

A conditional branch forward splits the path where the sequencer has been on both sides; elsewhere
what is not the way on leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.instruction import (
    ADC,
    ADD,
    ADDRESS_BITS,
    AND,
    BYTE,
    CALL,
    FIRST_BRANCH,
    JC,
    JE,
    JMP,
    JNC,
    JNE,
    JNZ,
    JZ,
    OR,
    ROL,
    ROL_COUNT,
    XOR,
    Instruction,
    rotation_carry_bit,
    rotation_mask,
)
from devices.aic7870.path import KEPT, Path, Value
from devices.aic7870.register_file import REGISTERS, Keeping, RegisterFile

LONGEST_PATH: Final = 48  # instructions
MOST_INSTRUCTIONS: Final = 192  # of a path with its branches

# Why a path was left
WENT_BACK: Final = 1  # a jump to where it was or before: perhaps a loop that only waits
MAY_HAVE_STOPPED: Final = 2  # an access that can pause, interrupt or change how to go on

OPERATORS: Final = {OR: "|", AND: "&", XOR: "^", ADD: "+", ADC: "+"}
OWN: Final = range(reg.FIRST, reg.LAST + 1)
HCNTRL: Final = 0x87
ENDS: Final = frozenset(
    (reg.SEQCTL, reg.SEQRAM, reg.SEQADDR0, reg.SEQADDR1, reg.BRKADDR0, reg.BRKADDR1, HCNTRL)
)
"""What may move the PC, change how the sequencer runs or reset it when it is written."""

ATTENTION: Final = "F.attention"
PLAIN: Final = Keeping()
IGNORED_WRITES: Final = frozenset((reg.ALLONES, reg.NONE, reg.FLAGS, reg.SINDIR, reg.STACK))


class Translation:
    """One path in the making."""

    def __init__(
        self,
        registers: RegisterFile,
        ends: frozenset[int] | None,
        fetch: Callable[[int], Instruction],
        visited: Container[int],
    ) -> None:
        self.path = Path()
        self.longest = 0
        self._fetch = fetch
        self._visited = visited
        self._translated = 0
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

    def text(self, names: tuple[str, ...]) -> str:
        """Return the text of a function that makes the path's function."""
        body = "\n".join(f"  {line}" for line in self.path.lines)
        return f"def make({', '.join(names)}):\n def run():\n{body}\n return run\n"

    def follow(self, pc: int) -> None:
        """Translate from `pc` to where the path has to end."""
        following: int | None = pc
        while following is not None:
            if self._executed == LONGEST_PATH or self._translated == MOST_INSTRUCTIONS:
                self.path.leave(following, self._executed, 0)
                break
            self._pc = following
            self._next = following + 1 & ADDRESS_BITS
            self._executed += 1
            self._translated += 1
            self._leaving = ""
            self._pc_stored = self._may_have_popped = False
            instruction = self._fetch(following)
            if instruction.operation >= FIRST_BRANCH:
                following = self._branch(instruction)
            elif instruction.operation <= ROL:
                following = self._alu(instruction)
            else:
                self._illegal()
                following = None
        self.longest = max(self.longest, self._executed)

    # ------------------------------------------------------------- instructions

    def _illegal(self) -> None:
        self.path.settle()
        self.path.emit(f"S.pc = {self._next}")
        self.path.emit("S.illegal()")
        self._pc_stored = True
        self._leave_after()

    def _alu(self, instruction: Instruction) -> int | None:
        source = self._read(instruction.source)
        if instruction.operation == ROL:
            result = self._rotate(source, instruction.immediate)
        else:
            operand = instruction.immediate or self.path.value(reg.ACCUM)
            result = self._combine(instruction.operation, source, operand)
        self.path.zero = str(result == 0) if isinstance(result, int) else f"not {result}"
        self._write(instruction.destination, result)
        if instruction.returns:
            return self._return()
        if self._leaving == "True":
            self._leave_after()
            return None
        if self._leaving:
            self.path.emit(f"if {self._leaving}:")
            self._leave_after(" ")
        return self._go_on(self._next)

    def _combine(self, operation: int, source: Value, operand: Value) -> Value:
        path = self.path
        if operation in (ADD, ADC):
            carry = f" + ({path.carry})" if operation == ADC else ""
            total = path.name(f"{source} + {operand}{carry}")
            path.carry = f"{total} >> 8"
            return path.name(f"{total} & 255")
        if operation == AND and operand == BYTE:
            return source if isinstance(source, int) or source.isidentifier() else path.name(source)
        if operation == OR and 0 in (source, operand):
            return operand if source == 0 else source
        if isinstance(source, int) and isinstance(operand, int):
            return {OR: source | operand, AND: source & operand, XOR: source ^ operand}[operation]
        return path.name(f"{source} {OPERATORS[operation]} {operand}")

    def _rotate(self, source: Value, immediate: int) -> Value:
        path = self.path
        if not isinstance(source, str) or not source.isidentifier():
            source = path.name(str(source))
        turns = immediate & ROL_COUNT
        bit = rotation_carry_bit(immediate)
        if bit is not None:
            path.carry = f"{source} >> {bit} & 1"
        return path.name(f"({source} << {turns} | {source} >> {8 - turns}) & {rotation_mask(immediate)}")

    def _return(self) -> int | None:
        path = self.path
        if self._may_have_popped:
            path.emit(f"if {self._leaving}:")
            path.leave("S.pop()", self._executed, MAY_HAVE_STOPPED, " ")
            self._leaving = ""
        target = path.stack.pop()
        if isinstance(target, str):
            target = path.name(target)
        if self._leaving == "True" or isinstance(target, str):
            path.leave(target, self._executed, MAY_HAVE_STOPPED if self._leaving else 0)
            return None
        if self._leaving:
            path.emit(f"if {self._leaving}:")
            path.leave(target, self._executed, MAY_HAVE_STOPPED, " ")
        return target

    def _branch(self, instruction: Instruction) -> int | None:
        source = self._read(instruction.source)
        if instruction.operation in (JMP, CALL, JC, JNC):
            taken = self._pass_argument(instruction, source)
        else:
            taken = self._test(instruction, source)
        address = instruction.address
        if instruction.operation == CALL:
            self.path.stack.push(self._next)
            return self._transfer(address, 0)
        back = WENT_BACK if address <= self._pc else 0
        if instruction.operation == JMP:
            return self._transfer(address, back)
        self.path.emit(f"if {taken}:")
        if back or address not in self._visited:
            self.path.leave(address, self._executed, self._why(back), " ")
        else:
            self._fork(address)
        if instruction.operation not in (JC, JNC):
            self.path.zero = str(instruction.operation in (JNE, JNZ))
        return self._transfer(self._next, WENT_BACK if self._next <= self._pc else 0)

    def _fork(self, address: int) -> None:
        """Follow the branch where it is taken; every way there ends with a return."""
        path, here = self.path, (self._pc, self._next, self._leaving, self._executed)
        self.path = path.fork()
        self._transfer(address, 0)
        self.follow(address)
        path.lines += [f" {line}" for line in self.path.lines]
        self.path = path
        self._pc, self._next, self._leaving, self._executed = here

    def _transfer(self, address: int, back: int) -> int | None:
        """Go on at `address`, unless the path has to end."""
        if back:
            self.path.leave(address, self._executed, self._why(back))
            return None
        if self._leaving:
            self.path.emit(f"if {self._leaving}:")
            self.path.leave(address, self._executed, MAY_HAVE_STOPPED, " ")
        return address

    def _why(self, back: int) -> Value:
        return f"{MAY_HAVE_STOPPED | back} if {self._leaving} else {back}" if self._leaving else back

    def _pass_argument(self, instruction: Instruction, source: Value) -> str:
        """SINDEX becomes what the branch hands over; return the condition of JC and JNC."""
        argument = self._combine(OR, source, instruction.immediate)
        self.path.zero = str(argument == 0) if isinstance(argument, int) else f"not {argument}"
        self.path.keep(reg.SINDEX, argument)
        carry = self.path.carry
        return carry if instruction.operation == JC else f"not ({carry})"

    def _test(self, instruction: Instruction, source: Value) -> str:
        """Return the condition of JE, JNE, JZ and JNZ, and set the flag as if it holds."""
        operand = instruction.immediate or self.path.value(reg.ACCUM)
        common = f"{source}" if operand == BYTE else f"{source} & {operand}"
        condition = {
            JE: f"{source} == {operand}",
            JNE: f"{source} != {operand}",
            JZ: f"not {common}",
            JNZ: common,
        }[instruction.operation]
        self.path.zero = str(instruction.operation in (JE, JZ))
        return condition

    # ----------------------------------------------------------------- accesses

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
            return path.name(f"P[{address}]")
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
        self._leaving = f"{reader} is not None"
        path.stored(reg.SINDEX, following)
        return value

    def _write(self, address: int, value: Value) -> None:
        path = self.path
        if address in KEPT:
            path.keep(address, value)
        elif address == reg.DINDIR:
            self._write_indirect(value)
        elif address in IGNORED_WRITES:
            return
        elif self._writers[address] is None or address in self._keeping:
            self._store(address, value, self._keeping.get(address, PLAIN))
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
        self._leave_if(f"{writer} is not None")

    def _store(self, address: int, value: Value, keeping: Keeping) -> None:
        path = self.path
        if keeping.mask != BYTE:
            value = value & keeping.mask if isinstance(value, int) else path.name(f"{value} & {keeping.mask}")
        path.emit(f"P[{address}] = {value}")
        if keeping.also is not None:
            path.emit(f"P[{keeping.also}] = {value}")
        if keeping.then is None:
            return
        indent = " " if keeping.when else ""
        if keeping.when:
            path.emit(f"if {' or '.join(f'P[{at}] & {bits}' for at, bits in keeping.when)}:")
        if address in self._ends:
            path.emit(f"{indent}S.pc = {self._next}")
            self._leave_if(ATTENTION)
        path.emit(f"{indent}{path.function('t', address)}()")

    # -------------------------------------------------------------------- leaving

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

    def _go_on(self, pc: int) -> int | None:
        if pc > self._pc:
            return pc
        self.path.leave(pc, self._executed, WENT_BACK)
        return None
