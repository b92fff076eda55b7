"""How long an instruction is, and whether translation can copy it as it stands.

A table of opcodes, since a kernel has hundreds of thousands of instructions and a full decoder is too slow
for them. Only 16- and 32-bit code. Bytes that are no instruction get some length: they are copied, and fault
where they are run, as they would have.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, chapter 2; volume
2D, appendix A.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# What follows an opcode
MODRM: Final = 1
IMM8: Final = 2
IMM16: Final = 4
IMM_Z: Final = 8  # 2 or 4 bytes, by the operand size
OFFSET: Final = 16  # 2 or 4 bytes, by the address size
SPECIAL: Final = 32  # translation may have to replace it
GROUP_3: Final = 64  # an immediate only if ModRM.reg is 0 or 1
MAX_LENGTH: Final = 15

_MOV_CR_DR: Final = 0x0F20  # to 0F23: ModRM.mod is ignored
PREFIXES: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")


def _one_byte() -> bytes:
    table = bytearray(256)

    def mark(what: int, *opcodes: int) -> None:
        for opcode in opcodes:
            table[opcode] |= what

    for base in range(0, 0x40, 8):
        mark(MODRM, *range(base, base + 4))
        mark(IMM8, base + 4)
        mark(IMM_Z, base + 5)
    mark(MODRM, 0x62, 0x63, 0x69, 0x6B, *range(0x80, 0x90), 0xC0, 0xC1, 0xC4, 0xC5, 0xC6, 0xC7)
    mark(MODRM, *range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xF6, 0xF7, 0xFE, 0xFF)
    mark(IMM8, 0x6A, 0x6B, *range(0x70, 0x80), 0x80, 0x82, 0x83, 0xA8, *range(0xB0, 0xB8), 0xC0, 0xC1, 0xC6)
    mark(IMM8, 0xC8, 0xCD, 0xD4, 0xD5, *range(0xE0, 0xE8), 0xEB)
    mark(IMM_Z, 0x68, 0x69, 0x81, 0xA9, *range(0xB8, 0xC0), 0xC7, 0xE8, 0xE9, 0x9A, 0xEA)
    mark(IMM16, 0xC2, 0xCA, 0xC8, 0x9A, 0xEA)
    mark(OFFSET, *range(0xA0, 0xA4))
    mark(GROUP_3, 0xF6, 0xF7)
    mark(SPECIAL, 0x0E, 0x16, 0x17, *range(0x6C, 0x80), 0x8C, 0x8E, 0x9A, 0x9C, 0x9D, 0xC2, 0xC3)
    mark(SPECIAL, *range(0xCA, 0xD0), *range(0xE0, 0xF0), 0xF1, 0xF4, 0xFA, 0xFB, 0xFF)
    return bytes(table)


def _two_byte() -> bytes:
    table = bytearray(256)
    without = {*range(0x04, 0x0D), 0x0E, *range(0x30, 0x38), 0x77, 0xA0, 0xA1}
    without |= {0xA2, 0xA8, 0xA9, 0xAA, *range(0x80, 0x90), *range(0xC8, 0xD0)}
    for opcode in range(256):
        if opcode not in without:
            table[opcode] |= MODRM
    for opcode in (0x0F, 0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6, 0x3A):
        table[opcode] |= IMM8
    for opcode in range(0x80, 0x90):
        table[opcode] |= IMM_Z | SPECIAL
    for opcode in (*range(0x04), *range(0x05, 0x0A), *range(0x20, 0x24), 0x30, 0x32, 0x33, 0x34, 0x35, 0xB2):
        table[opcode] |= SPECIAL
    return bytes(table)


_ONE: Final = _one_byte()
_TWO: Final = _two_byte()


# For 32-bit code without prefixes, instructions that are copied: 0 for all others, else 1 + the bytes of
# the immediate, with _HAS_MODRM
_HAS_MODRM: Final = 0x80
_SLOW: Final = frozenset(b"\x0f\xc4\xc5") | PREFIXES


def _plain(table: bytes, slow: frozenset[int]) -> bytes:
    forms = bytearray(256)
    for opcode, parts in enumerate(table):
        if opcode not in slow and not parts & (SPECIAL | GROUP_3):
            size = sum(
                length for part, length in ((IMM8, 1), (IMM16, 2), (IMM_Z, 4), (OFFSET, 4)) if parts & part
            )
            forms[opcode] = 1 + size | (_HAS_MODRM if parts & MODRM else 0)
    return bytes(forms)


def _after_modrm(modrm: int) -> int:
    """Bytes of SIB and displacement, but for a SIB byte without a base."""
    mod, rm = modrm >> 6, modrm & 7
    if mod == 3:
        return 0
    sib = rm == 4
    if mod == 0:
        return 4 if rm == 5 else int(sib)
    return (1 if mod == 1 else 4) + sib


_PLAIN_ONE: Final = _plain(_ONE, _SLOW)
_PLAIN_TWO: Final = _plain(_TWO, frozenset({0x38, 0x3A}))
_AFTER_MODRM: Final = bytes(_after_modrm(modrm) for modrm in range(256))


def plain_length(code: bytes, at: int) -> int:
    """The length of an instruction of 32-bit code that is copied; 0: look more closely, with `shape`.

    Raises:
        IndexError: `code` ends inside the instruction, as far as that is seen here.
    """
    byte = code[at]
    size = 1
    if byte == 0x0F:
        byte = code[at + 1]
        size = 2
        form = _PLAIN_TWO[byte]
    else:
        form = _PLAIN_ONE[byte]
    if form < _HAS_MODRM:
        return form and size + form - 1
    modrm = code[at + size]
    size += (form & 0x7F) + _AFTER_MODRM[modrm]
    if modrm < 0x40 and modrm & 7 == 4 and code[at + (3 if code[at] == 0x0F else 2)] & 7 == 5:
        size += 4
    return size


class Shape(NamedTuple):
    """One instruction: where its parts are. `opcode` is 0F00h + the second byte after the escape 0Fh."""

    length: int
    opcode: int
    modrm_at: int  # position behind the opcode, whatever is there
    special: bool
    wide: bool  # operands of 32 bits
    wide_address: bool


def shape(code: bytes, at: int, bits: int) -> Shape:
    """Take apart the instruction at `code[at]`, for a code size of 16 or 32.

    Raises:
        IndexError: `code` ends inside the instruction.
    """
    first = at
    wide = wide_address = bits == 32
    byte = code[at]
    while byte in PREFIXES:
        if byte == 0x66:
            wide = bits != 32
        elif byte == 0x67:
            wide_address = bits != 32
        at += 1
        byte = code[at]
    at += 1
    if byte == 0x0F:
        byte = code[at]
        at += 1
        parts, opcode = _TWO[byte], 0x0F00 | byte
        if byte in (0x38, 0x3A):
            at += 1
    elif byte & 0xFE == 0xC4 and code[at] >= 0xC0:  # VEX
        return _vex(code, first, at, byte)
    else:
        parts, opcode = _ONE[byte], byte
    modrm_at = at
    if parts & MODRM:
        modrm = code[at]
        at += 1
        if modrm < 0xC0 and opcode & 0xFFFC != _MOV_CR_DR:
            at = _memory(code, at, modrm, wide_address)
        if parts & GROUP_3 and modrm & 0x38 < 0x10:
            at += 1 if byte == 0xF6 else 4 if wide else 2
    if parts & (IMM8 | IMM16 | IMM_Z | OFFSET):
        at += (parts & IMM8) >> 1
        at += (parts & IMM16) >> 1
        if parts & IMM_Z:
            at += 4 if wide else 2
        if parts & OFFSET:
            at += 4 if wide_address else 2
    if at > len(code):
        raise IndexError(at)
    return Shape(at - first, opcode, modrm_at, bool(parts & SPECIAL), wide, wide_address)


def _memory(code: bytes, at: int, modrm: int, wide_address: bool) -> int:
    """Return the position behind SIB and displacement."""
    mod = modrm >> 6
    if wide_address:
        base = modrm & 7
        if base == 4:
            base = code[at] & 7
            at += 1
        if mod == 1:
            return at + 1
        return at + 4 if mod == 2 or base == 5 else at
    if mod == 0:
        return at + 2 if modrm & 7 == 6 else at
    return at + mod


def _vex(code: bytes, first: int, at: int, byte: int) -> Shape:
    """An instruction behind a VEX prefix: ModRM always, an immediate in map 3."""
    at += 1
    table = code[at - 1] & 0x1F if byte == 0xC4 else 1
    at += byte == 0xC4
    opcode = code[at]
    at += 1
    if not (table == 1 and opcode == 0x77):
        modrm = code[at]
        at += 1
        if modrm < 0xC0:
            at = _memory(code, at, modrm, True)
        if table == 3 or (table == 1 and _TWO[opcode] & IMM8):
            at += 1
    if at > len(code):
        raise IndexError(at)
    return Shape(at - first, byte, at, False, True, True)
