"""Interrupts and exceptions: from a vector to the first instruction of its handler, on a `CpuView`.

Four ways lead there: the real-mode vector table, interrupt and trap gates of 16 and 32 bits, task
gates, and the 16-byte gates of IA-32e mode. Each way first computes all it will do, and any fault is
raised then; the commit at its end cannot fail. (Segment faults inside a task switch are the one
exception: the architecture raises them in the new task.) `deliver_event` adds the rules for a fault
met while another event is delivered: serial handling, double fault, triple fault.

Faults push RF set where [SDM3] §17.3.1.1 says so, and EXT is set in error codes raised while anything
but a software interrupt is delivered. Not modelled: the interrupt redirection bitmap of CR4.VME
(software interrupts of VM86 code need IOPL 3), shadow stacks.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, chapters 6 and
20; [SDM2] volume 2A, INT n.
"""

from __future__ import annotations

import enum
from struct import Struct as Layout
from typing import Final

import msgspec

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import Descriptor, Gate, parse_gate, plan_accessed, read_descriptor
from vmm.cpu.inner_stacks import InnerStack, inner_stack, read_rsp
from vmm.cpu.paging import MASK_32, MASK_64, GuestFault, commit, is_canonical, plan_write, read_linear
from vmm.cpu.segmentation import Stack, current_stack, plan_push
from vmm.cpu.state import CpuView
from vmm.cpu.task_switch import TaskCause, switch_task

_GATES_32: Final = frozenset(
    {
        d.TYPE_TASK_GATE,
        d.TYPE_INTERRUPT_GATE16,
        d.TYPE_TRAP_GATE16,
        d.TYPE_INTERRUPT_GATE32,
        d.TYPE_TRAP_GATE32,
    }
)
_GATES_64: Final = frozenset({d.TYPE_INTERRUPT_GATE32, d.TYPE_TRAP_GATE32})
_TRAP_BIT: Final = 1  # of a gate's type: leaves IF alone
_CLEARED: Final = r.TF | r.NT | r.RF | r.VM  # [SDM3] §6.8, §6.12.1.3, §20.3.1

# Exceptions that push RF as it is: traps, aborts and #DB, which may be either, [SDM3] table 6-1
_NOT_FAULTS: Final = frozenset({r.DB, r.NMI, r.BP, r.OF_TRAP, r.DF_FAULT, r.MC})
_LAST_EXCEPTION: Final = 31

# Classes of [SDM3] table 6-4; what is in neither is benign
_CONTRIBUTORY: Final = frozenset({r.DE, r.TS, r.NP, r.SS_FAULT, r.GP, 21})
_PAGE_FAULTS: Final = frozenset({r.PF_FAULT, 20})

