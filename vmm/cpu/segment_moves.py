"""MOV, PUSH and POP of segment registers, LDS, LES, LSS, LFS and LGS, on a `CpuView`.

In real-address and virtual-8086 mode a load sets selector and base and leaves limit and attributes:
the hidden part of the register, which big real mode depends on. A 32-bit PUSH stores zeros above the
selector, where newer processors leave the memory as it was; both are allowed.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volumes 2A and 2B, LDS,
MOV, POP, PUSH; [SDM3] volume 3A, §5.4.1, §5.5, §6.8.3.
"""

from __future__ import annotations

from typing import Final

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.descriptors import plan_accessed, read_descriptor
from vmm.cpu.encoding import Encoded
from vmm.cpu.operands import Handler, Outcome, Services, read_memory, read_word, write_register, write_word
from vmm.cpu.paging import GuestFault, commit
from vmm.cpu.segmentation import in_protected_mode, peek, push
from vmm.cpu.state import CpuView

_DONE, _SHADOW = Outcome.DONE, Outcome.INTERRUPT_SHADOW


def load_selector(view: CpuView, index: int, selector: int, bits: int) -> None:
    """Load a segment register other than CS, as MOV, POP and LDS do; `bits` is the code size.

    Raises:
        GuestFault: #GP, #NP, #SS or #PF, with nothing changed.
    """
    if not in_protected_mode(view):
        cache = view.segs[index]
        view.load_segment(index, selector, selector << 4, cache.limit, cache.flags)
        return
    if not selector & d.ERROR_SELECTOR:
        _load_null(view, index, selector, bits)
        return
    target = read_descriptor(view, selector)
    error = selector & d.ERROR_SELECTOR
    cpl, rpl = view.cpl, selector & d.SELECTOR_RPL
    if index == r.SS:
        if rpl != cpl or target.dpl != cpl or not target.is_writable_data:
            raise GuestFault(r.GP, error)
    elif not target.is_readable or (not target.is_conforming and target.dpl < max(rpl, cpl)):
        raise GuestFault(r.GP, error)
    if not target.present:
        raise GuestFault(r.SS_FAULT if index == r.SS else r.NP, error)
    flags, plan = plan_accessed(view, target, always=True)
    commit(view, plan)
    view.load_segment(index, selector, target.base, target.limit, flags)


def _load_null(view: CpuView, index: int, selector: int, bits: int) -> None:
    """A null selector: SS takes one only in 64-bit mode, below ring 3, with the RPL of the CPL."""
    flags = 0
    if index == r.SS:
        cpl = view.cpl
        if bits != 64 or cpl == 3 or selector & d.SELECTOR_RPL != cpl:
            raise GuestFault(r.GP, 0)
        flags = cpl << r.DESC_DPL_SHIFT
    view.load_segment(index, selector, 0, 0, flags)


def _mov_from(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    reg = instruction.reg & 7
    if reg > r.GS:
        raise GuestFault(r.UD)
    write_word(view, instruction, view.segs[reg].selector & 0xFFFF)
    return _DONE


def _mov_to(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    reg = instruction.reg & 7
    if reg > r.GS or reg == r.CS:
        raise GuestFault(r.UD)
    load_selector(view, reg, read_word(view, instruction), instruction.bits)
    return _SHADOW if reg == r.SS else _DONE


def _stack_item(instruction: Encoded) -> int:
    """The size of a segment register on the stack: 64-bit mode has no 32-bit form."""
    size = instruction.operand_bytes
    return 8 if size == 4 and instruction.bits == 64 else size


def _pusher(index: int) -> Handler:
    def push_segment(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
        push(view, view.segs[index].selector & 0xFFFF, _stack_item(instruction))
        return _DONE

    return push_segment


def _popper(index: int) -> Handler:
    outcome = _SHADOW if index == r.SS else _DONE

    def pop_segment(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
        value, rsp = peek(view, _stack_item(instruction))
        load_selector(view, index, value & 0xFFFF, instruction.bits)
        view.regs[r.RSP] = rsp
        return outcome

    return pop_segment


def _far_pointer_loader(index: int) -> Handler:
    def load_far_pointer(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
        size = instruction.operand_bytes
        value = int.from_bytes(read_memory(view, instruction, size + 2), "little")
        load_selector(view, index, value >> size * 8, instruction.bits)
        write_register(view, instruction.reg, value, size)
        return _DONE

    return load_far_pointer


HANDLERS: Final[dict[int, Handler]] = {
    0x8C: _mov_from,
    0x8E: _mov_to,
    0x06: _pusher(r.ES),
    0x0E: _pusher(r.CS),
    0x16: _pusher(r.SS),
    0x1E: _pusher(r.DS),
    0x0FA0: _pusher(r.FS),
    0x0FA8: _pusher(r.GS),
    0x07: _popper(r.ES),
    0x17: _popper(r.SS),
    0x1F: _popper(r.DS),
    0x0FA1: _popper(r.FS),
    0x0FA9: _popper(r.GS),
    0xC4: _far_pointer_loader(r.ES),
    0xC5: _far_pointer_loader(r.DS),
    0x0FB2: _far_pointer_loader(r.SS),
    0x0FB4: _far_pointer_loader(r.FS),
    0x0FB5: _far_pointer_loader(r.GS),
}
