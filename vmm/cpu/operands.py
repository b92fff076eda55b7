"""What the emulated instructions share: their services, their outcome, and access to operands.

Sources: [SDM2] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, §3.1.1.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, Protocol

from vmm.cpu import registers as r
from vmm.cpu.encoding import Encoded, offset_of
from vmm.cpu.paging import MASK_32, MASK_64, GuestFault, read_linear, write_linear
from vmm.cpu.segmentation import linear_address
from vmm.cpu.state import CpuView


class Outcome(enum.Enum):
    """What an emulated instruction did."""

    DONE = "done"
    HALTED = "halted: wait for an interrupt"
    INTERRUPT_SHADOW = "STI, MOV SS or POP SS: interrupts stay off for one more instruction"
    TRANSFERRED = "control is elsewhere, RIP is set"
    UNHANDLED = "not an instruction emulated here; nothing has changed"


class Services(Protocol):
    """What the processor's surroundings decide."""

    def cpuid(self, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """Return EAX, EBX, ECX, EDX."""

    def read_msr(self, index: int) -> int | None:
        """Return the 64-bit value, or None for an MSR that does not exist: #GP(0)."""

    def write_msr(self, index: int, value: int) -> bool:
        """Write an MSR; False refuses: #GP(0)."""

    def read_tsc(self) -> int:
        """Return the time-stamp counter."""

    def read_cr8(self) -> int:
        """Return the task priority class, 0 to 15."""

    def write_cr8(self, value: int) -> None:
        """Set the task priority class, 0 to 15."""

    def port_in(self, port: int, size: int) -> int:
        """Read 1, 2 or 4 bytes from a port."""

    def port_out(self, port: int, size: int, value: int) -> None:
        """Write 1, 2 or 4 bytes to a port."""

    def end_nmi(self) -> None:
        """IRET was executed: NMIs are no longer blocked."""

    def invlpg(self, linear: int) -> None:
        """Forget the translation of one page."""

    def halt(self) -> None:
        """The processor has halted; RIP is already past the HLT."""

    def read_dr(self, index: int) -> int:
        """Return debug register 0 to 3, 6 or 7."""

    def write_dr(self, index: int, value: int) -> None:
        """Write debug register 0 to 3, 6 or 7."""


Handler = Callable[[CpuView, Encoded, Services], Outcome]
RIP_MASKS: Final = {16: 0xFFFF, 32: MASK_32, 64: MASK_64}


def next_rip(view: CpuView, instruction: Encoded) -> int:
    """The offset of the instruction behind this one."""
    return view.rip + instruction.length & RIP_MASKS[instruction.bits]


def require_ring_0(view: CpuView) -> None:
    """Refuse a privileged instruction elsewhere.

    Raises:
        GuestFault: #GP(0).
    """
    if view.cpl:
        raise GuestFault(r.GP, 0)


def write_register(view: CpuView, index: int, value: int, size: int) -> None:
    """Write a general register: 8 (the low ones) and 16 bits keep the rest, 32 clear the upper half."""
    mask = (1 << size * 8) - 1
    if size < 4:
        view.regs[index] = view.regs[index] & ~mask | value & mask
    else:
        view.regs[index] = value & mask


def operand_address(view: CpuView, instruction: Encoded, size: int, *, write: bool) -> int:
    """The linear address of the memory operand, `size` bytes long, checked against its segment.

    Raises:
        GuestFault: #GP(0) or #SS(0); #UD if the operand is a register.
    """
    memory = instruction.memory
    if memory is None:
        raise GuestFault(r.UD)
    return linear_address(view, memory.segment, offset_of(view, instruction, memory), size, write=write)


def read_memory(view: CpuView, instruction: Encoded, size: int) -> bytes:
    """Read the memory operand.

    Raises:
        GuestFault: as `operand_address`; #PF.
    """
    linear = operand_address(view, instruction, size, write=False)
    return read_linear(view, linear, size, view.cpl == 3)


def write_memory(view: CpuView, instruction: Encoded, data: bytes) -> None:
    """Write the memory operand.

    Raises:
        GuestFault: as `operand_address`; #PF.
    """
    linear = operand_address(view, instruction, len(data), write=True)
    write_linear(view, linear, data, view.cpl == 3)


def read_word(view: CpuView, instruction: Encoded) -> int:
    """Read an r/m16 source."""
    if instruction.memory is None:
        return view.regs[instruction.rm] & 0xFFFF
    return int.from_bytes(read_memory(view, instruction, 2), "little")


def write_word(view: CpuView, instruction: Encoded, value: int) -> None:
    """Write a destination that is 16 bits in memory, and the operand size in a register."""
    if instruction.memory is None:
        write_register(view, instruction.rm, value, instruction.operand_bytes)
    else:
        write_memory(view, instruction, (value & 0xFFFF).to_bytes(2, "little"))
