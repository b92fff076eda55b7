"""SYSCALL, SYSENTER, SYSRET, SYSEXIT and SWAPGS on a `CpuView`.

Unicorn treats SYSCALL and SYSENTER as no-ops, so the portable engine does them here too. SYSCALL and
SYSRET exist outside 64-bit mode as well, as on AMD's processors.

Sources: [SDM2B] SWAPGS, SYSCALL, SYSENTER, SYSEXIT, SYSRET; [APM3] AMD64 Architecture Programmer's Manual,
volume 3, SYSCALL, SYSRET.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.encoding import MAX_LENGTH, Encoded, register_key
from vmm.cpu.operands import Handler, Outcome, Services, next_rip, require_ring_0
from vmm.cpu.paging import MASK_32, PAGE_MASK, PAGE_SIZE, GuestFault, is_canonical, probe
from vmm.cpu.segmentation import code_bits, in_protected_mode
from vmm.cpu.state import CpuView, long_mode_active

IA32_SYSENTER_CS: Final = 0x174
IA32_SYSENTER_ESP: Final = 0x175
IA32_SYSENTER_EIP: Final = 0x176
IA32_STAR: Final = 0xC000_0081
IA32_LSTAR: Final = 0xC000_0082
IA32_CSTAR: Final = 0xC000_0083
IA32_FMASK: Final = 0xC000_0084
IA32_KERNEL_GS_BASE: Final = 0xC000_0102

_LENGTH: Final = 2  # both are 0F xx, behind prefixes
_ESCAPE: Final = b"\x0f"
_FLAT_CODE: Final = r.DESC_G | r.DESC_P | r.DESC_S | r.DESC_CODE | r.DESC_WRITABLE | r.DESC_ACCESSED
_FLAT_DATA: Final = r.DESC_G | r.DESC_B | r.DESC_P | r.DESC_S | r.DESC_WRITABLE | r.DESC_ACCESSED
_RING_3: Final = 3 << r.DESC_DPL_SHIFT
_LIMIT: Final = 0xFFFF_FFFF
_SYSRET_FLAGS: Final = 0x3C_7FD7  # what SYSRET takes of R11: all but RF and VM
_SWAPGS: Final = 0xF8

ReadMsr = Callable[[int], int | None]


def entry_bytes(view: CpuView) -> int:
    """Return the length of the SYSCALL or SYSENTER at RIP, its prefixes counted."""
    bits = code_bits(view)
    linear = view.rip if bits == 64 else view.segs[r.CS].base + view.rip & MASK_32
    physical = probe(view, linear)
    if physical is None:
        return _LENGTH
    here = min(MAX_LENGTH, PAGE_SIZE - (linear & PAGE_MASK))
    return max(view.memory.read(physical, here).find(_ESCAPE), 0) + _LENGTH


def _enter_ring0(view: CpuView, selector: int) -> None:
    mode = r.DESC_L if long_mode_active(view) else r.DESC_B
    view.load_segment(r.CS, selector & 0xFFFC, 0, _LIMIT, _FLAT_CODE | mode)
    view.load_segment(r.SS, (selector & 0xFFFC) + 8, 0, _LIMIT, _FLAT_DATA)


def _leave_ring0(view: CpuView, code: int, stack: int, mode: int) -> None:
    view.load_segment(r.CS, code & 0xFFFF | 3, 0, _LIMIT, _FLAT_CODE | _RING_3 | mode)
    view.load_segment(r.SS, stack & 0xFFFF | 3, 0, _LIMIT, _FLAT_DATA | _RING_3)


def syscall(view: CpuView, read_msr: ReadMsr, following: int) -> None:
    """Enter the kernel by STAR and LSTAR/CSTAR; #UD unless EFER.SCE. `following`: where SYSRET goes."""
    if not view.efer & r.EFER_SCE:
        raise GuestFault(r.UD)
    flags = view.rflags
    star = read_msr(IA32_STAR) or 0
    from_64 = code_bits(view) == 64
    view.regs[r.RCX] = following
    _enter_ring0(view, star >> 32 & 0xFFFF)
    if long_mode_active(view):
        view.regs[11] = flags
        view.rflags = flags & ~((read_msr(IA32_FMASK) or 0) | r.RF)
        view.rip = read_msr(IA32_LSTAR if from_64 else IA32_CSTAR) or 0
    else:
        view.rflags = flags & ~(r.VM | r.IF | r.RF)
        view.rip = star & MASK_32


