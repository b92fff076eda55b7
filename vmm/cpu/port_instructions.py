"""IN, OUT, INS and OUTS, on a `CpuView`; the port itself is a service.

A repeated INS or OUTS moves up to `_MOST_ELEMENTS` in one call and leaves RIP at the instruction until
its count is used up, so that interrupts get in between. A fault after the first element ends the call
early: the next one raises it, with the registers at the element that faults. For INS the destination
is checked before the port is read, for a port's read may have effects.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volumes 2A and 2B, IN, INS,
OUT, OUTS; [SDM1] volume 1, §19.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.encoding import Encoded
from vmm.cpu.io_permission import io_allowed
from vmm.cpu.operands import Handler, Outcome, Services, operand_address, write_register
from vmm.cpu.paging import GuestFault, plan_write, read_linear
from vmm.cpu.state import CpuView

_DONE, _TRANSFERRED = Outcome.DONE, Outcome.TRANSFERRED
_MOST_ELEMENTS: Final = 1024
_Element = Callable[[CpuView, Encoded, Services], None]
_WIDE: Final = 1  # the opcode bit that says: more than a byte


def _size(instruction: Encoded) -> int:
    """The size of the access; ports have no 64-bit form."""
    return min(instruction.operand_bytes, 4) if instruction.key & _WIDE else 1


def _require_port(view: CpuView, port: int, size: int) -> None:
    if not io_allowed(view, view.interrupt_flags(), port, size):
        raise GuestFault(r.GP, 0)


def _read(view: CpuView, port: int, size: int, services: Services) -> Outcome:
    _require_port(view, port, size)
    write_register(view, r.RAX, services.port_in(port, size), size)
    return _DONE


def _write(view: CpuView, port: int, size: int, services: Services) -> Outcome:
    _require_port(view, port, size)
    services.port_out(port, size, view.regs[r.RAX] & (1 << size * 8) - 1)
    return _DONE


def _in_immediate(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    return _read(view, instruction.immediate, _size(instruction), services)


def _in_dx(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    return _read(view, view.regs[r.RDX] & 0xFFFF, _size(instruction), services)


def _out_immediate(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    return _write(view, instruction.immediate, _size(instruction), services)


def _out_dx(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    return _write(view, view.regs[r.RDX] & 0xFFFF, _size(instruction), services)


def _ins(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    return _string(view, instruction, services, _ins_element, r.RDI)


def _outs(view: CpuView, instruction: Encoded, services: Services) -> Outcome:
    return _string(view, instruction, services, _outs_element, r.RSI)


def _ins_element(view: CpuView, instruction: Encoded, services: Services) -> None:
    size = _size(instruction)
    linear = operand_address(view, instruction, size, write=True)
    plan = plan_write(view, linear, bytes(size), view.cpl == 3)
    data = services.port_in(view.regs[r.RDX] & 0xFFFF, size).to_bytes(size, "little")
    for physical, room in plan:  # two pieces at most, where the element crosses pages
        view.memory.write(physical, data[: len(room)])
        data = data[len(room) :]


def _outs_element(view: CpuView, instruction: Encoded, services: Services) -> None:
    size = _size(instruction)
    linear = operand_address(view, instruction, size, write=False)
    data = read_linear(view, linear, size, view.cpl == 3)
    services.port_out(view.regs[r.RDX] & 0xFFFF, size, int.from_bytes(data, "little"))


def _string(
    view: CpuView, instruction: Encoded, services: Services, element: _Element, index: int
) -> Outcome:
    """Move one element, or the next ones of a repeated instruction."""
    size, address_bytes = _size(instruction), instruction.address_bits // 8
    _require_port(view, view.regs[r.RDX] & 0xFFFF, size)
    mask = (1 << instruction.address_bits) - 1
    rflags = view.rflags
    step = -size if rflags & r.DF else size
    left = view.regs[r.RCX] & mask if instruction.repeat else 1
    for done in range(min(left, 1 if rflags & r.TF else _MOST_ELEMENTS)):
        try:
            element(view, instruction, services)
        except GuestFault:
            if not done:
                raise
            return _TRANSFERRED
        write_register(view, index, view.regs[index] + step & mask, address_bytes)
        left -= 1
        if instruction.repeat:
            write_register(view, r.RCX, left, address_bytes)
    return _TRANSFERRED if left else _DONE


HANDLERS: Final[dict[int, Handler]] = {
    0xE4: _in_immediate,
    0xE5: _in_immediate,
    0xEC: _in_dx,
    0xED: _in_dx,
    0xE6: _out_immediate,
    0xE7: _out_immediate,
    0xEE: _out_dx,
    0xEF: _out_dx,
    0x6C: _ins,
    0x6D: _ins,
    0x6E: _outs,
    0x6F: _outs,
}
