"""Instruction bytes as text, for traces.

Capstone is loaded at the first use, since a run without a trace has no need of it; decoding is
cached, since a guest runs the same instructions again and again.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from vmm.trace.events import Mode

if TYPE_CHECKING:
    from capstone import Cs

CACHE_ENTRIES: Final = 1 << 16
MAX_INSTRUCTION_BYTES: Final = 15  # [SDM2] §2.3.11
_BITS: Final[dict[Mode, int]] = {
    "real": 16, "vm86": 16, "prot16": 16, "prot32": 32, "compat": 32, "long": 64,
}  # fmt: skip
ADDRESS_DIGITS: Final = {16: 4, 32: 8, 64: 16}


class Decoded(NamedTuple):
    """An instruction's own bytes and its text."""

    code: bytes
    text: str


def code_bits(mode: Mode) -> int:
    """Return the operand size of code in `mode`."""
    return _BITS[mode]


@cache
def _decoder(bits: int) -> Cs:
    import capstone

    sizes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    return capstone.Cs(capstone.CS_ARCH_X86, sizes[bits])


@lru_cache(CACHE_ENTRIES)
def decode(code: bytes, ip: int, mode: Mode) -> Decoded:
    """Return the instruction at the start of `code`, or its first bytes as data."""
    if not code:
        return Decoded(b"", "")
    for _, size, mnemonic, operands in _decoder(_BITS[mode]).disasm_lite(code[:MAX_INSTRUCTION_BYTES], ip, 1):
        return Decoded(code[:size], f"{mnemonic} {operands}".rstrip())
    return Decoded(code[:MAX_INSTRUCTION_BYTES], "(bad)")


def address_text(cs: int, ip: int, mode: Mode) -> str:
    """Return CS:IP with as many digits as the mode's addresses have."""
    digits = ADDRESS_DIGITS[_BITS[mode]]
    return f"{cs:04x}:{ip:0{digits}x}"
