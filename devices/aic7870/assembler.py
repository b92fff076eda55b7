"""A small assembler for the sequencer, in the notation of the firmware's sources in BSD and Linux.

One instruction a line, labels with a colon, `;` or `//` before a comment:

    loop:   test  SSTAT1, REQINIT jz loop
            mvi   SCSISIGO, 0x80
            and   A, 0xe0, SCSISIGI
            add   0x20, 1           a register by its number
            cmp   SCSIID, A je done
            mvi   0x41 call routine  argument in SINDEX
            ret

An immediate is a sum of bit names and numbers with `|`, or `A` for the accumulator. Macros,
conditional parts and scopes are the BSD assembler's; they are not here.

Sources:
    Linux 6.1, drivers/scsi/aic7xxx/aicasm: the mnemonics and what they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from devices.aic7870 import instruction as op
from devices.aic7870.registers import TABLE, bits_of
from devices.aic7870.sequencer_registers import ACCUM, ALLZEROS, NONE, SINDEX

ALU: Final = {"or": op.OR, "and": op.AND, "xor": op.XOR, "add": op.ADD, "adc": op.ADC}
JUMPS: Final = {"jmp": op.JMP, "call": op.CALL, "jc": op.JC, "jnc": op.JNC}
TESTS: Final = {
    ("test", "jz"): op.JZ,
    ("test", "jnz"): op.JNZ,
    ("cmp", "je"): op.JE,
    ("cmp", "jne"): op.JNE,
}
WITH_ONE: Final = {"inc": (op.ADD, 0x01), "dec": (op.ADD, 0xFF), "not": (op.XOR, 0xFF)}
FROM_ACCUM: Final = 0  # the immediate that means the accumulator
WORD: Final = ".word"
COMMENT: Final = re.compile(r";|//")
LABEL: Final = re.compile(r"(\w+):\s*(.*)")


class AssemblyError(Exception):
    """A line that is no instruction; the message says which and why."""


class _Line(NamedTuple):
    number: int
    text: str
    words: list[str]
    """Mnemonic, operands, and what follows the last operand without a comma."""


def assemble(text: str, names: Mapping[str, int] | None = None) -> list[int]:
    """Return the words of a program that begins at address 0.

    Args:
        text: the program.
        names: what registers and bits are called; without it, as `register_names` has them.

    Raises:
        AssemblyError: a line cannot be understood, or the program is too long.
    """
    labels: dict[str, int] = {}
    lines: list[_Line] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = COMMENT.split(raw)[0].strip()
        while found := LABEL.fullmatch(line):
            if found[1] in labels:
                raise AssemblyError(f"line {number}: label {found[1]} is there twice")
            labels[found[1]] = len(lines)
            line = found[2].strip()
        if line:
            lines.append(_Line(number, line, re.sub(r"\s*([|,])\s*", r"\1", line).replace(",", " ").split()))
    if len(lines) > op.WORDS:
        raise AssemblyError(f"the program has {len(lines)} instructions; the sequencer holds {op.WORDS}")
    known = register_names() if names is None else names
    return [_Assembler(known, labels, line).word() for line in lines]


@lru_cache(maxsize=1)
def register_names() -> dict[str, int]:
    """Return the names of the chip's registers and their bits."""
    names: dict[str, int] = {"A": ACCUM}
    for row in TABLE:
        for bit in bits_of(row):
            names.setdefault(bit.name, bit.mask)
    for row in TABLE:
        for at in range(row.length):
            names[f"{row.name}+{at:X}" if at else row.name] = row.address + at
    return names


