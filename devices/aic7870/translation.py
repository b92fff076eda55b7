"""A path through a sequencer program in the making: one line or a few of Python an instruction.

A conditional branch forward splits the path where the sequencer has been on both sides; elsewhere it
goes on where the sequencer has been, and the other side leaves it. What can be told beforehand, as the
outcome of a test of bits that have just been cleared, costs nothing. Moves of bytes side by side are one.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Final

from devices.aic7870 import sequencer_registers as reg
from devices.aic7870.accesses import ATTENTION, BY_HAND, MAY_HAVE_STOPPED, WENT_BACK, Accesses
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
    JZ,
    OR,
    ROL,
    ROL_COUNT,
    XOR,
    Instruction,
    rotation_carry_bit,
    rotation_mask,
)
from devices.aic7870.moves import LONG, Move, Moves
from devices.aic7870.path import Value
from devices.aic7870.register_file import RegisterFile

LONGEST_PATH: Final = 96  # instructions
MOST_INSTRUCTIONS: Final = 256  # of a path with its branches

OPERATORS: Final = {OR: "|", AND: "&", XOR: "^", ADD: "+", ADC: "+"}

Condition = bool | tuple[str, str]
"""Whether a branch is taken: known, or an expression and its opposite."""


class Translation(Accesses):
    """One path in the making."""

    def __init__(
        self,
        registers: RegisterFile,
        ends: frozenset[int] | None,
        fetch: Callable[[int], Instruction],
        sides: Set[tuple[int, bool]],
    ) -> None:
        super().__init__(registers, ends)
        self._fetch = fetch
        self._sides = sides
        self._moves = Moves(registers, fetch)
        self._translated = 0

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
            self._at(following)
            self._translated += 1
            instruction = self._fetch(following)
            if instruction.operation >= FIRST_BRANCH:
                following = self._branch(instruction)
            elif instruction.operation <= ROL:
                following = self._several(instruction)
            else:
                self._illegal()
                following = None

    # ------------------------------------------------------------- instructions

    def _illegal(self) -> None:
        self.path.settle()
        self.path.emit(f"S.pc = {self._next}")
        self.path.emit("S.illegal()")
        self._pc_stored = True
        self._leave_after()

    def _alu(self, instruction: Instruction) -> int | None:
        self._guard_store(instruction)
        source = self._read(instruction.source)
        if instruction.operation == ROL:
            result = self._rotate(source, instruction.immediate)
        else:
            operand = instruction.immediate or self.path.value(reg.ACCUM)
            result = self._combine(instruction.operation, source, operand)
            self._guard_acts(instruction, result)
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
            return source
        if operation == OR and 0 in (source, operand):
            return operand if source == 0 else source
        if isinstance(source, int) and isinstance(operand, int):
            return {OR: source | operand, AND: source & operand, XOR: source ^ operand}[operation]
        one, other = path.possible(source), path.possible(operand)
        possible = one & other if operation == AND else one | other
        return path.name(f"{source} {OPERATORS[operation]} {operand}", possible) if possible else 0

    def _rotate(self, source: Value, immediate: int) -> Value:
        path = self.path
        if isinstance(source, int):
            source = path.name(str(source))
        turns = immediate & ROL_COUNT
        bit = rotation_carry_bit(immediate)
        if bit is not None:
            path.carry = f"{source} >> {bit} & 1"
        mask = rotation_mask(immediate)
        return path.name(f"({source} << {turns} | {source} >> {8 - turns}) & {mask}", mask)

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
        address = instruction.address
        back = WENT_BACK if address <= self._pc else 0
        if instruction.operation == CALL:
            self._pass_argument(instruction, source)
            self.path.stack.push(self._next)
            return self._transfer(address, 0)
        if instruction.operation in (JMP, JC, JNC):
            carry = self._pass_argument(instruction, source)
            if instruction.operation == JMP:
                return self._transfer(address, back)
            opposite = f"not ({carry})"
            taken: Condition = (carry, opposite) if instruction.operation == JC else (opposite, carry)
        else:
            taken = self._test(instruction, source)
        return self._choose(instruction, taken, back)

    def _choose(self, instruction: Instruction, taken: Condition, back: int) -> int | None:
        """Go on where the sequencer has been; the path splits, or the other side leaves it."""
        address, ahead = instruction.address, WENT_BACK if self._next <= self._pc else 0
        if isinstance(taken, bool):
            self._tested(instruction, taken)
            return self._transfer(address, back) if taken else self._transfer(self._next, ahead)
        condition, opposite = taken
        been_there = (self._pc, True) in self._sides
        if been_there and not back and (self._pc, False) not in self._sides:
            self._tested(instruction, False)
            self.path.emit(f"if {opposite}:")
            self.path.leave(self._next, self._executed, self._why(ahead), " ")
            self._tested(instruction, True)
            return self._transfer(address, 0)
        self._tested(instruction, True)
        self.path.emit(f"if {condition}:")
        if back or not been_there:
            self.path.leave(address, self._executed, self._why(back), " ")
        else:
            self._fork(address)
        self._tested(instruction, False)
        return self._transfer(self._next, ahead)

    def _tested(self, instruction: Instruction, taken: bool) -> None:
        """Set ZERO as it is where a branch was taken or was not."""
        if instruction.operation not in (JC, JNC):
            self.path.zero = str(taken == (instruction.operation in (JE, JZ)))

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
        """SINDEX becomes what the branch hands over; return the carry."""
        argument = self._combine(OR, source, instruction.immediate)
        self.path.zero = str(argument == 0) if isinstance(argument, int) else f"not {argument}"
        self.path.keep(reg.SINDEX, argument)
        return self.path.carry

    def _test(self, instruction: Instruction, source: Value) -> Condition:
        """Return whether JE, JNE, JZ and JNZ are taken."""
        operand = instruction.immediate or self.path.value(reg.ACCUM)
        if instruction.operation in (JE, JNE):
            if isinstance(source, int) and isinstance(operand, int):
                return (source == operand) == (instruction.operation == JE)
            same, differs = f"{source} == {operand}", f"{source} != {operand}"
            return (same, differs) if instruction.operation == JE else (differs, same)
        if isinstance(source, int) and isinstance(operand, int):
            return (source & operand == 0) == (instruction.operation == JZ)
        if not self.path.possible(source) & self.path.possible(operand):
            return instruction.operation == JZ
        common = f"{source}" if operand == BYTE else f"{source} & {operand}"
        return (f"not {common}", common) if instruction.operation == JZ else (common, f"not {common}")

    # ---------------------------------------------------------------- several bytes

    def _several(self, instruction: Instruction) -> int | None:
        """Translate instructions that do one thing together, or else one."""
        room = LONGEST_PATH - self._executed + 1
        move = self._moves.found(self._pc, self.path, room)
        if move is not None:
            return self._move(move)
        if room >= LONG and self._moves.is_long_sum(self._pc, self.path):
            return self._long_sum(instruction)
        return self._alu(instruction)

    def _long_sum(self, instruction: Instruction) -> int | None:
        path, address = self.path, instruction.destination
        word = address // LONG
        total = path.name(f"M[{word}] + {instruction.immediate}")
        path.emit(f"M[{word}] = {total} & 0xFFFFFFFF")
        path.changed(address, LONG)
        path.zero, path.carry = f"not {total} >> 24 & 255", f"{total} >> 32"
        return self._past(LONG, self._fetch(self._pc + LONG - 1).returns)

    def _past(self, length: int, returns: bool) -> int | None:
        """Go on after instructions that are one."""
        self._executed += length - 1
        self._translated += length - 1
        self._pc += length - 1
        self._next = self._pc + 1 & ADDRESS_BITS
        return self._return() if returns else self._go_on(self._next)

    def _move(self, move: Move) -> int | None:
        """Translate `length` instructions that move a byte each as one."""
        path, last = self.path, move.length - 1
        self._guard(self._moves.conditions(move))
        data = f"P[{move.source}:{move.source + move.length}]"
        if move.takes:
            data = path.name(f"{path.function('g', move.source)}({move.length})")
            path.emit(f"if {data} is None:")
            path.leave(self._pc, self._executed - 1, BY_HAND, " ")
        if move.puts:
            self._put(move, data)
        else:
            self._store_slice(move, data)
        byte = path.name(f"{data}[{last}]") if move.takes else path.byte(move.source + last, BYTE)
        path.zero = str(byte == 0) if isinstance(byte, int) else f"not {byte}"
        if move.by_sindex:
            path.keep(reg.SINDEX, move.source + move.length & BYTE)
        if move.by_dindex:
            path.keep(reg.DINDEX, move.destination + move.length & BYTE)
        return self._past(move.length, move.returns)

    def _store_slice(self, move: Move, data: str) -> None:
        path = self.path
        mirrors = move.mirrors(self._keeping)
        if mirrors and not move.takes:
            data = path.name(data)
        path.emit(f"P[{move.destination}:{move.destination + move.length}] = {data}")
        path.changed(move.destination, move.length)
        for first, at, length in mirrors:
            path.emit(f"P[{first}:{first + length}] = {data}[{at}:{at + length}]")
            path.changed(first, length)

    def _put(self, move: Move, data: str) -> None:
        """Put bytes into a queue; leave after the one by which the sequencer may have been stopped."""
        path, before = self.path, self._executed - 1
        done = path.name(f"{path.function('p', move.destination)}({data})")
        path.emit(f"if {ATTENTION}:")
        stopped = path.fork()
        stopped.zero = f"not P[{move.source - 1} + {done}]"
        if move.by_sindex:
            stopped.keep(reg.SINDEX, f"{move.source} + {done} & 255")
        stopped.leave(f"{self._pc} + {done} & {ADDRESS_BITS}", f"{before} + {done}", MAY_HAVE_STOPPED, " ")
        path.lines += stopped.lines

    def _go_on(self, pc: int) -> int | None:
        if pc > self._pc:
            return pc
        self.path.leave(pc, self._executed, WENT_BACK)
        return None
