"""Software interrupts: those Unicorn has stepped over when it tells of them, and INT1.

A fault met by its delivery must be reported at the instruction, not behind it, so its length is
worked out backwards. Prefixes, which mean nothing there, are not looked for.
"""

from __future__ import annotations

from typing import Final, Protocol

from vmm.cpu import registers as r
from vmm.cpu.paging import PAGE_MASK, PAGE_SIZE, probe
from vmm.cpu.state import CpuView


class CodeView(CpuView, Protocol):
    """A processor that says where its code is."""

    def code_address(self, offset: int = 0) -> int:
        """Return the linear address of CS:RIP + `offset`."""


_INT1: Final = 0xF1
_ONE_BYTE: Final = {r.BP: 0xCC, r.OF_TRAP: 0xCE}  # INT3, INTO


def software_int_bytes(view: CodeView, vector: int) -> int:
    """Return the length of the INT n, INT3 or INTO that ends at RIP."""
    if vector not in _ONE_BYTE:
        return 2
    return 1 if _code_byte(view, -1) == _ONE_BYTE[vector] else 2


def is_int1(view: CodeView) -> bool:
    """Whether the instruction at RIP is INT1, which the engine takes for an invalid one."""
    return _code_byte(view, 0) == _INT1


def read_code(view: CpuView, linear: int, length: int) -> bytes:
    """Return code at a linear address, as far as it is mapped."""
    code = b""
    while len(code) < length:
        at = linear + len(code)
        physical = probe(view, at)
        if physical is None:
            break
        code += view.memory.read(physical, min(length - len(code), PAGE_SIZE - (physical & PAGE_MASK)))
    return code


def _code_byte(view: CodeView, offset: int) -> int | None:
    physical = probe(view, view.code_address(offset))
    return None if physical is None else view.memory.read(physical, 1)[0]
