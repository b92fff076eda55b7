"""RETF and IRET in all their forms, on a `CpuView`.

To the same or an outer level, to and within virtual-8086 mode, to the interrupted task (NT), in real
mode and in IA-32e mode. Everything is checked before the first change; in the one exception, the
task return, segment faults are raised in the other task. Outer data segments that the new level may not have
are nulled, except FS and GS that hold a null selector already: their base outlives it.

Not modelled: CR4.VME (IRET in VM86 needs IOPL 3), shadow stacks.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, IRET, volume 2B,
RET; [SDM3] volume 3A, §5.8.6, §6.14.3, §20.2.
"""

from __future__ import annotations

from typing import Final

import msgspec

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import Descriptor, plan_accessed, read_descriptor
from vmm.cpu.encoding import Encoded
from vmm.cpu.far_transfers import check_code, check_offset
from vmm.cpu.operands import Handler, Outcome, Services, next_rip
from vmm.cpu.paging import MASK_32, MASK_64, GuestFault, commit
from vmm.cpu.segmentation import in_protected_mode, peek_items, pop_items, popped
from vmm.cpu.state import CpuView, long_mode_active
from vmm.cpu.task_switch import return_from_task

_TRANSFERRED = Outcome.TRANSFERRED
# What IRET always replaces; its 16-bit form, or code without the right, keeps the rest
_ALWAYS: Final = r.ARITHMETIC_FLAGS | r.TF | r.DF | r.NT
_WIDE: Final = r.RF | r.AC | r.ID
_VIRTUAL: Final = r.VIF | r.VIP
_ALWAYS_ONE: Final = 2  # EFLAGS bit 1
_CODE: Final = r.DESC_S | r.DESC_CODE
_VM86_LIMIT: Final = 0xFFFF
_VM86_FLAGS: Final = r.DESC_P | 3 << r.DESC_DPL_SHIFT | r.DESC_S | r.DESC_WRITABLE | r.DESC_ACCESSED


class _OuterStack(msgspec.Struct, frozen=True, gc=False):
    """The stack that a return to an outer level takes up."""

    selector: int
    base: int
    limit: int
    flags: int
    rsp: int
    plan: list[tuple[int, bytes]]


