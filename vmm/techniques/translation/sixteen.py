"""16-bit code as 32-bit code: the same instruction with its size prefixes the other way round."""

from __future__ import annotations

from typing import Final

from vmm.techniques.translation.lengths import PREFIXES, Shape

_OPERAND, _ADDRESS = 0x66, 0x67
# Two-byte opcodes to which an operand-size prefix says something else: SSE and its kin
_FIXED_SIZE: Final = frozenset(
    0x0F00 | opcode
    for opcode in (*range(0x10, 0x18), *range(0x28, 0x30), 0x38, 0x3A, *range(0x50, 0x80), 0xAE, 0xC2,
                   *range(0xC4, 0xC8), *range(0xD0, 0x100))
)  # fmt: skip


def turned(found: Shape, code: bytes) -> bytes:
    """A 16-bit instruction as 32-bit code has it: the size prefixes are the other way round."""
    at = 0
    kept = bytearray()
    while (byte := code[at]) in PREFIXES:
        if byte not in (_OPERAND, _ADDRESS):
            kept.append(byte)
        at += 1
    fixed = found.opcode in _FIXED_SIZE
    if (not found.wide) ^ fixed:
        kept.insert(0, _OPERAND)
    if not found.wide_address:
        kept.insert(0, _ADDRESS)
    return bytes(kept) + code[at:]
