"""The state of the processor after power-on and RESET, as far as Unicorn's own is another.

Source: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, table 9-1.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.view import EngineView

CR0_AFTER_RESET: Final = 0x6000_0010
_HF2_GIF: Final = 1  # QEMU's global interrupt flag
_REAL_DATA: Final = 0x9300
_REAL_CODE: Final = 0x9B00
_LIMIT: Final = 0xFFFF
_LDT: Final = 0x8200
_BUSY_TSS: Final = 0x8B00


def write_reset_state(view: EngineView, signature: int) -> None:
    """Write the general, segment, table and control registers; `signature` is CPUID.1:EAX."""
    state = view.state
    state.efer, state.hflags2, state.hflags = 0, _HF2_GIF, 0
    for index in range(16):
        state.regs[index] = 0
    state.regs[r.RDX] = signature
    state.cr[0], state.cr[2], state.cr[3], state.cr[4] = CR0_AFTER_RESET, 0, 0, 0
    view.rflags = 2
    for index in (r.ES, r.SS, r.DS, r.FS, r.GS):
        view.load_segment(index, 0, 0, _LIMIT, _REAL_DATA)
    view.load_segment(r.CS, 0xF000, 0xFFFF_0000, _LIMIT, _REAL_CODE)
    view.rip = 0xFFF0
    for table, flags in ((state.gdt, 0), (state.idt, 0), (state.ldt, _LDT), (state.tr, _BUSY_TSS)):
        table.selector, table.base, table.limit, table.flags = 0, 0, _LIMIT, flags