class _Assembler:
    """Makes one word."""

    def __init__(self, names: Mapping[str, int], labels: Mapping[str, int], line: _Line) -> None:
        self._names = names
        self._labels = labels
        self._line = line

    def word(self) -> int:
        mnemonic, *operands = self._line.words
        if mnemonic == WORD:
            return self._number(self._only(operands, 1)[0], op.WORD_BITS)
        if operands and len(operands) > 1 and operands[-2] in (*JUMPS, "jz", "jnz", "je", "jne"):
            return self._branch(mnemonic, operands[:-2], operands[-2], operands[-1])
        if mnemonic in JUMPS:
            return op.branch(JUMPS[mnemonic], SINDEX, 0, self._label(self._only(operands, 1)[0]))
        returns = bool(operands) and operands[-1] == "ret"
        return self._alu(mnemonic, operands[:-1] if returns else operands, returns or mnemonic == "ret")

    def _branch(self, mnemonic: str, operands: list[str], jump: str, label: str) -> int:
        address = self._label(label)
        if (mnemonic, jump) in TESTS:
            source, immediate = self._only(operands, 2)
            return op.branch(TESTS[mnemonic, jump], self._register(source), self._operand(immediate), address)
        if jump in JUMPS:
            if mnemonic == "mvi":
                return op.branch(JUMPS[jump], ALLZEROS, self._byte(self._only(operands, 1)[0]), address)
            if mnemonic == "mov":
                return op.branch(JUMPS[jump], self._register(self._only(operands, 1)[0]), 0, address)
            if mnemonic == "or":
                source, immediate = self._only(operands, 2)
                return op.branch(JUMPS[jump], self._register(source), self._byte(immediate), address)
        raise self._wrong(f"{mnemonic} does not go with {jump}")

    def _alu(self, mnemonic: str, operands: list[str], returns: bool) -> int:
        forms: dict[str, Callable[[list[str]], tuple[int, int, int, int]]] = {
            "nop": self._nop, "ret": self._nop, "clr": self._clear, "mov": self._move,
            "mvi": self._move_immediate,
            "rol": self._rotate, "shl": self._shift_left, "shr": self._shift_right,
        }  # fmt: skip
        if mnemonic in ALU:
            destination, immediate, source = self._two_or_three(operands)
            operation, operand = ALU[mnemonic], self._operand(immediate)
        elif mnemonic in WITH_ONE:
            operation, operand = WITH_ONE[mnemonic]
            destination, source = operands[0:1] * 2 if len(operands) == 1 else self._only(operands, 2)
        elif mnemonic in forms:
            return op.alu(*forms[mnemonic](operands), returns)
        else:
            raise self._wrong(f"there is no {mnemonic}")
        return op.alu(operation, self._register(destination), self._register(source), operand, returns)

    def _nop(self, operands: list[str]) -> tuple[int, int, int, int]:
        self._only(operands, 0)
        return op.AND, NONE, ALLZEROS, op.BYTE

    def _clear(self, operands: list[str]) -> tuple[int, int, int, int]:
        return op.AND, self._register(self._only(operands, 1)[0]), ALLZEROS, op.BYTE

    def _move(self, operands: list[str]) -> tuple[int, int, int, int]:
        destination, source = self._only(operands, 2)
        return op.AND, self._register(destination), self._register(source), op.BYTE

    def _move_immediate(self, operands: list[str]) -> tuple[int, int, int, int]:
        destination, immediate = self._only(operands, 2)
        return op.OR, self._register(destination), ALLZEROS, self._operand(immediate)

    def _rotate(self, operands: list[str]) -> tuple[int, int, int, int]:
        destination, source, immediate = self._only(operands, 3)
        return op.ROL, self._register(destination), self._register(source), self._byte(immediate)

    def _shift_left(self, operands: list[str]) -> tuple[int, int, int, int]:
        destination, count, source = self._two_or_three(operands)
        turns = self._number(count, op.ROL_COUNT)
        control = turns << op.ROL_MASK_SHIFT | turns
        return op.ROL, self._register(destination), self._register(source), control

    def _shift_right(self, operands: list[str]) -> tuple[int, int, int, int]:
        destination, count, source = self._two_or_three(operands)
        turns = self._number(count, op.ROL_COUNT)
        control = turns << op.ROL_MASK_SHIFT | op.ROL_RIGHT | -turns & op.ROL_COUNT
        return op.ROL, self._register(destination), self._register(source), control

    # -------------------------------------------------------------------- operands

    def _two_or_three(self, operands: list[str]) -> list[str]:
        """Return destination, immediate and source; the source is the destination if left out."""
        if len(operands) == 2:
            return [*operands, operands[0]]
        return self._only(operands, 3)

    def _only(self, operands: list[str], number: int) -> list[str]:
        if len(operands) != number:
            raise self._wrong(f"{number} operands wanted, {len(operands)} given")
        return operands

    def _register(self, text: str) -> int:
        return self._byte(text)

    def _operand(self, text: str) -> int:
        """Return the immediate of an operation that knows the accumulator."""
        if text == "A":
            return FROM_ACCUM
        value = self._byte(text)
        if value == FROM_ACCUM:
            raise self._wrong("an immediate of 0 means the accumulator; write A, or use ALLZEROS")
        return value

    def _byte(self, text: str) -> int:
        value = 0
        for part in text.split("|"):
            inverted = part.startswith("~")
            found = self._names.get(part.lstrip("~"))
            number = self._number(part.lstrip("~"), op.BYTE) if found is None else found
            value |= ~number & op.BYTE if inverted else number
        return value

    def _number(self, text: str, most: int) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            raise self._wrong(f"{text} is neither a name nor a number") from None
        if not 0 <= value <= most:
            raise self._wrong(f"{text} is not between 0 and {most:#x}")
        return value

    def _label(self, text: str) -> int:
        if text in self._labels:
            return self._labels[text]
        return self._number(text, op.ADDRESS_BITS)

    def _wrong(self, why: str) -> AssemblyError:
        return AssemblyError(f"line {self._line.number}: {self._line.text}: {why}")
