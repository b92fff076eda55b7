"""LGDT, LIDT, SGDT, SIDT, LLDT, LTR, SLDT, STR, on a `CpuView`.

LTR is emulated even on the bare machine: the engine keeps the busy type in TR and later aborts on
it, so `view.tr` gets the *available* type while the guest's table gets the busy bit.
Not modelled: CR4.UMIP.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volumes 2A and 2B.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import read_system_descriptor
from vmm.cpu.encoding import GROUP_6, GROUP_7, Encoded, group_key
from vmm.cpu.operands import (
    Handler,
    Outcome,
    Services,
    read_memory,
    read_word,
    require_ring_0,
    write_memory,
    write_word,
)
from vmm.cpu.paging import GuestFault, is_canonical, write_linear
from vmm.cpu.segmentation import code_bits, in_protected_mode
from vmm.cpu.state import CpuView, SegmentCache, long_mode_active

_BASE_286: Final = 0xFF_FFFF  # LGDT and LIDT with a 16-bit operand load 24 bits of base


def _store_table(view: CpuView, instruction: Encoded, table: SegmentCache) -> Outcome:
    """SGDT and SIDT; unprivileged. All 32 bits are stored, whatever the operand size."""
    size = 8 if code_bits(view) == 64 else 4
    base = table.base & (1 << size * 8) - 1
    write_memory(view, instruction, (table.limit & 0xFFFF | base << 16).to_bytes(2 + size, "little"))
    return Outcome.DONE


def _load_table(view: CpuView, instruction: Encoded, table: SegmentCache) -> Outcome:
    """LGDT and LIDT."""
    require_ring_0(view)
    wide = code_bits(view) == 64
    value = int.from_bytes(read_memory(view, instruction, 10 if wide else 6), "little")
    base = value >> 16
    if wide and not is_canonical(base):
        raise GuestFault(r.GP, 0)
    if not wide and instruction.operand_bytes == 2:
        base &= _BASE_286
    table.base, table.limit = base, value & 0xFFFF
    return Outcome.DONE


def _sgdt(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    return _store_table(view, instruction, view.gdt)


def _sidt(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    return _store_table(view, instruction, view.idt)


def _lgdt(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    return _load_table(view, instruction, view.gdt)


def _lidt(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    return _load_table(view, instruction, view.idt)


def _require_protected_mode(view: CpuView) -> None:
    if not in_protected_mode(view):
        raise GuestFault(r.UD)


def _sldt(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    _require_protected_mode(view)
    write_word(view, instruction, view.ldt.selector)
    return Outcome.DONE


def _str(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    _require_protected_mode(view)
    write_word(view, instruction, view.tr.selector)
    return Outcome.DONE


def _lldt(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    _require_protected_mode(view)
    require_ring_0(view)
    selector = read_word(view, instruction)
    ldt = view.ldt
    if not selector & d.ERROR_SELECTOR:
        ldt.selector, ldt.base, ldt.limit, ldt.flags = selector, 0, 0, 0
        return Outcome.DONE
    target = read_system_descriptor(view, selector)
    if target.flags & r.DESC_S or target.type != d.TYPE_LDT:
        raise GuestFault(r.GP, selector & d.ERROR_SELECTOR)
    if not target.present:
        raise GuestFault(r.NP, selector & d.ERROR_SELECTOR)
    ldt.selector, ldt.base, ldt.limit, ldt.flags = selector, target.base, target.limit, target.flags
    return Outcome.DONE


def _ltr(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    _require_protected_mode(view)
    require_ring_0(view)
    selector = read_word(view, instruction)
    if not selector & d.ERROR_SELECTOR:
        raise GuestFault(r.GP, 0)
    target = read_system_descriptor(view, selector)
    allowed = (d.TYPE_TSS32,) if long_mode_active(view) else (d.TYPE_TSS16, d.TYPE_TSS32)
    if target.flags & r.DESC_S or target.type not in allowed:  # a busy one is refused here too
        raise GuestFault(r.GP, selector & d.ERROR_SELECTOR)
    if not target.present:
        raise GuestFault(r.NP, selector & d.ERROR_SELECTOR)
    access = target.flags >> 8 & 0xFF | d.TYPE_BUSY
    write_linear(view, target.address + d.ACCESS_BYTE, bytes((access,)))
    tr = view.tr
    tr.selector, tr.base, tr.limit, tr.flags = selector, target.base, target.limit, target.flags
    return Outcome.DONE


HANDLERS: Final[dict[int, Handler]] = {
    group_key(GROUP_6, 0): _sldt,
    group_key(GROUP_6, 1): _str,
    group_key(GROUP_6, 2): _lldt,
    group_key(GROUP_6, 3): _ltr,
    group_key(GROUP_7, 0): _sgdt,
    group_key(GROUP_7, 1): _sidt,
    group_key(GROUP_7, 2): _lgdt,
    group_key(GROUP_7, 3): _lidt,
}
