"""Whether code may use a port: IOPL, and the bitmap in the TSS. Unicorn lets everybody.

Source: [SDM1] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, §19.5.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.paging import read_linear
from vmm.cpu.state import CpuView

_BITMAP_POINTER: Final = 0x66
_SMALLEST: Final = 0x67  # the limit of a TSS that has the pointer


def io_allowed(view: CpuView, flags: int, port: int, size: int) -> bool:
    """Whether an access passes; `flags` is RFLAGS as far as IOPL and VM go.

    Raises:
        GuestFault: #PF on the bitmap.
    """
    if view.cpl <= (flags & r.IOPL) >> r.IOPL_SHIFT and not flags & r.VM:
        return True
    tr = view.tr
    if tr.flags >> r.DESC_TYPE_SHIFT & 15 not in (d.TYPE_TSS32, d.TYPE_TSS32_BUSY) or tr.limit < _SMALLEST:
        return False
    at = int.from_bytes(read_linear(view, tr.base + _BITMAP_POINTER, 2), "little") + (port >> 3)
    if at + 1 > tr.limit:  # always two bytes are read
        return False
    bits = int.from_bytes(read_linear(view, tr.base + at, 2), "little") >> (port & 7)
    return not bits & ((1 << size) - 1)
