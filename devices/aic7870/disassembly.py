"""Sequencer words as text, in the notation that `assembler.py` reads.

Sources:
    Linux 6.1, drivers/scsi/aic7xxx/aicasm: the mnemonics and what they stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from devices.aic7870 import instruction as op
from devices.aic7870.instruction import Instruction, decode
from devices.aic7870.registers import bits_of, name_of, register_at
from devices.aic7870.sequencer_registers import ACCUM, ALLZEROS, NONE, SINDEX

TEST_WORDS: Final = {op.JZ: "test", op.JNZ: "test", op.JE: "cmp", op.JNE: "cmp"}
WITH_ONE: Final = {(op.ADD, 0x01): "inc", (op.ADD, 0xFF): "dec", (op.XOR, 0xFF): "not"}
MANY_BITS: Final = 5  # a mask with so many bits set is written as what it leaves out
MNEMONIC_WIDTH: Final = 6


class Line(NamedTuple):
    """One instruction of a listing. `label` is empty where nothing jumps to."""

    address: int
    word: int
    label: str
    text: str


class Naming(NamedTuple):
    """How to write addresses of registers and of the program."""

    firmware: Mapping[int, str] = {}
    """What a driver's firmware calls bytes of scratch RAM and of the SCB."""

    label: Callable[[int], str] = "0x{:03x}".format

    def register(self, address: int, writing: bool = False) -> str:
        """Return the name of a register where it is read or written."""
        if address == ACCUM:
            return "A"
        if address in self.firmware:
            return self.firmware[address]
        if register_at(address, writing) is None:
            return f"{address:#04x}"
        return name_of(address, writing)


PLAIN: Final = Naming()


def listing(words: Iterable[int], firmware: Mapping[int, str] | None = None) -> list[Line]:
    """Return a program's lines, with a label wherever a branch goes."""
    program = list(words)
    targets = {
        instruction.address
        for instruction in map(decode, program)
        if instruction.operation >= op.FIRST_BRANCH and instruction.address < len(program)
    }
    labels = {address: f"L{address:03x}" for address in targets}
    naming = Naming(firmware or {}, lambda address: labels.get(address, f"{address:#05x}"))
    return [
        Line(address, word, labels.get(address, ""), disassemble(word, naming))
        for address, word in enumerate(program)
    ]


def disassemble(word: int, naming: Naming = PLAIN) -> str:
    """Return one instruction as text."""
    instruction = decode(word)
    if instruction.operation not in op.MNEMONICS:
        return f"{'.word':{MNEMONIC_WIDTH}}{word:#010x}"
    if instruction.operation >= op.FIRST_BRANCH:
        mnemonic, operands = _branch(instruction, naming)
    else:
        mnemonic, operands = _alu(instruction, naming)
        if instruction.returns and mnemonic != "ret":
            operands = f"{operands} ret"
    return f"{mnemonic:{MNEMONIC_WIDTH}}{operands}".rstrip()


def _alu(instruction: Instruction, naming: Naming) -> tuple[str, str]:
    operation, immediate, source, destination, _, returns = instruction
    to = naming.register(destination, writing=True)
    by = naming.register(source)
    if operation == op.ROL:
        return _rotate(immediate, to, by)
    if operation == op.AND and immediate == op.BYTE:
        if source != ALLZEROS:
            return "mov", f"{to}, {by}"
        if destination == NONE:
            return ("ret" if returns else "nop"), ""
        return "clr", to
    if operation == op.OR and source == ALLZEROS:
        return "mvi", f"{to}, {_immediate(immediate, destination, True)}"
    if (operation, immediate) in WITH_ONE:
        return WITH_ONE[operation, immediate], to if source == destination else f"{to}, {by}"
    operand = _immediate(immediate, source, False)
    rest = "" if source == destination and to == by else f", {by}"
    return op.MNEMONICS[operation], f"{to}, {operand}{rest}"


def _rotate(control: int, to: str, by: str) -> tuple[str, str]:
    turns, cleared = control & op.ROL_COUNT, control >> op.ROL_MASK_SHIFT
    operands = f"{to}, {cleared}" if to == by else f"{to}, {cleared}, {by}"
    if 0 < cleared < 8:  # bits of a byte
        if control & op.ROL_RIGHT and turns == -cleared & op.ROL_COUNT:
            return "shr", operands
        if not control & op.ROL_RIGHT and turns == cleared:
            return "shl", operands
    return "rol", f"{to}, {by}, {control:#04x}"


def _branch(instruction: Instruction, naming: Naming) -> tuple[str, str]:
    operation, immediate, source, _, address, _ = instruction
    jump = f"{op.MNEMONICS[operation]} {naming.label(address)}"
    by = naming.register(source)
    if operation in TEST_WORDS:
        return TEST_WORDS[operation], f"{by}, {_immediate(immediate, source, False)} {jump}"
    if source == SINDEX and not immediate:
        return op.MNEMONICS[operation], naming.label(address)
    if source == ALLZEROS:
        return "mvi", f"{immediate:#04x} {jump}"
    if not immediate:
        return "mov", f"{by} {jump}"
    return "or", f"{by}, {immediate:#04x} {jump}"


def _immediate(value: int, register: int, writing: bool) -> str:
    """Return an operand: the accumulator, the bits of a register by name, or a number."""
    if not value:
        return "A"
    row = register_at(register, writing) or register_at(register, not writing)
    masks = {bit.mask: bit.name for bit in bits_of(row[0])} if row else {}
    if value.bit_count() >= MANY_BITS and ~value & op.BYTE:
        left_out = _named(~value & op.BYTE, masks)
        return f"~{left_out}" if left_out and "|" not in left_out else f"{value:#04x}"
    return _named(value, masks) or f"{value:#04x}"


def _named(value: int, masks: Mapping[int, str]) -> str:
    """Return the names of the bits of `value`, or nothing if one has none."""
    names = [name for mask, name in masks.items() if mask & value == mask and mask.bit_count() == 1]
    covered = sum(mask for mask in masks if mask & value == mask and mask.bit_count() == 1)
    return "|".join(names) if covered == value else ""
