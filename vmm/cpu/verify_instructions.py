"""LAR, LSL, VERR and VERW, on a `CpuView`: what may be asked about a descriptor without a fault.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volumes 2A and 2B.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import Descriptor, read_descriptor
from vmm.cpu.encoding import GROUP_6, Encoded, group_key
from vmm.cpu.operands import Handler, Outcome, Services, read_word, write_register
from vmm.cpu.paging import GuestFault
from vmm.cpu.segmentation import in_protected_mode
from vmm.cpu.state import CpuView, long_mode_active

# System types whose limit LSL tells, and those whose rights LAR tells, [SDM2] LAR table 3-53, LSL 3-56
_WITH_LIMIT: Final = frozenset({d.TYPE_TSS16, d.TYPE_LDT, d.TYPE_TSS16_BUSY, d.TYPE_TSS32, d.TYPE_TSS32_BUSY})
_WITH_RIGHTS: Final = _WITH_LIMIT | {d.TYPE_CALL_GATE16, d.TYPE_TASK_GATE, d.TYPE_CALL_GATE32}
_LONG_TYPES: Final = frozenset({d.TYPE_LDT, d.TYPE_TSS32, d.TYPE_TSS32_BUSY, d.TYPE_CALL_GATE32})


def _visible(view: CpuView, selector: int) -> Descriptor | None:
    """The descriptor a selector names, if the current privilege level and the RPL may see it.

    Raises:
        GuestFault: #PF on the table.
    """
    table = view.ldt if selector & d.SELECTOR_TI else view.gdt
    if not selector & d.ERROR_SELECTOR or (selector & d.SELECTOR_INDEX) + 7 > table.limit:
        return None
    found = read_descriptor(view, selector)
    if not found.is_conforming and found.dpl < max(view.cpl, selector & d.SELECTOR_RPL):
        return None
    return found


def _selector(view: CpuView, instruction: Encoded) -> int:
    if not in_protected_mode(view):
        raise GuestFault(r.UD)
    return read_word(view, instruction)


def _answer(view: CpuView, zf: bool) -> Outcome:
    rflags = view.rflags
    view.rflags = rflags | r.ZF if zf else rflags & ~r.ZF
    return Outcome.DONE


def _of_type(view: CpuView, found: Descriptor, types: frozenset[int]) -> bool:
    if found.flags & r.DESC_S:
        return True
    return found.type in types and (found.type in _LONG_TYPES or not long_mode_active(view))


def _lar(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    found = _visible(view, _selector(view, instruction))
    if found is None or not _of_type(view, found, _WITH_RIGHTS):
        return _answer(view, False)
    write_register(view, instruction.reg, found.flags, instruction.operand_bytes)
    return _answer(view, True)


def _lsl(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    found = _visible(view, _selector(view, instruction))
    if found is None or not _of_type(view, found, _WITH_LIMIT):
        return _answer(view, False)
    write_register(view, instruction.reg, found.limit, instruction.operand_bytes)
    return _answer(view, True)


def _verr(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    found = _visible(view, _selector(view, instruction))
    return _answer(view, found is not None and found.is_readable)


def _verw(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    found = _visible(view, _selector(view, instruction))
    return _answer(view, found is not None and found.is_writable_data)


HANDLERS: Final[dict[int, Handler]] = {
    0x0F02: _lar,
    0x0F03: _lsl,
    group_key(GROUP_6, 4): _verr,
    group_key(GROUP_6, 5): _verw,
}
