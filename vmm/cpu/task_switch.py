"""The hardware task switch: one TSS is filled from the processor, the processor from another.

Faults found before the commit point leave the old task as it was. The segment registers are checked
after it, as the processor does: such a fault is raised in the *new* task, its selectors loaded, its
unchecked segments unusable. `view.tr` keeps the *available* type, whatever the descriptor says.

Not modelled: the debug trap of a TSS's T flag; task switches do not exist in IA-32e mode.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, chapter 7.
"""

from __future__ import annotations

import enum
from struct import Struct as Layout
from typing import Final

import msgspec

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import Descriptor, plan_accessed, read_descriptor, read_system_descriptor
from vmm.cpu.paging import GuestFault, commit, plan_write, read_linear
from vmm.cpu.state import CpuView

# [SDM3] figures 7-2 and 7-10
_TSS32_SIZE: Final = 104
_TSS16_SIZE: Final = 44
_TSS32_LOAD: Final = Layout("<28xIII8I" + "H2x" * 6 + "H")  # CR3, EIP, EFLAGS, general, segments, LDT
_TSS16_LOAD: Final = Layout("<14xHH8H4HH")  # IP, FLAGS, general, ES CS SS DS, LDT
_TSS32_SAVE: Final = Layout("<10I" + "H2x" * 6)
_TSS16_SAVE: Final = Layout("<14H")
_TSS32_SAVE_AT: Final = 0x20
_TSS16_SAVE_AT: Final = 0x0E
_VM86_FLAGS: Final = r.DESC_P | 3 << r.DESC_DPL_SHIFT | r.DESC_S | r.DESC_WRITABLE | r.DESC_ACCESSED


class TaskCause(enum.Enum):
    """What asked for the switch; it decides about busy bits, NT and the back link."""

    JUMP = "jmp"
    CALL = "call"
    GATE = "interrupt through a task gate"
    IRET = "iret with NT set"


class _NewTask(msgspec.Struct, frozen=True):
    """The dynamic part of a TSS. `selectors` are ES CS SS DS FS GS."""

    cr3: int | None
    rip: int
    rflags: int
    general: tuple[int, ...]
    selectors: tuple[int, ...]
    ldt: int


def switch_task(
    view: CpuView,
    selector: int,
    cause: TaskCause,
    *,
    return_rip: int,
    rflags: int | None = None,
    ext: int = 0,
) -> bool:
    """Leave the current task for the one whose TSS `selector` names; True if that is a 32-bit one.

    `return_rip` and `rflags` (the current flags if None) are what the old TSS remembers. Privilege
    checks of a JMP or CALL are the caller's.

    Raises:
        GuestFault: #GP, #NP, #TS or #PF with nothing changed; #TS, #NP, #SS or #GP in the new task.
    """
    target = _checked_tss(view, selector, cause, ext)
    task = _read_task(view, target)
    flags = view.rflags if rflags is None else rflags
    plan = _plan_save(view, return_rip, flags & ~r.NT if cause is TaskCause.IRET else flags)
    nested = cause in (TaskCause.CALL, TaskCause.GATE)
    if nested:
        plan += plan_write(view, target.base, view.tr.selector.to_bytes(2, "little"))
    elif view.tr.selector & d.SELECTOR_INDEX:
        plan += _plan_busy(view, view.gdt.base + (view.tr.selector & d.SELECTOR_INDEX), busy=False)
    if cause is not TaskCause.IRET:
        plan += _plan_busy(view, target.address, busy=True)
    commit(view, plan)
    _load_registers(view, task, task.rflags | (r.NT if nested else 0))
    view.tr.selector, view.tr.base, view.tr.limit = selector, target.base, target.limit
    view.tr.flags = target.flags & ~(d.TYPE_BUSY << r.DESC_TYPE_SHIFT)
    view.write_cr(0, view.cr[0] | r.CR0_TS)
    _load_ldt(view, task.ldt, ext)
    if not task.rflags & r.VM:
        _load_segments(view, task, ext)
    return bool(target.type & d.TYPE_32)


