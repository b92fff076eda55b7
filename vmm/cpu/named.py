"""The processor's registers by name, as users see them."""

from __future__ import annotations

from vmm.cpu import registers as r
from vmm.cpu.state import CpuView


def named_registers(view: CpuView) -> dict[str, int]:
    """Return general, segment and control registers; 64 bits wide only in long mode."""
    wide = bool(view.efer & r.EFER_LMA)
    names = r.GPR_NAMES if wide else [f"e{name[1:]}" for name in r.GPR_NAMES[:8]]
    values = {name: view.regs[i] if wide else view.regs[i] & 0xFFFF_FFFF for i, name in enumerate(names)}
    values["rip" if wide else "eip"] = view.rip
    values["rflags" if wide else "eflags"] = view.rflags
    values |= {name: view.segs[i].selector for i, name in enumerate(r.SEGMENT_NAMES)}
    values |= {f"cr{i}": view.cr[i] for i in (0, 2, 3, 4)}
    values["efer"] = view.efer
    return values
