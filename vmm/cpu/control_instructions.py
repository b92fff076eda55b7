"""MOV to and from CRn and DRn, SMSW, LMSW, CLTS and INVLPG, on a `CpuView`.

CR8 is the task priority of the local APIC, which the services have. Not modelled: CR4 bits the
engine's models lack (#GP), DR7.GD, the PDPTE checks of MOV CR3 in PAE mode.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A and 2B, MOV;
[SDM3] volume 3A, §2.5, volume 3B §17.2.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.encoding import GROUP_7, Encoded, group_key, offset_of
from vmm.cpu.operands import (
    Handler,
    Outcome,
    Services,
    read_word,
    require_ring_0,
    write_word,
)
from vmm.cpu.paging import MASK_32, MASK_64, MAX_PHYSICAL_BITS, GuestFault, is_canonical
from vmm.cpu.segmentation import code_bits
from vmm.cpu.state import CpuView, long_mode_active

_DONE = Outcome.DONE
_CR8: Final = 8
_CR8_MOST: Final = 15  # the other bits are reserved, [SDM3] §10.8.6.1
_CR0_NW: Final = 1 << 29
_CR0_CD: Final = 1 << 30
_CR0_DEFINED: Final = 0xE005_003F  # other bits of the low half are ignored on write
_CR0_MSW_LOADED: Final = 0xE  # LMSW replaces MP, EM, TS; PE it can only set
_CR4_DE: Final = 1 << 3
# VME to OSXMMEXCPT, FSGSBASE, OSXSAVE, SMEP, SMAP
_CR4_DEFINED: Final = 0x7FF | 1 << 16 | 1 << 18 | r.CR4_SMEP | r.CR4_SMAP


def _control_register(instruction: Encoded) -> int:
    """Which register; #UD where there is none."""
    if instruction.reg not in (0, 2, 3, 4):
        raise GuestFault(r.UD)
    return instruction.reg


def _mov_from_cr(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    if instruction.reg == _CR8:  # a REX prefix: 64-bit mode only
        require_ring_0(view)
        view.regs[instruction.rm] = services.read_cr8()
        return _DONE
    index = _control_register(instruction)
    require_ring_0(view)
    mask = MASK_64 if code_bits(view) == 64 else MASK_32
    view.regs[instruction.rm] = view.cr[index] & mask
    return _DONE


def _mov_to_cr(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    if instruction.reg == _CR8:
        require_ring_0(view)
        if view.regs[instruction.rm] > _CR8_MOST:
            raise GuestFault(r.GP, 0)
        services.write_cr8(view.regs[instruction.rm])
        return _DONE
    index = _control_register(instruction)
    require_ring_0(view)
    value = view.regs[instruction.rm]
    if code_bits(view) != 64:
        value &= MASK_32
    if index == 0:
        _check_cr0(view, value)
        value = value & _CR0_DEFINED | r.CR0_ET
    elif (index == 3 and value >> MAX_PHYSICAL_BITS) or (index == 4 and _cr4_refused(view, value)):
        raise GuestFault(r.GP, 0)
    view.write_cr(index, value)
    return _DONE


def _check_cr0(view: CpuView, value: int) -> None:
    """Refuse what [SDM2] MOV lists: PG without PE, NW without CD, and wrong ways in or out of IA-32e."""
    refused = value > MASK_32
    refused |= bool(value & r.CR0_PG and not value & r.CR0_PE)
    refused |= bool(value & _CR0_NW and not value & _CR0_CD)
    if (value ^ view.cr[0]) & r.CR0_PG:
        if value & r.CR0_PG:
            entering = view.efer & r.EFER_LME
            bad = not view.cr[4] & r.CR4_PAE or view.segs[r.CS].flags & r.DESC_L
            refused |= bool(entering and bad)
        else:
            refused |= code_bits(view) == 64
    if refused:
        raise GuestFault(r.GP, 0)


def _cr4_refused(view: CpuView, value: int) -> bool:
    return bool(value & ~_CR4_DEFINED) or (long_mode_active(view) and not value & r.CR4_PAE)


def _debug_register(view: CpuView, instruction: Encoded) -> int:
    """DR4 and DR5 are DR6 and DR7 unless CR4.DE is set, [SDM3] §17.2.2."""
    index = instruction.reg
    if index > 7 or (index in (4, 5) and view.cr[4] & _CR4_DE):
        raise GuestFault(r.UD)
    return index + 2 if index in (4, 5) else index


def _mov_from_dr(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    index = _debug_register(view, instruction)
    require_ring_0(view)
    mask = MASK_64 if code_bits(view) == 64 else MASK_32
    view.regs[instruction.rm] = services.read_dr(index) & mask
    return _DONE


def _mov_to_dr(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    index = _debug_register(view, instruction)
    require_ring_0(view)
    value = view.regs[instruction.rm]
    if code_bits(view) != 64:
        value &= MASK_32
    elif index >= 6 and value > MASK_32:
        raise GuestFault(r.GP, 0)
    services.write_dr(index, value)
    return _DONE


def _smsw(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    write_word(view, instruction, view.cr[0])
    return _DONE


def _lmsw(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    require_ring_0(view)
    source = read_word(view, instruction)
    view.write_cr(0, view.cr[0] & ~_CR0_MSW_LOADED | source & (_CR0_MSW_LOADED | r.CR0_PE))
    return _DONE


def _clts(view: CpuView, _instruction: Encoded, _services: Services) -> Outcome:
    require_ring_0(view)
    view.write_cr(0, view.cr[0] & ~r.CR0_TS)
    return _DONE


def _invlpg(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    """INVLPG checks no limit; an address that is not canonical does nothing."""
    require_ring_0(view)
    memory = instruction.memory
    if memory is None:
        raise GuestFault(r.UD)
    offset = offset_of(view, instruction, memory)
    base = view.segs[memory.segment].base
    if code_bits(view) != 64:
        services.invlpg(base + offset & MASK_32)
        return _DONE
    linear = (base if memory.segment >= r.FS else 0) + offset & MASK_64
    if is_canonical(linear):
        services.invlpg(linear)
    return _DONE


HANDLERS: Final[dict[int, Handler]] = {
    0x0F20: _mov_from_cr,
    0x0F21: _mov_from_dr,
    0x0F22: _mov_to_cr,
    0x0F23: _mov_to_dr,
    0x0F06: _clts,
    group_key(GROUP_7, 4): _smsw,
    group_key(GROUP_7, 6): _lmsw,
    group_key(GROUP_7, 7): _invlpg,
}