def sysenter(view: CpuView, read_msr: ReadMsr, _following: int) -> None:
    """Enter the kernel by the SYSENTER MSRs; #GP(0) in real mode, or when they hold no selector."""
    selector = read_msr(IA32_SYSENTER_CS) or 0
    if not view.cr[0] & r.CR0_PE or not selector & 0xFFFC:
        raise GuestFault(r.GP, 0)
    mask = -1 if long_mode_active(view) else MASK_32
    view.rflags = view.rflags & ~(r.VM | r.IF | r.RF)
    _enter_ring0(view, selector)
    view.regs[r.RSP] = (read_msr(IA32_SYSENTER_ESP) or 0) & mask
    view.rip = (read_msr(IA32_SYSENTER_EIP) or 0) & mask


def _syscall(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    syscall(view, services.read_msr, next_rip(view, instruction))
    return Outcome.TRANSFERRED


def _sysenter(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    sysenter(view, services.read_msr, next_rip(view, instruction))
    return Outcome.TRANSFERRED


def _sysexit(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    """To ring 3 at EDX, stack ECX; with REX.W to 64-bit code."""
    selector = services.read_msr(IA32_SYSENTER_CS) or 0
    if view.cpl or not view.cr[0] & r.CR0_PE or not selector & 0xFFFC:
        raise GuestFault(r.GP, 0)
    rip, rsp = view.regs[r.RDX], view.regs[r.RCX]
    selector &= 0xFFFC
    if instruction.operand_bytes == 8:
        if not (is_canonical(rip) and is_canonical(rsp)):
            raise GuestFault(r.GP, 0)
        _leave_ring0(view, selector + 32, selector + 40, r.DESC_L)
    else:
        rip, rsp = rip & MASK_32, rsp & MASK_32
        _leave_ring0(view, selector + 16, selector + 24, r.DESC_B)
    view.regs[r.RSP], view.rip = rsp, rip
    return Outcome.TRANSFERRED


def _sysret(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    """To ring 3 at RCX; in IA-32e mode the flags come from R11, else only IF is set."""
    if not view.efer & r.EFER_SCE:
        raise GuestFault(r.UD)
    if not in_protected_mode(view):
        raise GuestFault(r.GP, 0)
    require_ring_0(view)
    selector = (services.read_msr(IA32_STAR) or 0) >> 48
    rip = view.regs[r.RCX]
    wide = instruction.operand_bytes == 8
    if wide and not is_canonical(rip):
        raise GuestFault(r.GP, 0)
    if long_mode_active(view):
        view.rflags = view.regs[11] & _SYSRET_FLAGS | 2
    else:
        view.set_if(True)
    if wide:
        _leave_ring0(view, selector + 16, selector + 8, r.DESC_L)
    else:
        rip &= MASK_32
        _leave_ring0(view, selector, selector + 8, r.DESC_B)
    view.rip = rip
    return Outcome.TRANSFERRED


def _swapgs(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    if instruction.bits != 64:
        raise GuestFault(r.UD)
    require_ring_0(view)
    gs = view.segs[r.GS]
    base = services.read_msr(IA32_KERNEL_GS_BASE) or 0
    services.write_msr(IA32_KERNEL_GS_BASE, gs.base)
    view.load_segment(r.GS, gs.selector, base, gs.limit, gs.flags)
    return Outcome.DONE


HANDLERS: Final[dict[int, Handler]] = {
    0x0F05: _syscall,
    0x0F07: _sysret,
    0x0F34: _sysenter,
    0x0F35: _sysexit,
    register_key(_SWAPGS): _swapgs,
}