def _retf(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    size, release = instruction.operand_bytes, instruction.immediate
    (rip, selector), rsp = pop_items(view, 2, size)
    selector &= 0xFFFF
    if release:
        rsp = popped(view, 2 * size + release)
    if not in_protected_mode(view):
        _return_real(view, rip, selector, rsp)
        return _TRANSFERRED
    target = _return_code(view, selector)
    rpl = selector & d.SELECTOR_RPL
    if rpl == view.cpl:
        _land(view, rip, selector, target, rsp)
        return _TRANSFERRED
    sp, ss = peek_items(view, 2, size, 2 * size + release)
    outer = _outer_stack(view, ss & 0xFFFF, sp, release, target, rpl)
    _land_outer(view, rip, selector, target, outer, None)
    return _TRANSFERRED


def _iret(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    old = view.interrupt_flags()
    size = instruction.operand_bytes
    if not view.cr[0] & r.CR0_PE:
        _iret_real(view, size, r.IOPL)
    elif old & r.VM:
        if old & r.IOPL != r.IOPL:
            raise GuestFault(r.GP, 0)
        _iret_real(view, size, 0)
    elif old & r.NT:
        if long_mode_active(view):
            raise GuestFault(r.GP, 0)
        return_from_task(view, next_rip(view, instruction))
    else:
        _iret_protected(view, size, instruction.bits, old)
    services.end_nmi()
    return _TRANSFERRED


def _iret_real(view: CpuView, size: int, iopl: int) -> None:
    """Real-address and virtual-8086 mode; `iopl` is the IOPL field where it may change, else 0."""
    (rip, selector, flags), rsp = pop_items(view, 3, size)
    changed = _ALWAYS | r.IF | iopl
    if size > 2:
        changed |= _WIDE
    _return_real(view, rip, selector & 0xFFFF, rsp)
    view.rflags = view.rflags & ~(changed | r.RF) | flags & changed


def _return_real(view: CpuView, rip: int, selector: int, rsp: int) -> None:
    cs = view.segs[r.CS]
    if rip > cs.limit:
        raise GuestFault(r.GP, 0)
    view.regs[r.RSP] = rsp
    view.load_segment(r.CS, selector, selector << 4, cs.limit, cs.flags)
    view.rip = rip


def _iret_protected(view: CpuView, size: int, bits: int, old: int) -> None:
    """Protected and IA-32e mode, from code of `bits`; `old` are the flags now."""
    (rip, selector, flags), rsp = pop_items(view, 3, size)
    selector &= 0xFFFF
    cpl = view.cpl
    if flags & r.VM and cpl == 0 and size == 4 and not long_mode_active(view):
        _enter_vm86(view, rip, selector, flags)
        return
    target = _return_code(view, selector)
    changed = _ALWAYS
    if cpl <= old >> r.IOPL_SHIFT & 3:
        changed |= r.IF
    if cpl == 0:
        changed |= r.IOPL
    if size == 2:
        old = view.rflags
    else:
        changed |= _WIDE if cpl else _WIDE | _VIRTUAL
    new = old & ~(changed | r.RF) | flags & changed | _ALWAYS_ONE
    rpl = selector & d.SELECTOR_RPL
    if rpl == cpl and bits != 64:
        _land(view, rip, selector, target, rsp, new)
        return
    sp, ss = peek_items(view, 2, size, 3 * size)  # 64-bit code always pops a stack, [SDM3] §6.14.3
    outer = _outer_stack(view, ss & 0xFFFF, sp, 0, target, rpl)
    _land_outer(view, rip, selector, target, outer, new)


def _return_code(view: CpuView, selector: int) -> Descriptor:
    """Read and check the code segment of a return: never inwards.

    Raises:
        GuestFault: #GP, #NP or #PF.
    """
    if not selector & d.ERROR_SELECTOR:
        raise GuestFault(r.GP, 0)
    target = read_descriptor(view, selector)
    rpl = selector & d.SELECTOR_RPL
    flags = target.flags
    dpl = flags >> r.DESC_DPL_SHIFT & 3
    wrong_level = dpl > rpl if flags & r.DESC_CONFORMING else dpl != rpl
    if flags & _CODE != _CODE or rpl < view.cpl or wrong_level:
        raise GuestFault(r.GP, selector & d.ERROR_SELECTOR)
    if not flags & r.DESC_P or flags & r.DESC_L:
        check_code(view, target, selector)
    return target


def _land(
    view: CpuView, rip: int, selector: int, target: Descriptor, rsp: int, rflags: int | None = None
) -> None:
    """Go on at the same level."""
    if rip > target.limit or target.flags & r.DESC_L:
        check_offset(view, target, rip)
    flags, plan = plan_accessed(view, target)
    commit(view, plan)
    if rflags is not None:
        view.rflags = rflags
    view.regs[r.RSP] = rsp
    cs = view.segs[r.CS]
    if (cs.selector, cs.flags, cs.base, cs.limit) != (selector, flags, target.base, target.limit):
        view.load_segment(r.CS, selector, target.base, target.limit, flags)
    view.rip = rip


def _outer_stack(
    view: CpuView, selector: int, sp: int, release: int, target: Descriptor, rpl: int
) -> _OuterStack:
    """Check the stack of level `rpl`; `release` bytes of it are given up.

    Raises:
        GuestFault: #GP, #SS or #PF.
    """
    wide = bool(target.flags & r.DESC_L) and long_mode_active(view)
    if not selector & d.ERROR_SELECTOR:
        if not wide or rpl == 3:
            raise GuestFault(r.GP, 0)
        return _OuterStack(selector, 0, 0, rpl << r.DESC_DPL_SHIFT, sp + release & MASK_64, [])
    ss = read_descriptor(view, selector)
    error = selector & d.ERROR_SELECTOR
    if selector & d.SELECTOR_RPL != rpl or ss.dpl != rpl or not ss.is_writable_data:
        raise GuestFault(r.GP, error)
    if not ss.present:
        raise GuestFault(r.SS_FAULT, error)
    flags, plan = plan_accessed(view, ss)
    if wide:
        rsp = sp + release & MASK_64
    else:  # a 16-bit stack leaves the upper half of ESP alone, as the kernel had it
        mask = MASK_32 if flags & r.DESC_B else 0xFFFF
        rsp = view.regs[r.RSP] & MASK_32 & ~mask | sp + release & mask
    return _OuterStack(selector, ss.base, ss.limit, flags, rsp, plan)


def _land_outer(
    view: CpuView, rip: int, selector: int, target: Descriptor, outer: _OuterStack, rflags: int | None
) -> None:
    """Go on with a stack that was popped too, at level RPL of `selector`."""
    check_offset(view, target, rip)
    flags, plan = plan_accessed(view, target)
    commit(view, outer.plan + plan)
    old_cpl, cpl = view.cpl, selector & d.SELECTOR_RPL
    if rflags is not None:
        view.rflags = rflags
    view.load_segment(r.SS, outer.selector, outer.base, outer.limit, outer.flags)
    view.regs[r.RSP] = outer.rsp
    view.load_segment(r.CS, selector, target.base, target.limit, flags)
    view.rip = rip
    if cpl != old_cpl:
        _drop_inner_segments(view, cpl)


def _drop_inner_segments(view: CpuView, cpl: int) -> None:
    """Null the data segments that level `cpl` may not use."""
    for index in (r.ES, r.DS, r.FS, r.GS):
        cache = view.segs[index]
        if index >= r.FS and not cache.selector & d.ERROR_SELECTOR:
            continue
        conforming = cache.flags & (r.DESC_CODE | r.DESC_CONFORMING) == r.DESC_CODE | r.DESC_CONFORMING
        if not conforming and cache.flags >> r.DESC_DPL_SHIFT & 3 < cpl:
            view.load_segment(index, 0, 0, 0, 0)


def _enter_vm86(view: CpuView, rip: int, selector: int, flags: int) -> None:
    """From ring 0 to virtual-8086 mode: nine dwords, [SDM3] §20.2.2."""
    sp, ss, es, ds, fs, gs = peek_items(view, 6, 4, 12)
    if rip > _VM86_LIMIT:
        raise GuestFault(r.GP, 0)
    view.rflags = flags | _ALWAYS_ONE
    for index, value in enumerate((es, selector, ss, ds, fs, gs)):
        value &= 0xFFFF
        view.load_segment(index, value, value << 4, _VM86_LIMIT, _VM86_FLAGS)
    view.regs[r.RSP] = sp
    view.rip = rip


HANDLERS: Final[dict[int, Handler]] = {0xCA: _retf, 0xCB: _retf, 0xCF: _iret}
