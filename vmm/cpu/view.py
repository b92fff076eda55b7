"""The `CpuView` of the real processor, over the engine's own state."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import TYPE_CHECKING

from vmm.cpu import registers as r
from vmm.cpu import state as s
from vmm.cpu.state import CpuState, SegmentCache
from vmm.memory import Memory

if TYPE_CHECKING:
    from vmm.cpu.engine import Engine


A20 = 1 << 20


class GatedMemory:
    """Physical memory with address line 20 held low. One access must lie in one page."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes."""
        return self._memory.read(address & ~A20, length)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data`."""
        self._memory.write(address & ~A20, data)


class EngineView:
    """The `CpuView` of the real processor, over the engine's state."""

    # The engine's far jumps and its delivery do not, and a read-only table would tell the difference
    marks_accessed = False
    lookup = None

    def __init__(self, engine: Engine, state: CpuState, memory: Memory) -> None:
        self._engine = engine
        self.state = state
        self._memory = memory
        self.memory: Memory | GatedMemory = memory
        self.regs: MutableSequence[int] = state.regs
        # Overlays made once: indexing a ctypes array makes a new one each time
        self.segs: MutableSequence[SegmentCache] = [state.segs[index] for index in range(6)]
        self.gdt, self.idt, self.ldt, self.tr = state.gdt, state.idt, state.ldt, state.tr
        self.cr: MutableSequence[int] = state.cr

    def gate_a20(self, enabled: bool) -> None:
        """Let delivery, paging and emulation see memory as the processor does."""
        self.memory = self._memory if enabled else GatedMemory(self._memory)

    @property
    def rip(self) -> int:
        """Instruction pointer, without the base of CS."""
        return self.state.rip

    @rip.setter
    def rip(self, value: int) -> None:
        self.state.rip = value

    def code_address(self, offset: int = 0) -> int:
        """Return the linear address of CS:RIP + `offset`."""
        state = self.state
        if state.hflags & s.HF_CS64:
            return state.rip + offset & 0xFFFF_FFFF_FFFF_FFFF
        return self.segs[r.CS].base + state.rip + offset & 0xFFFF_FFFF

    @property
    def cpl(self) -> int:
        """Current privilege level."""
        return self.state.hflags & s.HF_CPL

    @property
    def efer(self) -> int:
        """IA32_EFER."""
        return self.state.efer

    @property
    def rflags(self) -> int:
        """RFLAGS, with the lazily kept arithmetic flags worked out."""
        return self._engine.read_rflags()

    @rflags.setter
    def rflags(self, value: int) -> None:
        state = self.state
        state.cc_op = s.CC_OP_EFLAGS
        state.cc_src = value & r.ARITHMETIC_FLAGS
        state.df = -1 if value & r.DF else 1
        state.eflags = (value & ~(r.ARITHMETIC_FLAGS | r.DF) & 0xFFFF_FFFF) | 2

    def interrupt_flags(self) -> int:
        """RFLAGS without the flags kept lazily: the arithmetic ones and DF."""
        return self.state.eflags

    def set_if(self, enabled: bool) -> None:
        """Set or clear IF."""
        state = self.state
        state.eflags = state.eflags | r.IF if enabled else state.eflags & ~r.IF

    def change_if(self, enabled: bool) -> int | None:
        """CLI and STI."""
        state = self.state
        old = state.eflags
        if state.hflags & s.HF_CPL > old >> r.IOPL_SHIFT & 3:
            return None
        state.eflags = old | r.IF if enabled else old & ~r.IF
        return old & r.IF

    def skip(self, length: int, mask: int) -> None:
        """Move RIP past an instruction."""
        state = self.state
        state.rip = state.rip + length & mask

    def load_segment(self, index: int, selector: int, base: int, limit: int, flags: int) -> None:
        """Load a segment with its hidden part and recompute the mode, as QEMU's own loader does."""
        state = self.state
        segment = self.segs[index]
        segment.selector, segment.base, segment.limit, segment.flags = selector, base, limit, flags
        hflags = state.hflags
        if index == r.CS:
            hflags &= ~(s.HF_CS32 | s.HF_CS64)
            if hflags & s.HF_LMA and flags & r.DESC_L:
                hflags |= s.HF_CS32 | s.HF_CS64
            elif flags & r.DESC_B:
                hflags |= s.HF_CS32
        elif index == r.SS:
            hflags = (hflags & ~s.HF_CPL) | (flags >> r.DESC_DPL_SHIFT & 3)
        hflags &= ~(s.HF_SS32 | s.HF_ADDSEG)
        if hflags & s.HF_CS64:
            hflags |= s.HF_SS32
        else:
            if self.segs[r.SS].flags & r.DESC_B:
                hflags |= s.HF_SS32
            flat = hflags & s.HF_CS32 and state.cr[0] & r.CR0_PE and not state.eflags & r.VM
            if not flat or self.segs[r.DS].base or self.segs[r.ES].base or self.segs[r.SS].base:
                hflags |= s.HF_ADDSEG
        state.hflags = hflags

    def write_cr(self, index: int, value: int) -> None:
        """Write CR0, CR2, CR3 or CR4 with its side effects."""
        if index == 2:
            self.state.cr[2] = value
        else:
            self._engine.write_cr(index, value)