_VECTOR_ENTRY: Final = Layout("<HH")
_REAL_FRAME: Final = Layout("<HHH")
_LONG_FRAME: Final = {n: Layout(f"<{n}Q") for n in (5, 6)}
_FRAME32: Final = {n: Layout(f"<{n}I") for n in range(3, 11)}
_FRAME16: Final = {n: Layout(f"<{n}H") for n in range(3, 11)}


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something to be delivered.

    `software` marks INT n, INT3 and INTO, `external` interrupts from outside; neither, an exception.
    `next_rip` is where traps and software interrupts return to; None means the current RIP.
    """

    vector: int
    error_code: int | None = None
    software: bool = False
    external: bool = False
    next_rip: int | None = None
    cr2: int | None = None

    @property
    def ext(self) -> int:
        """The EXT bit of error codes met during delivery, [SDM3] §6.13."""
        return 0 if self.software else 1

    @property
    def is_fault(self) -> bool:
        """Whether this exception restarts its instruction, so that RF is set in the pushed flags."""
        if self.software or self.external or self.vector > _LAST_EXCEPTION:
            return False
        return self.vector not in _NOT_FAULTS


class DeliveryOutcome(enum.Enum):
    """What came of an event."""

    DELIVERED = "delivered"
    NESTED_FAULT = "a fault of its delivery was delivered instead"
    DOUBLE_FAULT = "double fault"
    TRIPLE_FAULT = "triple fault"


def deliver(
    view: CpuView,
    vector: int,
    *,
    error_code: int | None = None,
    software: bool = False,
    external: bool = False,
    next_rip: int | None = None,
) -> None:
    """Enter the handler of `vector`. The arguments are those of `Event`.

    Raises:
        GuestFault: delivery faulted; no register has changed (task switches: see the module).
    """
    _deliver(view, Event(vector, error_code, software, external, next_rip))


def deliver_event(view: CpuView, event: Event) -> DeliveryOutcome:
    """Deliver an event and whatever faults its delivery meets, to the handler that gets control.

    CR2 is written for each #PF. After TRIPLE_FAULT the processor is as the last failed delivery
    left it, for a post-mortem; what becomes of the machine is the caller's decision.
    """
    outcome = DeliveryOutcome.DELIVERED
    while True:
        if event.cr2 is not None:
            view.write_cr(2, event.cr2)
        try:
            _deliver(view, event)
        except GuestFault as fault:
            second = Event(fault.vector, fault.error_code, cr2=fault.cr2)
        else:
            return outcome
        if escalates(event, second):
            if second.cr2 is not None:
                view.write_cr(2, second.cr2)
            if event.vector == r.DF_FAULT and not event.software:
                return DeliveryOutcome.TRIPLE_FAULT
            outcome = DeliveryOutcome.DOUBLE_FAULT
            event = Event(r.DF_FAULT, 0)
        else:
            outcome = DeliveryOutcome.NESTED_FAULT
            event = second


def escalates(first: Event, second: Event) -> bool:
    """Whether two faults make a double fault, or shutdown after one, [SDM3] table 6-5."""
    if first.software or first.external:
        return False
    if first.vector == r.DF_FAULT or first.vector in _PAGE_FAULTS:
        return second.vector in _CONTRIBUTORY or second.vector in _PAGE_FAULTS
    return first.vector in _CONTRIBUTORY and second.vector in _CONTRIBUTORY


def _deliver(view: CpuView, event: Event) -> None:
    """Choose the way in by the processor's mode. RFLAGS, dear to read in an engine, is read once."""
    rflags = view.rflags
    if not view.cr[0] & r.CR0_PE:
        _real(view, event, rflags)
    elif view.efer & r.EFER_LMA:
        _long(view, event, rflags)
    else:
        _protected(view, event, rflags)


def _return_image(view: CpuView, event: Event, rflags: int) -> tuple[int, int]:
    """The RIP and RFLAGS that the handler's IRET restores."""
    rip = view.rip if event.next_rip is None else event.next_rip
    return rip, rflags | r.RF if event.is_fault else rflags


def _real(view: CpuView, event: Event, rflags: int) -> None:
    """Real-address mode: the vector table of far pointers, [SDM3] §20.1.4."""
    if event.vector * 4 + 3 > view.idt.limit:
        raise GuestFault(r.GP, event.vector * 8 | d.ERROR_IDT)
    ip, selector = _VECTOR_ENTRY.unpack(read_linear(view, view.idt.base + event.vector * 4, 4))
    rip, pushed = _return_image(view, event, rflags)
    cs = view.segs[r.CS]
    frame = _REAL_FRAME.pack(rip & 0xFFFF, cs.selector & 0xFFFF, pushed & 0xFFFF)
    sp, plan = plan_push(view, current_stack(view), frame, 2, GuestFault(r.SS_FAULT, 0))
    commit(view, plan)
    view.rflags = rflags & ~(r.IF | r.TF | r.AC | r.RF)
    view.regs[r.RSP] = sp
    view.load_segment(r.CS, selector, selector << 4, cs.limit, cs.flags)
    view.rip = ip


