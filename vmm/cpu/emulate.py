"""Emulation of the instructions that arrive as intercepts or as #GP, on a `CpuView`.

One call emulates the instruction at CS:RIP: the bare machine's intercepts use it on the real state,
techniques on their virtual one. All checks come before the first change, so a `GuestFault` leaves
the processor at the instruction. (Segment faults inside a task switch are raised in the new task.)
Here are flags, MSRs, CPUID, RDTSC, RDPMC and HLT; every other subject has a module of its own, named
by the `HANDLERS` below. What is emulated is at least what `decode.classify` calls privileged or
sensitive, but for the instructions of VMX and SVM, which the caller gets back as UNHANDLED.

Not modelled: CR4.VME and CR4.PVI (CLI, STI, PUSHF and POPF then need IOPL), the single-step trap
after the instruction (the caller's, if EFLAGS.TF was set), the limit of CS at the fetch.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volumes 2A to 2D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu import (
    control_instructions,
    far_transfers,
    interrupt_instructions,
    port_instructions,
    returns,
    segment_moves,
    syscall_entry,
    table_instructions,
    verify_instructions,
)
from vmm.cpu import registers as r
from vmm.cpu.encoding import MAX_LENGTH, Encoded, parse
from vmm.cpu.operands import RIP_MASKS, Handler, Outcome, Services, require_ring_0
from vmm.cpu.paging import MASK_32, MASK_64, PAGE_MASK, PAGE_SIZE, GuestFault, translate
from vmm.cpu.segmentation import code_bits, peek, push
from vmm.cpu.state import CpuView

__all__ = ["Outcome", "Services", "bind", "emulate", "prepare"]

# Reading a member of an enum costs as much as a call
_DONE, _HALTED, _SHADOW = Outcome.DONE, Outcome.HALTED, Outcome.INTERRUPT_SHADOW
_UNHANDLED, _TRANSFERRED = Outcome.UNHANDLED, Outcome.TRANSFERRED
_CR4_TSD: Final = 1 << 2
_CR4_PCE: Final = 1 << 8
_COUNTERS: Final = 2  # performance counters
_POPF_ALWAYS: Final = r.ARITHMETIC_FLAGS | r.TF | r.DF | r.NT | r.AC | r.ID
_ALWAYS_ONE: Final = 2  # EFLAGS bit 1


def emulate(view: CpuView, services: Services, code: bytes | None = None) -> Outcome:
    """Emulate the instruction at CS:RIP; RIP is then where execution goes on. `code`: its bytes, if known.

    After a repeated INS or OUTS that is not finished RIP is still at it.

    Raises:
        GuestFault: what the instruction raises; nothing has changed.
    """
    handler, instruction = prepare(view, code)
    return _UNHANDLED if handler is None else bind(view, services, handler, instruction)()


def prepare(view: CpuView, code: bytes | None) -> tuple[Handler | None, Encoded]:
    """Read the instruction at CS:RIP, for who keeps it to emulate it again; None: nobody emulates it.

    Raises:
        GuestFault: it cannot be fetched.
    """
    instruction = _parse(view, code_bits(view), code)
    return _HANDLERS.get(instruction.key), instruction


def bind(view: CpuView, services: Services, handler: Handler, instruction: Encoded) -> Callable[[], Outcome]:
    """Return what emulates the instruction at CS:RIP, which `prepare` has read, each time it is called.

    That raises GuestFault: what the instruction raises; nothing has changed.
    """
    length, mask = instruction.length, RIP_MASKS[instruction.bits]

    def carry_out() -> Outcome:
        outcome = handler(view, instruction, services)
        if outcome is _TRANSFERRED:
            return _DONE
        view.skip(length, mask)
        if outcome is _HALTED:
            services.halt()
        return outcome

    return carry_out if not instruction.lock else _undefined


def _undefined() -> Outcome:
    raise GuestFault(r.UD)


def _parse(view: CpuView, bits: int, code: bytes | None) -> Encoded:
    if code is not None:
        try:
            return parse(code, bits)
        except IndexError:
            pass  # it goes on in the next page
    code, cut = _fetch(view, bits)
    try:
        return parse(code, bits)
    except IndexError:
        raise cut or GuestFault(r.GP, 0) from None


def _fetch(view: CpuView, bits: int) -> tuple[bytes, GuestFault | None]:
    """Read the longest instruction there may be; short of it, also the fault that cut it off."""
    user = view.cpl == 3
    linear = view.rip if bits == 64 else view.segs[r.CS].base + view.rip & MASK_32
    here = min(MAX_LENGTH, PAGE_SIZE - (linear & PAGE_MASK))
    code = view.memory.read(translate(view, linear, write=False, user=user, fetch=True), here)
    if here == MAX_LENGTH:
        return code, None
    following = linear + here & (MASK_64 if bits == 64 else MASK_32)
    try:
        physical = translate(view, following, write=False, user=user, fetch=True)
    except GuestFault as fault:
        return code, fault
    return code + view.memory.read(physical, MAX_LENGTH - here), None


def _flags_bytes(instruction: Encoded) -> int:
    """PUSHF and POPF default to 64 bits in 64-bit mode, and have no 32-bit form there."""
    size = instruction.operand_bytes
    return 8 if size == 4 and instruction.bits == 64 else size


def _pushf(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    rflags = view.rflags
    if rflags & r.VM and rflags & r.IOPL != r.IOPL:
        raise GuestFault(r.GP, 0)
    push(view, rflags & ~(r.VM | r.RF) | _ALWAYS_ONE, _flags_bytes(instruction))
    return _DONE


def _popf(view: CpuView, instruction: Encoded, _services: Services) -> Outcome:
    old = view.interrupt_flags()
    if old & r.VM and old & r.IOPL != r.IOPL:
        raise GuestFault(r.GP, 0)
    size = _flags_bytes(instruction)
    value, rsp = peek(view, size)
    changeable = _POPF_ALWAYS
    cpl = view.cpl
    if cpl == 0:
        changeable |= r.IF | r.IOPL
    elif cpl <= old >> r.IOPL_SHIFT & 3:
        changeable |= r.IF
    if size == 2:
        changeable &= 0xFFFF
        old = view.rflags
    view.rflags = old & ~(changeable | r.RF) | value & changeable
    view.regs[r.RSP] = rsp
    return _DONE


def _cli(view: CpuView, _instruction: Encoded, _services: Services) -> Outcome:
    if view.change_if(False) is None:
        raise GuestFault(r.GP, 0)
    return _DONE


def _sti(view: CpuView, _instruction: Encoded, _services: Services) -> Outcome:
    was = view.change_if(True)
    if was is None:
        raise GuestFault(r.GP, 0)
    return _DONE if was else _SHADOW


def _hlt(view: CpuView, _instruction: Encoded, _services: Services) -> Outcome:
    require_ring_0(view)
    return _HALTED


def _invalidate_caches(view: CpuView, _instruction: Encoded, _services: Services) -> Outcome:
    require_ring_0(view)  # INVD and WBINVD; there are no caches to flush
    return _DONE


def _cpuid(view: CpuView, _instruction: Encoded, services: Services) -> Outcome:
    regs = view.regs
    answer = services.cpuid(regs[r.RAX] & MASK_32, regs[r.RCX] & MASK_32)
    for index, value in zip((r.RAX, r.RBX, r.RCX, r.RDX), answer, strict=True):
        regs[index] = value & MASK_32
    return _DONE


def _put_edx_eax(view: CpuView, value: int) -> None:
    view.regs[r.RAX] = value & MASK_32
    view.regs[r.RDX] = value >> 32 & MASK_32


def _rdmsr(view: CpuView, _instruction: Encoded, services: Services) -> Outcome:
    require_ring_0(view)
    value = services.read_msr(view.regs[r.RCX] & MASK_32)
    if value is None:
        raise GuestFault(r.GP, 0)
    _put_edx_eax(view, value)
    return _DONE


def _wrmsr(view: CpuView, _instruction: Encoded, services: Services) -> Outcome:
    require_ring_0(view)
    value = view.regs[r.RAX] & MASK_32 | (view.regs[r.RDX] & MASK_32) << 32
    if not services.write_msr(view.regs[r.RCX] & MASK_32, value):
        raise GuestFault(r.GP, 0)
    return _DONE


def _rdtsc(view: CpuView, _instruction: Encoded, services: Services) -> Outcome:
    if view.cpl and view.cr[4] & _CR4_TSD:
        raise GuestFault(r.GP, 0)
    _put_edx_eax(view, services.read_tsc())
    return _DONE


def _rdpmc(view: CpuView, _instruction: Encoded, _services: Services) -> Outcome:
    """The two counters of the P6 family, which count nothing here."""
    if view.cpl and not view.cr[4] & _CR4_PCE:
        raise GuestFault(r.GP, 0)
    if view.regs[r.RCX] & MASK_32 >= _COUNTERS:
        raise GuestFault(r.GP, 0)
    _put_edx_eax(view, 0)
    return _DONE


_HANDLERS: Final[dict[int, Handler]] = {
    **table_instructions.HANDLERS,
    **control_instructions.HANDLERS,
    **segment_moves.HANDLERS,
    **far_transfers.HANDLERS,
    **returns.HANDLERS,
    **interrupt_instructions.HANDLERS,
    **verify_instructions.HANDLERS,
    **port_instructions.HANDLERS,
    **syscall_entry.HANDLERS,
    0x9C: _pushf,
    0x9D: _popf,
    0xF4: _hlt,
    0xFA: _cli,
    0xFB: _sti,
    0x0F08: _invalidate_caches,
    0x0F09: _invalidate_caches,
    0x0F30: _wrmsr,
    0x0F31: _rdtsc,
    0x0F32: _rdmsr,
    0x0F33: _rdpmc,
    0x0FA2: _cpuid,
}
