"""Instructions of the AIC-7870's sequencer: 29 bits, packed as Ultra and older chips keep them.

    ALU     28:25 operation  24 RET          23:16 destination  15:8 source  7:0 immediate
    branch  28:25 operation  24:16 address                      15:8 source  7:0 immediate

Sources:
    [AIC] Adaptec AIC-7870 data book, as the assembler of the BSD and Linux drivers writes it down.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import msgspec

WORDS: Final = 512
WORD_BYTES: Final = 4
PROGRAM_BYTES: Final = WORDS * WORD_BYTES
WORD_BITS: Final = 0x1FFF_FFFF
ADDRESS_BITS: Final = 0x1FF
Address = Annotated[int, msgspec.Meta(ge=0, le=ADDRESS_BITS)]
ADDRESS_WIDTH: Final = 9
STACK_DEPTH: Final = 4
STACK_BITS: Final = (1 << ADDRESS_WIDTH * STACK_DEPTH) - 1

OR: Final = 0x0
AND: Final = 0x1
XOR: Final = 0x2
ADD: Final = 0x3
ADC: Final = 0x4
ROL: Final = 0x5
JMP: Final = 0x8
JC: Final = 0x9
JNC: Final = 0xA
CALL: Final = 0xB
JNE: Final = 0xC
JNZ: Final = 0xD
JE: Final = 0xE
JZ: Final = 0xF

MNEMONICS: Final = {
    OR: "or",
    AND: "and",
    XOR: "xor",
    ADD: "add",
    ADC: "adc",
    ROL: "rol",
    JMP: "jmp",
    JC: "jc",
    JNC: "jnc",
    CALL: "call",
    JNE: "jne",
    JNZ: "jnz",
    JE: "je",
    JZ: "jz",
}
"""The rest is illegal; 6 moves blocks on the AIC-7895 and later."""

FIRST_BRANCH: Final = JMP
CONDITIONAL: Final = frozenset((JC, JNC, JNE, JNZ, JE, JZ))

# ROL's immediate: how far to the left, and which bits to clear afterwards
ROL_COUNT: Final = 0x07
ROL_RIGHT: Final = 0x08  # a shift to the right: bits are cleared from the top
ROL_MASK_SHIFT: Final = 4
BYTE: Final = 0xFF


class Instruction(NamedTuple):
    """One word taken apart. `destination` and `returns` are an ALU word's, `address` a branch's."""

    operation: int
    immediate: int
    source: int
    destination: int
    address: int
    returns: bool


def decode(word: int) -> Instruction:
    """Take a word apart; every word is some instruction, if an illegal one."""
    return Instruction(
        word >> 25 & 0xF,
        word & BYTE,
        word >> 8 & BYTE,
        word >> 16 & BYTE,
        word >> 16 & ADDRESS_BITS,
        bool(word >> 24 & 1),
    )


def alu(operation: int, destination: int, source: int, immediate: int, returns: bool = False) -> int:
    """Return the word of an ALU instruction."""
    return operation << 25 | returns << 24 | destination << 16 | source << 8 | immediate


def branch(operation: int, source: int, immediate: int, address: int) -> int:
    """Return the word of a branch."""
    return operation << 25 | address << 16 | source << 8 | immediate


def rotation_mask(immediate: int) -> int:
    """Return the bits that a ROL with `immediate` leaves."""
    cleared = immediate >> ROL_MASK_SHIFT
    if immediate & ROL_RIGHT:
        return BYTE >> cleared
    return BYTE << cleared & BYTE


def rotation_carry_bit(immediate: int) -> int | None:
    """Return the bit of the source that a ROL with `immediate` moves to the carry; None: untouched.

    The carry is the last bit to go round the end: bit 7 on its way to bit 0, and for a shift to the
    right, which is a rotation to the left of 8 less its count, bit 0 on its way to bit 7.
    """
    turns = immediate & ROL_COUNT
    if not turns:
        return None
    return 7 - turns if immediate & ROL_RIGHT else 8 - turns
