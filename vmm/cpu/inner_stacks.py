"""The stack of a more privileged level, out of the TSS, for interrupts and call gates, on a `CpuView`.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, §5.8.5,
§6.12.1, §7.2, §7.7.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import Final

import msgspec

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import plan_accessed, read_descriptor
from vmm.cpu.paging import GuestFault, read_linear
from vmm.cpu.state import CpuView

_TSS32_STACK: Final = Layout("<IH")
_TSS16_STACK: Final = Layout("<HH")


class InnerStack(msgspec.Struct, frozen=True, gc=False):
    """A stack of a more privileged level; `plan` marks its descriptor accessed."""

    selector: int
    base: int
    limit: int
    flags: int
    sp: int
    plan: list[tuple[int, bytes]]


def inner_stack(view: CpuView, dpl: int, ext: int) -> InnerStack:
    """Find and check the stack for privilege level `dpl`, [SDM3] §6.12.1, table 6-6.

    Raises:
        GuestFault: #TS, #SS or #PF.
    """
    tr = view.tr
    if tr.flags >> r.DESC_TYPE_SHIFT & d.TYPE_32:
        at, layout = dpl * 8 + 4, _TSS32_STACK
    else:
        at, layout = dpl * 4 + 2, _TSS16_STACK
    if at + layout.size - 1 > tr.limit:
        raise GuestFault(r.TS, tr.selector & d.ERROR_SELECTOR | ext)
    sp, selector = layout.unpack(read_linear(view, tr.base + at, layout.size))
    if not selector & d.ERROR_SELECTOR:
        raise GuestFault(r.TS, ext)
    error = selector & d.ERROR_SELECTOR | ext
    ss = read_descriptor(view, selector, vector=r.TS, ext=ext)
    if selector & d.SELECTOR_RPL != dpl or ss.dpl != dpl or not ss.is_writable_data:
        raise GuestFault(r.TS, error)
    if not ss.present:
        raise GuestFault(r.SS_FAULT, error)
    flags, plan = plan_accessed(view, ss)
    return InnerStack(selector, ss.base, ss.limit, flags, sp, plan)


def read_rsp(view: CpuView, at: int, ext: int) -> int:
    """Read a stack pointer of IA-32e mode at an offset in the TSS.

    Raises:
        GuestFault: #TS beyond the limit; #PF.
    """
    tr = view.tr
    if at + 7 > tr.limit:
        raise GuestFault(r.TS, tr.selector & d.ERROR_SELECTOR | ext)
    return int.from_bytes(read_linear(view, tr.base + at, 8), "little")
