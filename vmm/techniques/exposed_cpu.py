"""The real processor as ring 1 sees it: what a sensitive instruction shows that nobody hides.

Privileged state is the real processor's; memory is reached through the guest's own page tables, as the
shadow tables would lead there.
"""

from __future__ import annotations

from collections.abc import MutableSequence

from vmm.cpu.state import PhysicalMemory, SegmentCache
from vmm.techniques.virtual_cpu import VirtualCpu


class ExposedCpu:
    """A `CpuView` for the emulation of instructions that are to have their real effect."""

    marks_accessed = False
    lookup = None

    def __init__(self, vcpu: VirtualCpu) -> None:
        self._vcpu, self._real = vcpu, vcpu.real
        state = vcpu.state
        self.regs: MutableSequence[int] = vcpu.regs
        self.segs: MutableSequence[SegmentCache] = vcpu.real.segs
        self.gdt, self.idt, self.ldt, self.tr = state.gdt, state.idt, state.ldt, state.tr
        self.cr: MutableSequence[int] = vcpu.cr
        self.load_segment = vcpu.real.load_segment
        self.write_cr = vcpu.write_cr
        self.interrupt_flags = vcpu.real.interrupt_flags
        self.set_if = vcpu.real.set_if
        self.change_if, self.skip = vcpu.real.change_if, vcpu.real.skip

    @property
    def memory(self) -> PhysicalMemory:
        """The guest's memory."""
        return self._real.memory

    @property
    def efer(self) -> int:
        """The guest's: the walk of its tables needs it."""
        return self._vcpu.efer

    @property
    def cpl(self) -> int:
        """The real ring."""
        return self._real.cpl

    @property
    def rip(self) -> int:
        """Instruction pointer."""
        return self._real.rip

    @rip.setter
    def rip(self, value: int) -> None:
        self._real.rip = value

    @property
    def rflags(self) -> int:
        """The real RFLAGS."""
        return self._real.rflags

    @rflags.setter
    def rflags(self, value: int) -> None:
        self._real.rflags = value
