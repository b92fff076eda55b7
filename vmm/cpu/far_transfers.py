"""JMP and CALL to another code segment, on a `CpuView`: directly, through call and task gates, to a TSS.

Everything is checked before the first change. (Segment faults inside a task switch are the exception,
as in delivery.) In IA-32e mode call gates have 16 bytes and 64-bit targets, and there are no task gates.

Not modelled: shadow stacks.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, CALL, JMP;
[SDM3] volume 3A, §5.8.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import Descriptor, Gate, parse_gate, plan_accessed, read_descriptor
from vmm.cpu.encoding import GROUP_5, Encoded, group_key
from vmm.cpu.inner_stacks import inner_stack, read_rsp
from vmm.cpu.operands import Handler, Outcome, Services, next_rip, read_memory
from vmm.cpu.paging import MASK_64, GuestFault, commit, is_canonical, plan_write, read_linear
from vmm.cpu.segmentation import Stack, in_protected_mode, peek_items, plan_items, plan_push
from vmm.cpu.state import CpuView, long_mode_active
from vmm.cpu.task_switch import TaskCause, switch_task

_TRANSFERRED = Outcome.TRANSFERRED
_TSS_TYPES: Final = frozenset({d.TYPE_TSS16, d.TYPE_TSS32, d.TYPE_TSS16_BUSY, d.TYPE_TSS32_BUSY})
_CALL_GATES: Final = frozenset({d.TYPE_CALL_GATE16, d.TYPE_CALL_GATE32})
_UPPER_TYPE: Final = 13  # the byte of a 16-byte gate whose five type bits must be zero
_JUMP, _CALL = TaskCause.JUMP, TaskCause.CALL


def check_code(view: CpuView, target: Descriptor, selector: int) -> None:
    """What every load of CS asks of a descriptor whose type and privilege are right.

    Raises:
        GuestFault: #GP(selector) for a 64-bit segment with D set, #NP(selector).
    """
    error = selector & d.ERROR_SELECTOR
    if target.flags & r.DESC_L and target.flags & r.DESC_B and long_mode_active(view):
        raise GuestFault(r.GP, error)
    if not target.present:
        raise GuestFault(r.NP, error)


def check_offset(view: CpuView, target: Descriptor, offset: int) -> None:
    """Whether execution may go on at an offset of a code segment.

    Raises:
        GuestFault: #GP(0).
    """
    if target.flags & r.DESC_L and long_mode_active(view):
        good = is_canonical(offset)
    else:
        good = offset <= target.limit
    if not good:
        raise GuestFault(r.GP, 0)


def _jmp_pointer(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    return _transfer(view, instruction, instruction.selector, instruction.immediate, _JUMP)


def _call_pointer(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    return _transfer(view, instruction, instruction.selector, instruction.immediate, _CALL)


def _pointer_in_memory(view: CpuView, instruction: Encoded) -> tuple[int, int]:
    """The selector and offset at the memory operand; a register operand is #UD."""
    size = instruction.operand_bytes
    value = int.from_bytes(read_memory(view, instruction, size + 2), "little")
    return value >> size * 8, value & (1 << size * 8) - 1