def _protected(view: CpuView, event: Event, rflags: int) -> None:
    """Protected and virtual-8086 mode: interrupt, trap and task gates, [SDM3] §6.12, §20.3."""
    vm86 = bool(rflags & r.VM)
    if vm86 and event.software and rflags & r.IOPL != r.IOPL and _is_int_n(view, event):
        raise GuestFault(r.GP, 0)
    gate = _gate(view, event, 8, _GATES_32)
    if gate.type == d.TYPE_TASK_GATE:
        _task(view, event, gate, rflags)
        return
    ext = event.ext
    target = _target_code(view, gate, ext)
    if vm86 and (target.is_conforming or target.dpl):
        raise GuestFault(r.GP, gate.selector & d.ERROR_SELECTOR | ext)
    if gate.offset > target.limit:
        raise GuestFault(r.GP, ext)
    flags, plan = plan_accessed(view, target)
    old_cpl = view.cpl
    cpl = old_cpl if target.is_conforming else target.dpl
    rip, pushed = _return_image(view, event, rflags)
    frame = [rip, view.segs[r.CS].selector, pushed]
    stack = None
    if cpl < old_cpl:
        stack = inner_stack(view, cpl, ext)
        frame += (view.regs[r.RSP], view.segs[r.SS].selector)
        if vm86:
            frame += (view.segs[index].selector for index in (r.ES, r.DS, r.FS, r.GS))
    if event.error_code is not None:
        frame.insert(0, event.error_code)
    sp, writes = _plan_frame(view, gate, frame, stack, ext)
    commit(view, plan + writes)
    view.rflags = _entry_flags(gate, rflags)
    if stack is not None:
        if vm86:
            for index in (r.GS, r.FS, r.DS, r.ES):
                view.load_segment(index, 0, 0, 0, 0)
        view.load_segment(r.SS, stack.selector, stack.base, stack.limit, stack.flags)
    view.regs[r.RSP] = sp
    view.load_segment(r.CS, gate.selector & ~3 | cpl, target.base, target.limit, flags)
    view.rip = gate.offset


def _is_int_n(view: CpuView, event: Event) -> bool:
    """Tell INT n, which IOPL guards in VM86 mode, from the one-byte INT3 and INTO, [SDM3] §20.3.3."""
    if event.vector not in (r.BP, r.OF_TRAP) or event.next_rip is None:
        return True
    return event.next_rip - view.rip & 0xFFFF != 1


def _gate(view: CpuView, event: Event, size: int, types: frozenset[int]) -> Gate:
    """Read the vector's IDT entry, and check all that can be said without its target."""
    error = event.vector * 8 | d.ERROR_IDT | event.ext
    at = event.vector * size
    if at + size - 1 > view.idt.limit:
        raise GuestFault(r.GP, error)
    gate = parse_gate(read_linear(view, view.idt.base + at, size))
    if not gate.is_system or gate.type not in types:
        raise GuestFault(r.GP, error)
    if event.software and gate.dpl < view.cpl:
        raise GuestFault(r.GP, error)
    if not gate.present:
        raise GuestFault(r.NP, error)
    return gate


def _target_code(view: CpuView, gate: Gate, ext: int) -> Descriptor:
    """Read and check the code segment of a gate."""
    selector = gate.selector
    if not selector & d.ERROR_SELECTOR:
        raise GuestFault(r.GP, ext)
    target = read_descriptor(view, selector, ext=ext)
    error = selector & d.ERROR_SELECTOR | ext
    if not target.is_code or target.dpl > view.cpl:
        raise GuestFault(r.GP, error)
    if view.efer & r.EFER_LMA and target.flags & (r.DESC_L | r.DESC_B) != r.DESC_L:
        raise GuestFault(r.GP, error)
    if not target.present:
        raise GuestFault(r.NP, error)
    return target