def return_from_task(view: CpuView, next_rip: int) -> None:
    """IRET with NT set: switch to the task the back link of the current TSS names.

    Raises:
        GuestFault: as `switch_task`, with #TS for a bad back link.
    """
    link = int.from_bytes(read_linear(view, view.tr.base, 2), "little")
    switch_task(view, link, TaskCause.IRET, return_rip=next_rip)


def _checked_tss(view: CpuView, selector: int, cause: TaskCause, ext: int) -> Descriptor:
    """Steps 1 to 4 of [SDM3] §7.3: the new TSS is in the GDT, of the right kind, present and long enough."""
    vector = r.TS if cause is TaskCause.IRET else r.GP
    error = selector & d.ERROR_SELECTOR | ext
    if not selector & d.SELECTOR_INDEX:
        raise GuestFault(vector, error)
    target = read_system_descriptor(view, selector, vector=vector, ext=ext)
    if cause is TaskCause.IRET:
        wanted = (d.TYPE_TSS16_BUSY, d.TYPE_TSS32_BUSY)
    else:
        wanted = (d.TYPE_TSS16, d.TYPE_TSS32)
    if target.flags & r.DESC_S or target.type not in wanted:
        raise GuestFault(vector, error)
    if not target.present:
        raise GuestFault(r.NP, error)
    if target.limit < (_TSS32_SIZE if target.type & d.TYPE_32 else _TSS16_SIZE) - 1:
        raise GuestFault(r.TS, error)
    return target


def _read_task(view: CpuView, target: Descriptor) -> _NewTask:
    """Read the new TSS. A 16-bit one leaves CR3 alone and sets the upper halves as the 386 does."""
    if target.type & d.TYPE_32:
        raw = read_linear(view, target.base, _TSS32_SIZE)
        cr3, rip, rflags, *rest = _TSS32_LOAD.unpack_from(raw)
        return _NewTask(cr3, rip, rflags | 2, tuple(rest[:8]), tuple(rest[8:14]), rest[14])
    rip, rflags, *rest = _TSS16_LOAD.unpack_from(read_linear(view, target.base, _TSS16_SIZE))
    general = tuple(value | 0xFFFF_0000 for value in rest[:8])
    return _NewTask(None, rip, rflags | 2, general, (*rest[8:12], 0, 0), rest[12])


def _plan_save(view: CpuView, rip: int, rflags: int) -> list[tuple[int, bytes]]:
    """Step 8: the state of the old task, into its TSS."""
    general = list(view.regs[:8])
    selectors = [segment.selector & 0xFFFF for segment in view.segs]
    tr = view.tr
    if tr.flags >> r.DESC_TYPE_SHIFT & d.TYPE_32:
        values = [value & 0xFFFF_FFFF for value in (rip, rflags, *general)]
        return plan_write(view, tr.base + _TSS32_SAVE_AT, _TSS32_SAVE.pack(*values, *selectors))
    values = [value & 0xFFFF for value in (rip, rflags, *general)]
    return plan_write(view, tr.base + _TSS16_SAVE_AT, _TSS16_SAVE.pack(*values, *selectors[:4]))


def _plan_busy(view: CpuView, address: int, *, busy: bool) -> list[tuple[int, bytes]]:
    """Set or clear the busy bit of the TSS descriptor at a linear address."""
    access = read_linear(view, address + d.ACCESS_BYTE, 1)[0]
    access = access | d.TYPE_BUSY if busy else access & ~d.TYPE_BUSY
    return plan_write(view, address + d.ACCESS_BYTE, bytes((access,)))


