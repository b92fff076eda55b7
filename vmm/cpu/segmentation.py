"""From segment and offset to linear address: limits, types and the stack, on a `CpuView`.

The engine does not enforce segment limits; delivery and emulation do, as the processor would. Works
on the hidden part of a segment register, so big real mode and the flat model need no special case.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, §5.3 (limit
checking), §3.4.4 (segment loading in 64-bit mode); volume 1, §6.2 (stacks).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct as Layout
from typing import Final

import msgspec

from vmm.cpu import registers as r
from vmm.cpu.paging import (
    MASK_32,
    MASK_64,
    PAGE_MASK,
    PAGE_SIZE,
    GuestFault,
    commit,
    is_canonical,
    plan_write,
    read_linear,
    translate,
)
from vmm.cpu.state import CpuView, SegmentCache

_EXPAND_DOWN: Final = 1 << 10  # in a data segment, where a code segment has the conforming bit
# A 32-bit stack that grows down in an expand-up segment
_PLAIN_STACK: Final = r.DESC_B | r.DESC_S | r.DESC_CODE | _EXPAND_DOWN
_PLAIN: Final = r.DESC_B | r.DESC_S
_ITEMS: Final = {
    (item, number): Layout(f"<{number}{kind}")
    for item, kind in ((2, "H"), (4, "I"), (8, "Q"))
    for number in range(1, 4)
}
_CODE_READABLE: Final = r.DESC_WRITABLE  # the same bit, read as R in a code segment


def code_bits(view: CpuView) -> int:
    """Default operation size: 64, 32 or 16."""
    flags = view.segs[r.CS].flags
    if flags & r.DESC_L and view.efer & r.EFER_LMA:
        return 64
    return 32 if flags & r.DESC_B else 16


def in_vm86(view: CpuView) -> bool:
    """Virtual-8086 mode."""
    return view.cpl == 3 and bool(view.interrupt_flags() & r.VM)


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


def plan_items(view: CpuView, values: tuple[int, ...], item: int) -> tuple[int, list[tuple[int, bytes]]]:
    """Plan the push of operands on the current stack, the last pushed first; returns as `plan_push`.

    Raises:
        GuestFault: #SS(0) or #PF.
    """
    mask = (1 << item * 8) - 1
    frame = b"".join([(value & mask).to_bytes(item, "little") for value in values])
    if code_bits(view) != 64:
        return plan_push(view, current_stack(view), frame, item, GuestFault(r.SS_FAULT, 0))
    size = len(frame)
    new_sp = view.regs[r.RSP] - size & MASK_64
    return new_sp, plan_write(
        view, linear_address(view, r.SS, new_sp, size, write=True), frame, view.cpl == 3
    )


def push(view: CpuView, value: int, size: int) -> None:
    """Push one operand on the current stack.

    Raises:
        GuestFault: #SS(0) or #PF, with nothing changed.
    """
    ss, regs = view.segs[r.SS], view.regs
    flags, sp = ss.flags, regs[r.RSP]
    if flags & _PLAIN_STACK == _PLAIN and size <= sp <= ss.limit:  # a shorter way for the usual stack
        linear = ss.base + sp - size & MASK_32
        if linear & PAGE_MASK <= PAGE_SIZE - size and not view.segs[r.CS].flags & r.DESC_L:
            data = (value & (1 << size * 8) - 1).to_bytes(size, "little")
            view.memory.write(translate(view, linear, write=True, user=view.cpl == 3), data)
            regs[r.RSP] = sp - size
            return
    new_sp, plan = plan_items(view, (value,), size)
    commit(view, plan)
    regs[r.RSP] = new_sp


def peek(view: CpuView, size: int) -> tuple[int, int]:
    """Read the top of the current stack: the operand, and RSP as it is after the pop.

    Raises:
        GuestFault: #SS(0) or #PF.
    """
    (value,), rsp = pop_items(view, 1, size)
    return value, rsp


def pop_items(view: CpuView, number: int, item: int) -> tuple[Sequence[int], int]:
    """Read operands from the current stack, the top first, and RSP as it is after they are popped.

    Raises:
        GuestFault: #SS(0) or #PF.
    """
    ss, sp = view.segs[r.SS], view.regs[r.RSP]
    size = number * item
    if ss.flags & _PLAIN_STACK == _PLAIN and sp + size <= ss.limit:  # a shorter way for the usual stack
        linear = ss.base + sp & MASK_32
        if linear & PAGE_MASK <= PAGE_SIZE - size and not view.segs[r.CS].flags & r.DESC_L:
            data = view.memory.read(translate(view, linear, write=False, user=view.cpl == 3), size)
            return _ITEMS[item, number].unpack(data), sp + size
    return peek_items(view, number, item), popped(view, size)


def peek_items(view: CpuView, number: int, item: int, skip: int = 0) -> list[int]:
    """Read operands from the current stack, the top (or what is `skip` bytes below it) first.

    Raises:
        GuestFault: #SS(0) or #PF.
    """
    size = number * item
    user = view.cpl == 3
    if code_bits(view) == 64:
        linear = linear_address(view, r.SS, view.regs[r.RSP] + skip & MASK_64, size, write=False)
        data = read_linear(view, linear, size, user)
    else:
        data = _peek_bytes(view, size, item, skip)
    return [int.from_bytes(data[at : at + item], "little") for at in range(0, size, item)]


def _peek_bytes(view: CpuView, size: int, item: int, skip: int) -> bytes:
    """Read `size` bytes of the stack; each item of them is checked where the stack pointer wraps."""
    stack = current_stack(view)
    mask = stack.mask
    top = stack.sp + skip & mask
    step = size if 0 < size <= mask + 1 - top else item
    pieces = []
    for at in range(0, size, step):
        offset = top + at & mask
        if not within_limit(stack.flags, stack.limit, offset, step):
            raise GuestFault(r.SS_FAULT, 0)
        pieces.append(read_linear(view, stack.base + offset & MASK_32, step, stack.user))
    return b"".join(pieces)


def popped(view: CpuView, size: int) -> int:
    """RSP after `size` bytes are popped: a 16-bit stack leaves the upper half of ESP alone."""
    sp = view.regs[r.RSP]
    if code_bits(view) == 64:
        return sp + size & MASK_64
    mask = MASK_32 if view.segs[r.SS].flags & r.DESC_B else 0xFFFF
    return sp & ~mask & MASK_32 | (sp + size & mask)
