"""SYSCALL and SYSENTER on a CPU view: Unicorn treats both as no-ops, so the portable engine does them.

Source: [SDM2B] SYSCALL, SYSENTER.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.encoding import MAX_LENGTH
from vmm.cpu.paging import MASK_32, PAGE_MASK, PAGE_SIZE, GuestFault, probe
from vmm.cpu.segmentation import code_bits
from vmm.cpu.view import EngineView

_LENGTH: Final = 2  # both are 0F xx, behind prefixes
_ESCAPE: Final = b"\x0f"
_FLAT_CODE: Final = r.DESC_G | r.DESC_P | r.DESC_S | r.DESC_CODE | r.DESC_WRITABLE | r.DESC_ACCESSED
_FLAT_DATA: Final = r.DESC_G | r.DESC_B | r.DESC_P | r.DESC_S | r.DESC_WRITABLE | r.DESC_ACCESSED
_LIMIT: Final = 0xFFFF_FFFF


def entry_bytes(view: EngineView) -> int:
    """Return the length of the SYSCALL or SYSENTER at RIP, its prefixes counted."""
    bits = code_bits(view)
    linear = view.rip if bits == 64 else view.segs[r.CS].base + view.rip & MASK_32
    physical = probe(view, linear)
    if physical is None:
        return _LENGTH
    here = min(MAX_LENGTH, PAGE_SIZE - (linear & PAGE_MASK))
    return max(view.memory.read(physical, here).find(_ESCAPE), 0) + _LENGTH


def _enter_ring0(view: EngineView, selector: int) -> None:
    long_mode = bool(view.efer & r.EFER_LMA)
    view.load_segment(r.CS, selector & 0xFFFC, 0, _LIMIT, _FLAT_CODE | (r.DESC_L if long_mode else r.DESC_B))
    view.load_segment(r.SS, (selector & 0xFFFC) + 8, 0, _LIMIT, _FLAT_DATA)


def syscall(view: EngineView, length: int = _LENGTH) -> None:
    """Enter the kernel by STAR and LSTAR/CSTAR; #UD unless EFER.SCE."""
    state = view.state
    if not view.efer & r.EFER_SCE:
        raise GuestFault(r.UD)
    following, flags = view.rip + length, view.rflags
    long_mode = bool(view.efer & r.EFER_LMA)
    from_64 = bool(state.hflags & (1 << 15))
    view.regs[r.RCX] = following
    _enter_ring0(view, state.star >> 32 & 0xFFFF)
    if long_mode:
        view.regs[11] = flags
        view.rflags = flags & ~state.fmask & ~r.RF
        view.rip = state.lstar if from_64 else state.cstar
    else:
        view.rflags = flags & ~(r.VM | r.IF | r.RF)
        view.rip = state.star & 0xFFFF_FFFF


def sysenter(view: EngineView, _length: int = _LENGTH) -> None:
    """Enter the kernel by the SYSENTER MSRs; #GP(0) when they hold no selector."""
    state = view.state
    if not state.sysenter_cs & 0xFFFC:
        raise GuestFault(r.GP, 0)
    state.eflags &= ~(r.VM | r.IF | r.RF)
    _enter_ring0(view, state.sysenter_cs)
    view.regs[r.RSP] = state.sysenter_esp
    view.rip = state.sysenter_eip