def _load_registers(view: CpuView, task: _NewTask, rflags: int) -> None:
    """Step 12: all that needs no check. Segments get their selectors and stay unusable outside VM86."""
    if task.cr3 is not None and view.cr[0] & r.CR0_PG:
        view.write_cr(3, task.cr3)
    view.rflags = rflags
    for index, selector in enumerate(task.selectors):
        if rflags & r.VM:
            view.load_segment(index, selector, selector << 4, 0xFFFF, _VM86_FLAGS)
        else:
            cpl = task.selectors[r.CS] & 3  # loading SS sets the CPL: it is that of the new CS
            view.load_segment(index, selector, 0, 0, cpl << r.DESC_DPL_SHIFT)
    for index, value in enumerate(task.general):
        view.regs[index] = value
    view.rip = task.rip


def _load_ldt(view: CpuView, selector: int, ext: int) -> None:
    """Load LDTR; null is allowed and leaves no LDT."""
    ldt = view.ldt
    ldt.selector, ldt.base, ldt.limit, ldt.flags = selector, 0, 0, 0
    if not selector & d.ERROR_SELECTOR:
        return
    target = read_system_descriptor(view, selector, vector=r.TS, ext=ext)
    if target.flags & r.DESC_S or target.type != d.TYPE_LDT or not target.present:
        raise GuestFault(r.TS, selector & d.ERROR_SELECTOR | ext)
    ldt.base, ldt.limit, ldt.flags = target.base, target.limit, target.flags


def _load_segments(view: CpuView, task: _NewTask, ext: int) -> None:
    """Step 13: CS first, for it gives the CPL, then SS, then the data segments, [SDM3] table 7-1."""
    cs_selector = task.selectors[r.CS]
    cs = _fetch(view, cs_selector, ext)
    rpl = cs_selector & d.SELECTOR_RPL
    error = cs_selector & d.ERROR_SELECTOR | ext
    if not cs.is_code or (cs.dpl > rpl if cs.is_conforming else cs.dpl != rpl):
        raise GuestFault(r.TS, error)
    if not cs.present:
        raise GuestFault(r.NP, error)
    _load(view, r.CS, cs_selector, cs)
    ss_selector = task.selectors[r.SS]
    ss = _fetch(view, ss_selector, ext)
    error = ss_selector & d.ERROR_SELECTOR | ext
    if not ss.is_writable_data or not ss.dpl == rpl == ss_selector & d.SELECTOR_RPL:
        raise GuestFault(r.TS, error)
    if not ss.present:
        raise GuestFault(r.SS_FAULT, error)
    _load(view, r.SS, ss_selector, ss)
    for index in (r.ES, r.DS, r.FS, r.GS):
        _load_data(view, index, task.selectors[index], rpl, ext)
    if task.rip > cs.limit:
        raise GuestFault(r.GP, ext)


def _load_data(view: CpuView, index: int, selector: int, cpl: int, ext: int) -> None:
    """Load DS, ES, FS or GS; null is allowed."""
    if not selector & d.ERROR_SELECTOR:
        return
    target = _fetch(view, selector, ext)
    error = selector & d.ERROR_SELECTOR | ext
    if not target.is_readable:
        raise GuestFault(r.TS, error)
    if not target.is_conforming and target.dpl < max(cpl, selector & d.SELECTOR_RPL):
        raise GuestFault(r.TS, error)
    if not target.present:
        raise GuestFault(r.NP, error)
    _load(view, index, selector, target)


def _fetch(view: CpuView, selector: int, ext: int) -> Descriptor:
    """Read a segment descriptor of the new task: #TS for a null selector or beyond the table."""
    if not selector & d.ERROR_SELECTOR:
        raise GuestFault(r.TS, ext)
    return read_descriptor(view, selector, vector=r.TS, ext=ext)


def _load(view: CpuView, index: int, selector: int, target: Descriptor) -> None:
    """Load a checked segment and mark its descriptor accessed."""
    flags, plan = plan_accessed(view, target)
    commit(view, plan)
    view.load_segment(index, selector, target.base, target.limit, flags)
