"""The bytes of an instruction: prefixes, opcode, ModRM, SIB, displacement.

Only what the emulated instructions need; capstone, which `decode.py` wraps, reads everything but is
too slow for an exit path. The result does not depend on the processor's state, so it is cached by
(bytes, mode).

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, chapter 2;
volume 2D, appendix A.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from vmm.cpu import registers as r
from vmm.cpu.paging import MASK_32, MASK_64
from vmm.cpu.state import CpuView

MAX_LENGTH: Final = 15  # [SDM2] §2.3.11

SEGMENT_PREFIXES: Final = {0x26: r.ES, 0x2E: r.CS, 0x36: r.SS, 0x3E: r.DS, 0x64: r.FS, 0x65: r.GS}
OPERAND_SIZE: Final = 0x66
ADDRESS_SIZE: Final = 0x67
LOCK: Final = 0xF0
PREFIXES: Final = frozenset({*SEGMENT_PREFIXES, OPERAND_SIZE, ADDRESS_SIZE, LOCK, 0xF2, 0xF3})
_REPEAT: Final = frozenset({0xF2, 0xF3})
TWO_BYTE: Final = 0x0F00  # opcodes after the escape 0Fh are numbered from here

GROUP_5: Final = 0xFF
GROUP_6: Final = 0x0F00
GROUP_7: Final = 0x0F01
_GROUPS: Final = frozenset({GROUP_5, GROUP_6, GROUP_7})
_MOV_CR_DR: Final = frozenset({0x0F20, 0x0F21, 0x0F22, 0x0F23})
_LES_LDS: Final = frozenset({0xC4, 0xC5})  # with a register operand these are VEX prefixes
# MOV and loads of segment registers, LAR and LSL
_WITH_MODRM: Final = (
    frozenset({0x8C, 0x8E, 0x0F02, 0x0F03, 0x0FB2, 0x0FB4, 0x0FB5}) | _GROUPS | _MOV_CR_DR | _LES_LDS
)
_IMMEDIATES: Final = {0xCD: 1, 0xE4: 1, 0xE5: 1, 0xE6: 1, 0xE7: 1, 0xCA: 2}  # INT, IN, OUT, RETF
_FAR_POINTERS: Final = frozenset({0x9A, 0xEA})  # CALL and JMP ptr16:16/32
_INS: Final = frozenset({0x6C, 0x6D})
_OUTS: Final = frozenset({0x6E, 0x6F})
GONE_IN_64_BIT: Final = frozenset({0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x9A, 0xC4, 0xC5, 0xCE, 0xEA})
_GROUP_7_REGISTER_FORMS: Final = frozenset({4, 6})  # SMSW, LMSW; the rest are other instructions
_GROUP_KEYS: Final = 1 << 16  # where the keys of group members begin
_REGISTER_KEYS: Final = 1 << 24

_REX_B, _REX_X, _REX_R, _REX_W = 1, 2, 4, 8
_NONE: Final = -1
_RIP: Final = 16  # as a base register
_EA16: Final = (  # [SDM2] table 2-1
    (r.RBX, r.RSI), (r.RBX, r.RDI), (r.RBP, r.RSI), (r.RBP, r.RDI),
    (r.RSI, _NONE), (r.RDI, _NONE), (r.RBP, _NONE), (r.RBX, _NONE),
)  # fmt: skip
_ADDRESS_MASKS: Final = {16: 0xFFFF, 32: MASK_32, 64: MASK_64}


class Memory(msgspec.Struct, frozen=True, gc=False):
    """A memory operand: segment register, base and index registers (-1: none), scale, displacement."""

    segment: int
    base: int
    index: int
    shift: int
    displacement: int


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """One instruction, read for a code size of `bits`.

    `key` is the opcode; in groups 5, 6 and 7 `group_key(opcode, reg)`, after 0F 01 with a register
    operand `register_key(modrm)`; -1 where there is no such instruction. `selector` belongs to a far
    pointer, whose offset is `immediate`. INS and OUTS have their memory operand in `memory`.
    """

    key: int
    length: int
    operand_bytes: int
    address_bits: int
    bits: int
    lock: bool
    reg: int = 0
    rm: int = 0
    memory: Memory | None = None
    immediate: int = 0
    selector: int = 0
    repeat: bool = False


def group_key(opcode: int, reg: int) -> int:
    """The `Encoded.key` of a member of an opcode group."""
    return _GROUP_KEYS + (opcode << 4 | reg)


def register_key(modrm: int) -> int:
    """The `Encoded.key` of an instruction 0F 01 with a register operand that has no name in group 7."""
    return _REGISTER_KEYS + modrm


class _Prefixes(msgspec.Struct, gc=False):
    """The prefixes of an instruction and the position of its opcode."""

    end: int = 0
    segment: int = _NONE
    operand: bool = False
    address: bool = False
    lock: bool = False
    repeat: bool = False
    rex: int = 0


@lru_cache(maxsize=16384)
def parse(code: bytes, bits: int) -> Encoded:
    """Take the instruction at the start of `code` apart, for a code size of 16, 32 or 64.

    Raises:
        IndexError: `code` ends inside the instruction.
    """
    prefixes = _prefixes(code, bits)
    at = prefixes.end + 1
    byte = code[at - 1]
    if byte == 0x0F:
        byte = TWO_BYTE | code[at]
        at += 1
    address_bits = {16: 32, 32: 16, 64: 32}[bits] if prefixes.address else bits
    operand_bytes = _operand_bytes(bits, prefixes.operand, prefixes.rex)
    if bits == 64 and byte in GONE_IN_64_BIT:
        return Encoded(_NONE, at, operand_bytes, address_bits, bits, prefixes.lock)
    if byte in _WITH_MODRM:
        return _with_modrm(
            code, at, byte, prefixes, Encoded(byte, 0, operand_bytes, address_bits, bits, prefixes.lock)
        )
    memory, immediate, selector = _implied_memory(byte, prefixes.segment), 0, 0
    if byte in _FAR_POINTERS:
        immediate, selector = _unsigned(code, at, operand_bytes), _unsigned(code, at + operand_bytes, 2)
        at += operand_bytes + 2
    elif size := _IMMEDIATES.get(byte, 0):
        immediate = _unsigned(code, at, size)
        at += size
    return Encoded(
        byte, at, operand_bytes, address_bits, bits, prefixes.lock,
        memory=memory, immediate=immediate, selector=selector, repeat=prefixes.repeat,
    )  # fmt: skip


def _with_modrm(code: bytes, at: int, byte: int, prefixes: _Prefixes, plain: Encoded) -> Encoded:
    """Read the ModRM byte at `at` and what it asks for; `plain` has the sizes."""
    rex, lock, bits = prefixes.rex, plain.lock, plain.bits
    operand_bytes, address_bits = plain.operand_bytes, plain.address_bits
    modrm = code[at]
    mod, reg, rm = modrm >> 6, modrm >> 3 & 7, modrm & 7
    key = group_key(byte, reg) if byte in _GROUPS else byte
    if mod == 3:
        if byte == GROUP_7 and reg not in _GROUP_7_REGISTER_FORMS:
            key = register_key(modrm)
        elif byte in _LES_LDS:
            key = _NONE
    reg |= (rex & _REX_R) << 1
    if mod == 3 or byte in _MOV_CR_DR:  # MOV CR/DR ignores mod
        rm |= (rex & _REX_B) << 3
        return Encoded(key, at + 1, operand_bytes, address_bits, bits, lock, reg, rm)
    if address_bits == 16:
        memory, at = _memory16(code, at + 1, mod, rm, prefixes.segment)
    else:
        memory, at = _memory32(code, at + 1, (mod, rm, rex, bits), prefixes.segment)
    return Encoded(key, at, operand_bytes, address_bits, bits, lock, reg, 0, memory)


def _implied_memory(byte: int, segment: int) -> Memory | None:
    """The memory operand of INS, always in ES, and of OUTS."""
    if byte in _INS:
        return Memory(r.ES, r.RDI, _NONE, 0, 0)
    if byte in _OUTS:
        return Memory(r.DS if segment == _NONE else segment, r.RSI, _NONE, 0, 0)
    return None


def _prefixes(code: bytes, bits: int) -> _Prefixes:
    """Read the prefixes. A REX prefix counts only right before the opcode."""
    found = _Prefixes()
    while True:
        byte = code[found.end]
        if byte in PREFIXES:
            found.rex = 0
            override = SEGMENT_PREFIXES.get(byte, _NONE)
            if override != _NONE and (bits != 64 or override >= r.FS):
                found.segment = override
            found.operand = found.operand or byte == OPERAND_SIZE
            found.address = found.address or byte == ADDRESS_SIZE
            found.lock = found.lock or byte == LOCK
            found.repeat = found.repeat or byte in _REPEAT
        elif bits == 64 and byte & 0xF0 == 0x40:
            found.rex = byte
        else:
            return found
        found.end += 1


def _operand_bytes(bits: int, prefix: bool, rex: int) -> int:
    if rex & _REX_W:
        return 8
    return 2 if prefix == (bits != 16) else 4


def _memory16(code: bytes, at: int, mod: int, rm: int, segment: int) -> tuple[Memory, int]:
    """The memory forms of 16-bit addressing; returns the operand and the position after it."""
    base, index = _EA16[rm]
    size = mod
    if mod == 0 and rm == 6:
        base, size = _NONE, 2
    displacement = _signed(code, at, size)
    default = r.SS if base == r.RBP else r.DS
    return Memory(default if segment == _NONE else segment, base, index, 0, displacement), at + size


def _memory32(code: bytes, at: int, form: tuple[int, int, int, int], segment: int) -> tuple[Memory, int]:
    """The memory forms of 32- and 64-bit addressing; `form` is (mod, rm, REX, code size)."""
    mod, rm, rex, bits = form
    base, index, shift = rm | (rex & _REX_B) << 3, _NONE, 0
    size = (0, 1, 4)[mod]
    if rm == 4:
        sib = code[at]
        at += 1
        base = sib & 7 | (rex & _REX_B) << 3
        index = sib >> 3 & 7 | (rex & _REX_X) << 2
        shift = sib >> 6
        if index == r.RSP:
            index = _NONE
        if sib & 7 == 5 and mod == 0:
            base, size = _NONE, 4
    elif rm == 5 and mod == 0:
        base, size = _RIP if bits == 64 else _NONE, 4
    displacement = _signed(code, at, size)
    default = r.SS if base in (r.RSP, r.RBP) else r.DS
    return Memory(default if segment == _NONE else segment, base, index, shift, displacement), at + size


def _signed(code: bytes, at: int, size: int) -> int:
    """A displacement; reading past the end is an IndexError, as for single bytes."""
    if at + size > len(code):
        raise IndexError(at)
    return int.from_bytes(code[at : at + size], "little", signed=True)


def _unsigned(code: bytes, at: int, size: int) -> int:
    """An immediate operand."""
    if at + size > len(code):
        raise IndexError(at)
    return int.from_bytes(code[at : at + size], "little")


def offset_of(view: CpuView, instruction: Encoded, memory: Memory) -> int:
    """The effective address of a memory operand, an offset in its segment."""
    offset = memory.displacement
    if memory.base == _RIP:
        offset += view.rip + instruction.length
    elif memory.base != _NONE:
        offset += view.regs[memory.base]
    if memory.index != _NONE:
        offset += view.regs[memory.index] << memory.shift
    return offset & _ADDRESS_MASKS[instruction.address_bits]
