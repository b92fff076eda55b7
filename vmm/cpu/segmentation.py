"""From segment and offset to linear address: limits, types and the stack, on a `CpuView`.

The engine does not enforce segment limits; delivery and emulation do, as the processor would. Works
on the hidden part of a segment register, so big real mode and the flat model need no special case.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, §5.3 (limit
checking), §3.4.4 (segment loading in 64-bit mode); volume 1, §6.2 (stacks).
"""

from __future__ import annotations

from typing import Final

import msgspec

from vmm.cpu import registers as r
from vmm.cpu.paging import MASK_32, MASK_64, GuestFault, commit, is_canonical, plan_write, read_linear
from vmm.cpu.state import CpuView, SegmentCache

_EXPAND_DOWN: Final = 1 << 10  # in a data segment, where a code segment has the conforming bit
_CODE_READABLE: Final = r.DESC_WRITABLE  # the same bit, read as R in a code segment


def code_bits(view: CpuView) -> int:
    """Default operation size: 64, 32 or 16."""
    flags = view.segs[r.CS].flags
    if flags & r.DESC_L and view.efer & r.EFER_LMA:
        return 64
    return 32 if flags & r.DESC_B else 16


def in_vm86(view: CpuView) -> bool:
    """Virtual-8086 mode. The CPL is asked first: RFLAGS is dear to read in an engine."""
    return view.cpl == 3 and bool(view.rflags & r.VM)


def in_protected_mode(view: CpuView) -> bool:
    """Protected mode proper: neither real-address nor virtual-8086 mode."""
    return bool(view.cr[0] & r.CR0_PE) and not in_vm86(view)


def within_limit(flags: int, limit: int, offset: int, size: int) -> bool:
    """Whether `size` bytes at `offset` lie inside a segment, expand-up or expand-down."""
    last = offset + size - 1
    if flags & (r.DESC_S | r.DESC_CODE | _EXPAND_DOWN) == r.DESC_S | _EXPAND_DOWN:
        return offset > limit and last <= (MASK_32 if flags & r.DESC_B else 0xFFFF)
    return last <= limit


def linear_address(view: CpuView, index: int, offset: int, size: int, *, write: bool) -> int:
    """Check a data access through a segment register and return its linear address.

    Raises:
        GuestFault: #SS(0) through SS, else #GP(0).
    """
    cache = view.segs[index]
    vector = r.SS_FAULT if index == r.SS else r.GP
    if code_bits(view) == 64:
        base = cache.base if index >= r.FS else 0
        linear = base + offset & MASK_64
        if not (is_canonical(linear) and is_canonical(linear + size - 1 & MASK_64)):
            raise GuestFault(vector, 0)
        return linear
    if in_protected_mode(view) and not _access_allowed(cache, write):
        raise GuestFault(vector, 0)
    if not within_limit(cache.flags, cache.limit, offset, size):
        raise GuestFault(vector, 0)
    return cache.base + offset & MASK_32


def _access_allowed(cache: SegmentCache, write: bool) -> bool:
    """Whether the segment is usable and its type allows the access, [SDM3] §5.5, §5.4.1."""
    if not cache.flags & r.DESC_P:
        return False
    if cache.flags & r.DESC_CODE:
        return not write and bool(cache.flags & _CODE_READABLE)
    return not write or bool(cache.flags & r.DESC_WRITABLE)


class Stack(msgspec.Struct, frozen=True, gc=False):
    """A stack outside 64-bit mode: the hidden part of SS, the stack pointer, and whose accesses."""

    base: int
    limit: int
    flags: int
    sp: int
    user: bool

    @property
    def mask(self) -> int:
        """The part of ESP that SS.B makes the stack pointer."""
        return MASK_32 if self.flags & r.DESC_B else 0xFFFF


def current_stack(view: CpuView) -> Stack:
    """The stack that SS:ESP names, at the current privilege level."""
    ss = view.segs[r.SS]
    return Stack(ss.base, ss.limit, ss.flags, view.regs[r.RSP], view.cpl == 3)


def plan_push(
    view: CpuView, stack: Stack, frame: bytes, item: int, fault: GuestFault
) -> tuple[int, list[tuple[int, bytes]]]:
    """Plan the push of `frame`, items of `item` bytes, the last pushed first in it.

    Returns the new ESP, whose upper half a 16-bit stack leaves alone, and the writes.

    Raises:
        GuestFault: `fault` if an item is outside the stack's limit; #PF.
    """
    mask = stack.mask
    top = stack.sp & mask
    size = len(frame)
    new_sp = stack.sp & ~mask & MASK_32 | (top - size & mask)
    if size <= top:
        if not within_limit(stack.flags, stack.limit, top - size, size):
            raise fault
        return new_sp, plan_write(view, stack.base + top - size & MASK_32, frame, stack.user)
    plan = []
    for at in range(size - item, -1, -item):  # the stack pointer wraps: item by item, first push first
        top = top - item & mask
        if not within_limit(stack.flags, stack.limit, top, item):
            raise fault
        plan += plan_write(view, stack.base + top & MASK_32, frame[at : at + item], stack.user)
    return new_sp, plan


def push(view: CpuView, value: int, size: int) -> None:
    """Push one operand on the current stack.

    Raises:
        GuestFault: #SS(0) or #PF, with nothing changed.
    """
    data = (value & (1 << size * 8) - 1).to_bytes(size, "little")
    if code_bits(view) == 64:
        new_sp = view.regs[r.RSP] - size & MASK_64
        linear = linear_address(view, r.SS, new_sp, size, write=True)
        plan = plan_write(view, linear, data, view.cpl == 3)
    else:
        new_sp, plan = plan_push(view, current_stack(view), data, size, GuestFault(r.SS_FAULT, 0))
    commit(view, plan)
    view.regs[r.RSP] = new_sp


def peek(view: CpuView, size: int) -> tuple[int, int]:
    """Read the top of the current stack: the operand, and RSP as it is after the pop.

    Raises:
        GuestFault: #SS(0) or #PF.
    """
    sp = view.regs[r.RSP]
    mask = MASK_64 if code_bits(view) == 64 else current_stack(view).mask
    linear = linear_address(view, r.SS, sp & mask, size, write=False)
    value = int.from_bytes(read_linear(view, linear, size, view.cpl == 3), "little")
    keep = sp & ~mask & MASK_32
    return value, keep | (sp + size & mask)
