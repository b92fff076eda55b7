"""What each instruction of the sequencer does.

The carry is changed by ADD, ADC and ROL alone, so that a move may stand between an ADD and its
ADC. ZERO is changed by everything but RET: a branch that tests leaves what it tested, and one
that hands over an argument whether that was 0.

Sources:
    [AIC] Adaptec AIC-7870 data book, "Flags affected" of each instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.aic7870.instruction import (
    ADC,
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
from devices.aic7870.sequencer_registers import ACCUM, SINDEX

if TYPE_CHECKING:
    from devices.aic7870.sequencer import Sequencer


def execute(sequencer: Sequencer, instruction: Instruction) -> None:
    """Execute the instruction at the PC."""
    sequencer.pc = sequencer.pc + 1 & ADDRESS_BITS
    if instruction.operation >= FIRST_BRANCH:
        _branch(sequencer, instruction)
    elif instruction.operation <= ROL:
        _alu(sequencer, instruction)
    else:
        sequencer.illegal()


def _alu(sequencer: Sequencer, instruction: Instruction) -> None:
    operation, immediate, source, destination, _, returns = instruction
    registers = sequencer.registers
    value = registers.read(source)
    if operation == ROL:
        bit = rotation_carry_bit(immediate)
        if bit is not None:
            sequencer.carry = value >> bit & 1
        turns = immediate & ROL_COUNT
        result = (value << turns | value >> 8 - turns) & rotation_mask(immediate)
    else:
        result = _combine(sequencer, operation, value, immediate or registers.plain[ACCUM])
    sequencer.zero = result == 0
    registers.write(destination, result)
    if returns:
        sequencer.pc = sequencer.pop()


def _combine(sequencer: Sequencer, operation: int, value: int, operand: int) -> int:
    if operation == OR:
        return value | operand
    if operation == AND:
        return value & operand
    if operation == XOR:
        return value ^ operand
    total = value + operand + (sequencer.carry if operation == ADC else 0)
    sequencer.carry = total >> 8
    return total & BYTE


def _branch(sequencer: Sequencer, instruction: Instruction) -> None:
    operation, immediate, source, _, address, _ = instruction
    registers = sequencer.registers
    value = registers.read(source)
    if operation in (JMP, CALL, JC, JNC):
        argument = value | immediate
        sequencer.zero = argument == 0
        registers.plain[SINDEX] = argument
        if operation == CALL:
            sequencer.push(sequencer.pc)
        taken = operation in (JMP, CALL) or bool(sequencer.carry) == (operation == JC)
    else:
        operand = immediate or registers.plain[ACCUM]
        result = value ^ operand if operation in (JE, JNE) else value & operand
        sequencer.zero = result == 0
        taken = sequencer.zero == (operation in (JE, JZ))
    if taken:
        sequencer.pc = address