def _plan_frame(
    view: CpuView, gate: Gate, frame: list[int], inner: InnerStack | None, ext: int
) -> tuple[int, list[tuple[int, bytes]]]:
    """Plan the push of a frame, in the size of the gate, on the inner or the current stack."""
    if gate.type & d.TYPE_32:
        item, data = 4, _FRAME32[len(frame)].pack(*[value & MASK_32 for value in frame])
    else:
        item, data = 2, _FRAME16[len(frame)].pack(*[value & 0xFFFF for value in frame])
    if inner is None:
        return plan_push(view, current_stack(view), data, item, GuestFault(r.SS_FAULT, ext))
    stack = Stack(inner.base, inner.limit, inner.flags, inner.sp, user=False)
    fault = GuestFault(r.SS_FAULT, inner.selector & d.ERROR_SELECTOR | ext)
    sp, writes = plan_push(view, stack, data, item, fault)
    return sp, inner.plan + writes


def _entry_flags(gate: Gate, rflags: int) -> int:
    """Clear what entry clears; an interrupt gate also masks interrupts."""
    return rflags & ~(_CLEARED if gate.type & _TRAP_BIT else _CLEARED | r.IF)


def _task(view: CpuView, event: Event, gate: Gate, rflags: int) -> None:
    """A task gate: the handler is another task, the error code goes on its stack, [SDM3] §6.12.2."""
    ext = event.ext
    rip, saved = _return_image(view, event, rflags)
    wide = switch_task(view, gate.selector, TaskCause.GATE, return_rip=rip, rflags=saved, ext=ext)
    if event.error_code is None:
        return
    size = 4 if wide else 2
    data = event.error_code.to_bytes(size, "little")
    sp, plan = plan_push(view, current_stack(view), data, size, GuestFault(r.SS_FAULT, ext))
    commit(view, plan)
    view.regs[r.RSP] = sp


def _long(view: CpuView, event: Event, rflags: int) -> None:
    """IA-32e mode, from 64-bit or compatibility code: 16-byte gates and IST, [SDM3] §6.14."""
    gate = _gate(view, event, 16, _GATES_64)
    ext = event.ext
    target = _target_code(view, gate, ext)
    flags, plan = plan_accessed(view, target)
    old_cpl = view.cpl
    cpl = old_cpl if target.is_conforming else target.dpl
    top = _long_stack(view, gate, cpl, ext) & ~15
    rip, pushed = _return_image(view, event, rflags)
    frame = [rip, view.segs[r.CS].selector, pushed, view.regs[r.RSP], view.segs[r.SS].selector]
    if event.error_code is not None:
        frame.insert(0, event.error_code)
    data = _LONG_FRAME[len(frame)].pack(*frame)
    sp = top - len(data) & MASK_64
    if not (is_canonical(sp) and is_canonical(top - 1 & MASK_64)):
        raise GuestFault(r.SS_FAULT, ext)
    if not is_canonical(gate.offset):
        raise GuestFault(r.GP, ext)
    plan = plan + plan_write(view, sp, data, user=cpl == 3)
    commit(view, plan)
    view.rflags = _entry_flags(gate, rflags)
    if cpl < old_cpl:  # SS is null, its RPL the new CPL, [SDM3] §6.14.2
        view.load_segment(r.SS, cpl, 0, 0, cpl << r.DESC_DPL_SHIFT)
    view.regs[r.RSP] = sp
    view.load_segment(r.CS, gate.selector & ~3 | cpl, target.base, target.limit, flags)
    view.rip = gate.offset


def _long_stack(view: CpuView, gate: Gate, cpl: int, ext: int) -> int:
    """The stack pointer to use: from the IST, from the TSS for an inner level, or the current one."""
    if gate.parameter:
        return read_rsp(view, gate.parameter * 8 + 28, ext)  # IST1 is at 24h
    return read_rsp(view, cpl * 8 + 4, ext) if cpl < view.cpl else view.regs[r.RSP]
