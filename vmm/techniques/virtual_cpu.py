"""The processor that a deprivileged guest believes it has: a `CpuView` beside the real one.

General registers, RIP and the arithmetic flags are the real ones. Everything privileged is virtual:
IF, IOPL, control registers, EFER, descriptor table registers and TR. Ring 0 is shown where ring 1 is
real. Writes reach the real processor only as far as they change how ring 1 and ring 3 code runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, MutableSequence
from typing import Final

from vmm.cpu import registers as r
from vmm.cpu.descriptors import ERROR_SELECTOR, read_descriptor
from vmm.cpu.engine import Engine
from vmm.cpu.operands import Outcome
from vmm.cpu.paging import GuestFault
from vmm.cpu.state import HF_CPL, Lookup, SegmentCache
from vmm.cpu.view import GatedMemory
from vmm.memory import Memory

VIRTUAL_FLAGS: Final = r.IF | r.IOPL | r.VIF | r.VIP
_DONE, _SHADOW = Outcome.DONE, Outcome.INTERRUPT_SHADOW
_IF, _NOT_IF, _IOPL_SHIFT = r.IF, ~r.IF, r.IOPL_SHIFT
_DPL_1: Final = 1 << r.DESC_DPL_SHIFT
_REAL_CR0: Final = r.CR0_PE | r.CR0_PG | r.CR0_WP | r.CR0_ET
_CR0_THROUGH: Final = r.CR0_MP | r.CR0_EM | r.CR0_TS | r.CR0_NE | r.CR0_AM
_CR4_THROUGH: Final = (
    1 << 2 | 1 << 3 | 1 << 9 | 1 << 10 | r.CR4_SMEP | r.CR4_SMAP
)  # TSD, DE, OSFXSR, OSXMMEXCPT

OnCr = Callable[[int, int, int], None]


class VirtualSegment:
    """A segment register as the guest sees it: where the real one says ring 1, it says ring 0."""

    __slots__ = ("_real", "_ring", "_vcpu")

    def __init__(self, real: SegmentCache, vcpu: VirtualCpu, *, ring: bool) -> None:
        """`ring`: the selector's RPL is the CPL, as in CS and SS."""
        self._real, self._vcpu, self._ring = real, vcpu, ring

    @property
    def selector(self) -> int:
        """The selector the guest loaded."""
        selector = self._real.selector
        if self._ring and selector & 3 == 1 and self._vcpu.compressed:
            return selector & ~3
        return selector

    @property
    def base(self) -> int:
        """Linear base."""
        return self._real.base

    @property
    def limit(self) -> int:
        """Limit in bytes."""
        return self._real.limit

    @property
    def flags(self) -> int:
        """Attributes, DPL 0 where the real one is 1 and the guest's was not."""
        flags = self._real.flags
        if flags >> r.DESC_DPL_SHIFT & 3 != 1 or (
            self._vcpu.inner and (self._ring or self._vcpu.gives_ring_1(self._real.selector))
        ):
            return flags
        return flags & ~_DPL_1