def _jmp_memory(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    selector, offset = _pointer_in_memory(view, instruction)
    return _transfer(view, instruction, selector, offset, _JUMP)


def _call_memory(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    selector, offset = _pointer_in_memory(view, instruction)
    return _transfer(view, instruction, selector, offset, _CALL)


def _transfer(view: CpuView, instruction: Encoded, selector: int, offset: int, cause: TaskCause) -> Outcome:
    if not in_protected_mode(view):
        return _real(view, instruction, selector, offset, cause)
    if not selector & d.ERROR_SELECTOR:
        raise GuestFault(r.GP, 0)
    target = read_descriptor(view, selector)
    if target.flags & r.DESC_S:
        return _direct(view, instruction, selector, target, offset, cause)
    error = selector & d.ERROR_SELECTOR
    kind, long_mode = target.type, long_mode_active(view)
    if kind in _CALL_GATES and not (long_mode and kind == d.TYPE_CALL_GATE16):
        return _call_gate(view, instruction, selector, target, cause)
    if long_mode or (kind not in _TSS_TYPES and kind != d.TYPE_TASK_GATE):
        raise GuestFault(r.GP, error)
    if target.dpl < max(view.cpl, selector & d.SELECTOR_RPL):
        raise GuestFault(r.GP, error)
    if kind == d.TYPE_TASK_GATE:
        if not target.present:
            raise GuestFault(r.NP, error)
        selector = parse_gate(read_linear(view, target.address, 8)).selector
    switch_task(view, selector, cause, return_rip=next_rip(view, instruction))
    return _TRANSFERRED


def _real(view: CpuView, instruction: Encoded, selector: int, offset: int, cause: TaskCause) -> Outcome:
    """Real-address and virtual-8086 mode."""
    cs = view.segs[r.CS]
    plan: list[tuple[int, bytes]] = []
    sp = view.regs[r.RSP]
    if cause is _CALL:
        sp, plan = _plan_return(view, instruction, instruction.operand_bytes)
    if offset > cs.limit:
        raise GuestFault(r.GP, 0)
    commit(view, plan)
    view.regs[r.RSP] = sp
    view.load_segment(r.CS, selector, selector << 4, cs.limit, cs.flags)
    view.rip = offset
    return _TRANSFERRED


def _plan_return(view: CpuView, instruction: Encoded, item: int) -> tuple[int, list[tuple[int, bytes]]]:
    """Plan the push of the return address on the current stack."""
    cs = view.segs[r.CS].selector & 0xFFFF
    return plan_items(view, (next_rip(view, instruction), cs), item)


def _direct(
    view: CpuView, instruction: Encoded, selector: int, target: Descriptor, offset: int, cause: TaskCause
) -> Outcome:
    """Straight to a code segment of the same privilege, or a conforming one of more, [SDM3] §5.8.1."""
    cpl = view.cpl
    if target.is_conforming:
        allowed = target.dpl <= cpl
    else:
        allowed = target.is_code and target.dpl == cpl and selector & d.SELECTOR_RPL <= cpl
    if not allowed:
        raise GuestFault(r.GP, selector & d.ERROR_SELECTOR)
    check_code(view, target, selector)
    return _enter(view, instruction, selector, target, offset, instruction.operand_bytes, cause)


def _enter(
    view: CpuView,
    instruction: Encoded,
    selector: int,
    target: Descriptor,
    offset: int,
    item: int,
    cause: TaskCause,
) -> Outcome:
    """Go on in a checked code segment at the same privilege; a CALL pushes items of `item` bytes."""
    flags, plan = plan_accessed(view, target)
    sp = view.regs[r.RSP]
    if cause is _CALL:
        sp, writes = _plan_return(view, instruction, item)
        plan = plan + writes
    check_offset(view, target, offset)
    commit(view, plan)
    view.regs[r.RSP] = sp
    view.load_segment(r.CS, selector & d.ERROR_SELECTOR | view.cpl, target.base, target.limit, flags)
    view.rip = offset
    return _TRANSFERRED


def _call_gate(
    view: CpuView, instruction: Encoded, selector: int, found: Descriptor, cause: TaskCause
) -> Outcome:
    """Through a call gate, whose offset replaces the instruction's, [SDM3] §5.8.3, §5.8.4."""
    cpl = view.cpl
    error = selector & d.ERROR_SELECTOR
    if found.dpl < max(cpl, selector & d.SELECTOR_RPL):
        raise GuestFault(r.GP, error)
    if not found.present:
        raise GuestFault(r.NP, error)
    gate = _read_gate(view, selector, found)
    if not gate.selector & d.ERROR_SELECTOR:
        raise GuestFault(r.GP, 0)
    target = read_descriptor(view, gate.selector)
    inward = target.dpl < cpl and not target.is_conforming
    error = gate.selector & d.ERROR_SELECTOR
    if not target.is_code or target.dpl > cpl or (inward and cause is _JUMP):
        raise GuestFault(r.GP, error)
    if long_mode_active(view) and target.flags & (r.DESC_L | r.DESC_B) != r.DESC_L:
        raise GuestFault(r.GP, error)
    check_code(view, target, gate.selector)
    if not inward:
        return _enter(view, instruction, gate.selector, target, gate.offset, _gate_item(view, gate), cause)
    if long_mode_active(view):
        return _call_inward_long(view, instruction, gate, target)
    return _call_inward(view, instruction, gate, target)


def _read_gate(view: CpuView, selector: int, found: Descriptor) -> Gate:
    """The gate at a descriptor's place; the second half of one of IA-32e mode must be there, with type 0."""
    if not long_mode_active(view):
        return parse_gate(read_linear(view, found.address, 8))
    table = view.ldt if selector & d.SELECTOR_TI else view.gdt
    if (selector & d.SELECTOR_INDEX) + 15 > table.limit:
        raise GuestFault(r.GP, selector & d.ERROR_SELECTOR)
    raw = read_linear(view, found.address, 16)
    if raw[_UPPER_TYPE] & 0x1F:
        raise GuestFault(r.GP, selector & d.ERROR_SELECTOR)
    return parse_gate(raw)


def _gate_item(view: CpuView, gate: Gate) -> int:
    """What a call gate pushes: words, dwords or, in IA-32e mode, qwords."""
    if long_mode_active(view):
        return 8
    return 4 if gate.type & d.TYPE_32 else 2


def _call_inward(view: CpuView, instruction: Encoded, gate: Gate, target: Descriptor) -> Outcome:
    """To a more privileged level: its stack from the TSS, and parameters copied to it, [SDM3] §5.8.5."""
    item = 4 if gate.type & d.TYPE_32 else 2
    inner = inner_stack(view, target.dpl, 0)
    parameters = peek_items(view, gate.parameter, item)
    frame = [next_rip(view, instruction), view.segs[r.CS].selector, *parameters]
    frame += (view.regs[r.RSP], view.segs[r.SS].selector)
    mask = (1 << item * 8) - 1
    data = b"".join([(value & mask).to_bytes(item, "little") for value in frame])
    stack = Stack(inner.base, inner.limit, inner.flags, inner.sp, user=False)
    fault = GuestFault(r.SS_FAULT, inner.selector & d.ERROR_SELECTOR)
    sp, writes = plan_push(view, stack, data, item, fault)
    flags, plan = plan_accessed(view, target)
    check_offset(view, target, gate.offset)
    commit(view, inner.plan + plan + writes)
    view.load_segment(r.SS, inner.selector, inner.base, inner.limit, inner.flags)
    _land_inward(view, gate, target, flags, sp)
    return _TRANSFERRED


def _call_inward_long(view: CpuView, instruction: Encoded, gate: Gate, target: Descriptor) -> Outcome:
    """The same in IA-32e mode: RSP from the TSS, a null SS, no parameters, [SDM3] §5.8.3.1."""
    dpl = target.dpl
    frame = (
        next_rip(view, instruction),
        view.segs[r.CS].selector,
        view.regs[r.RSP],
        view.segs[r.SS].selector,
    )
    data = b"".join([value.to_bytes(8, "little") for value in frame])
    top = read_rsp(view, dpl * 8 + 4, 0)
    sp = top - len(data) & MASK_64
    if not (is_canonical(sp) and is_canonical(top - 1 & MASK_64)):
        raise GuestFault(r.SS_FAULT, 0)
    flags, plan = plan_accessed(view, target)
    plan = plan + plan_write(view, sp, data)
    check_offset(view, target, gate.offset)
    commit(view, plan)
    view.load_segment(r.SS, dpl, 0, 0, dpl << r.DESC_DPL_SHIFT)
    _land_inward(view, gate, target, flags, sp)
    return _TRANSFERRED


def _land_inward(view: CpuView, gate: Gate, target: Descriptor, flags: int, sp: int) -> None:
    view.regs[r.RSP] = sp
    selector = gate.selector & d.ERROR_SELECTOR | target.dpl
    view.load_segment(r.CS, selector, target.base, target.limit, flags)
    view.rip = gate.offset


HANDLERS: Final[dict[int, Handler]] = {
    0x9A: _call_pointer,
    0xEA: _jmp_pointer,
    group_key(GROUP_5, 3): _call_memory,
    group_key(GROUP_5, 5): _jmp_memory,
}
