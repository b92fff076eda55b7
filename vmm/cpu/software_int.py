"""The software interrupt that Unicorn has already stepped over when it tells of it.

A fault met by its delivery must be reported at the instruction, not behind it, so its length is
worked out backwards. Prefixes, which mean nothing there, are not looked for.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.paging import MASK_32, MASK_64, probe
from vmm.cpu.view import EngineView

_ONE_BYTE: Final = {r.BP: 0xCC, r.OF_TRAP: 0xCE}  # INT3, INTO


def software_int_bytes(view: EngineView, vector: int) -> int:
    """Return the length of the INT n, INT3 or INTO that ends at RIP."""
    if vector not in _ONE_BYTE:
        return 2
    state = view.state
    wide = state.hflags & s.HF_CS64
    base, mask = (0, MASK_64) if wide else (state.segs[r.CS].base, MASK_32)
    physical = probe(view, base + state.rip - 1 & mask)
    last = None if physical is None else view.memory.read(physical, 1)[0]
    return 1 if last == _ONE_BYTE[vector] else 2