class VirtualCpu:
    """Virtual privileged state over an engine's real view. `on_cr(index, old, new)` follows CR writes."""

    marks_accessed = False  # as on the bare machine: see `EngineView`

    def __init__(self, engine: Engine, on_cr: OnCr) -> None:
        self._engine, self.on_cr = engine, on_cr
        self.real = engine.view
        self.state = self.real.state
        self.regs: MutableSequence[int] = self.real.regs
        self.segs: MutableSequence[SegmentCache] = [
            VirtualSegment(self.real.segs[index], self, ring=index in (r.CS, r.SS))  # type: ignore[misc]
            for index in range(6)
        ]
        self.gdt, self.idt, self.ldt, self.tr = (SegmentCache() for _ in range(4))
        self.cr: MutableSequence[int] = [r.CR0_ET, 0, 0, 0, 0, 0, 0, 0, 0]
        self.efer = 0
        self.flags = ctypes.c_uint32()  # VIRTUAL_FLAGS; the engine looks at IF
        self.lookup: Lookup | None = None  # the shadow page tables
        self.inner = 0  # the guest's ring while ring 1 is real: 0 or 1
        self.on_ring: Callable[[], None] = lambda: None  # told when that changes

    @property
    def memory(self) -> Memory | GatedMemory:
        """Physical memory, address line 20 as the guest has gated it."""
        return self.real.memory

    @property
    def compressed(self) -> bool:
        """Whether real ring 1 stands for ring 0."""
        return self.inner == 0 and not self.state.eflags & r.VM

    @property
    def rip(self) -> int:
        """Instruction pointer."""
        return self.state.rip

    @rip.setter
    def rip(self, value: int) -> None:
        self.state.rip = value

    def code_address(self, offset: int = 0) -> int:
        """Return the linear address of CS:RIP + `offset`."""
        return self.real.code_address(offset)

    @property
    def cpl(self) -> int:
        """The ring the guest believes to be in."""
        real = self.state.hflags & HF_CPL
        return real if real > 1 else self.inner

    def gives_ring_1(self, selector: int) -> bool:
        """Whether the guest's descriptor, as it is now, has DPL 1: a loaded segment does not tell."""
        try:
            return bool(selector & ERROR_SELECTOR) and read_descriptor(self, selector).dpl == 1
        except GuestFault:
            return False

    @property
    def rflags(self) -> int:
        """RFLAGS as the guest should see them."""
        return self._engine.read_rflags() & ~VIRTUAL_FLAGS | self.flags.value & VIRTUAL_FLAGS

    @rflags.setter
    def rflags(self, value: int) -> None:
        self.flags.value = value & VIRTUAL_FLAGS
        self.real.rflags = value & ~VIRTUAL_FLAGS | r.IF

    def interrupt_flags(self) -> int:
        """RFLAGS without the flags kept lazily: the arithmetic ones and DF."""
        return self.state.eflags & ~VIRTUAL_FLAGS | self.flags.value & VIRTUAL_FLAGS

    def set_if(self, on: bool) -> None:
        """Set or clear the guest's IF."""
        flags = self.flags
        flags.value = flags.value | r.IF if on else flags.value & ~r.IF

    def change_if(self, on: bool) -> int | None:
        """CLI and STI."""
        flags = self.flags
        old = flags.value
        real = self.state.hflags & HF_CPL
        if (real if real > 1 else self.inner) > old >> _IOPL_SHIFT & 3:
            return None
        flags.value = old | _IF if on else old & _NOT_IF
        return old & _IF

    def if_changer(self, on: bool, mask: int) -> Callable[[], Outcome] | None:
        """Return what carries out CLI or STI, RIP wrapped by `mask`; None: by `change_if` only."""
        state, flags = self.state, self.flags

        def change() -> Outcome:
            old = flags.value
            ring = state.hflags & HF_CPL
            if (ring if ring > 1 else self.inner) > old >> _IOPL_SHIFT & 3:
                raise GuestFault(r.GP, 0)
            state.rip = state.rip + 1 & mask
            if not on:
                flags.value = old & _NOT_IF
                return _DONE
            flags.value = old | _IF
            return _DONE if old & _IF else _SHADOW

        return change

    def skip(self, length: int, mask: int) -> None:
        """Move RIP past an instruction."""
        state = self.state
        state.rip = state.rip + length & mask

    def load_segment(self, index: int, selector: int, base: int, limit: int, flags: int) -> None:
        """Load a segment as the guest asked, ring 0 becoming ring 1; L means nothing to 32-bit guests."""
        if index == r.CS:
            flags &= ~r.DESC_L  # the real processor is in IA-32e mode and would run 64-bit code
        if not self.state.eflags & r.VM:
            dpl = flags >> r.DESC_DPL_SHIFT & 3
            if index == r.SS and dpl < 2 and dpl != self.inner:
                self.inner = dpl
                self._engine.open_ports(not dpl)
                self.on_ring()
            if dpl == 0:
                flags |= _DPL_1
            if index in (r.CS, r.SS) and selector & 3 == 0:
                selector |= 1
        self.real.load_segment(index, selector, base, limit, flags)

    def write_cr(self, index: int, value: int) -> None:
        """Write CR0, CR2, CR3 or CR4 of the guest's, and of the real ones what must follow."""
        old = self.cr[index]
        self.cr[index] = value
        if index == 0:
            wanted = _REAL_CR0 | value & _CR0_THROUGH
            if wanted != self.state.cr[0]:
                self._engine.write_cr(0, wanted)
        elif index == 4:
            wanted = r.CR4_PAE | value & _CR4_THROUGH
            if wanted != self.state.cr[4]:
                self._engine.write_cr(4, wanted)
        if index != 2:
            self.on_cr(index, old, value)

    # -- changing over

    def take_over(self, root: int) -> None:
        """Become what the real processor is, which then runs the guest at ring 1 on the tables at `root`."""
        state, real, engine = self.state, self.real, self._engine
        for name in ("gdt", "idt", "ldt", "tr"):
            _copy(getattr(state, name), getattr(self, name))
        for index in (0, 2, 3, 4):
            self.cr[index] = state.cr[index]
        self.efer = state.efer
        rflags = real.rflags
        segments = [(seg.selector, seg.base, seg.limit, seg.flags) for seg in real.segs]
        cpl = real.cpl
        self.inner = cpl if cpl < 2 else 0
        engine.open_ports(not self.inner)
        if state.cr[0] & r.CR0_PG:
            engine.write_cr(0, state.cr[0] & ~r.CR0_PG)
        engine.write_cr(4, r.CR4_PAE | self.cr[4] & _CR4_THROUGH)
        engine.write_cr(3, root)
        state.efer |= r.EFER_LME | r.EFER_NXE
        engine.write_cr(0, _REAL_CR0 | self.cr[0] & _CR0_THROUGH)
        self.rflags = rflags
        for index in (r.SS, r.CS, r.DS, r.ES, r.FS, r.GS):
            self.load_segment(index, *segments[index])

    def hand_back(self) -> None:
        """Make the real processor be what the guest believes it is, in ring 0."""
        state, real, engine = self.state, self.real, self._engine
        segments = [(seg.selector, seg.base, seg.limit, seg.flags) for seg in self.segs]
        rflags = self.rflags
        engine.write_cr(0, state.cr[0] & ~r.CR0_PG)
        state.efer = self.efer
        engine.write_cr(4, self.cr[4])
        engine.write_cr(3, self.cr[3])
        engine.write_cr(0, self.cr[0])
        for name in ("gdt", "idt", "ldt", "tr"):
            _copy(getattr(self, name), getattr(state, name))
        real.rflags = rflags
        for index in (r.SS, r.CS, r.DS, r.ES, r.FS, r.GS):
            real.load_segment(index, *segments[index])
        self.state.cr[2] = self.cr[2]


def _copy(source: SegmentCache, to: SegmentCache) -> None:
    to.selector, to.base, to.limit, to.flags = source.selector, source.base, source.limit, source.flags
