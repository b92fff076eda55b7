"""A typed overlay on the engine's own CPU state structure, and the view the monitor works through.

Unicorn keeps the guest's processor in QEMU's `CPUX86State`. `CpuState` lays names over that memory:
the live structure under the accelerated engine, a copy made by `uc_context_save` under the
portable one. The layout belongs to one build of Unicorn; `vmm/cpu/layout.py` proves it at start.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, MutableSequence
from typing import Final, Protocol

from vmm.cpu import registers as r

# hflags, QEMU's summary of the mode a block was translated for (target/i386/cpu.h)
HF_CPL: Final = 3
HF_INHIBIT_IRQ: Final = 1 << 3
HF_CS32: Final = 1 << 4
HF_SS32: Final = 1 << 5
HF_ADDSEG: Final = 1 << 6
HF_PE: Final = 1 << 7
HF_TF: Final = 1 << 8
HF_LMA: Final = 1 << 14
HF_CS64: Final = 1 << 15
HF_VM: Final = 1 << 17
HF_GUEST: Final = 1 << 21  # SVM guest mode: the intercept bitmaps are live
HF2_NMI_BLOCKED: Final = 1 << 2  # of hflags2

HF2_NPT: Final = 1 << 6  # of hflags2: guest-physical addresses go through the tables at nested_cr3
NESTED_4_LEVELS: Final = 7  # nested_mode: PAE, IA-32e, NXE
CC_OP_EFLAGS: Final = 1  # the arithmetic flags are in cc_src


class SegmentCache(ctypes.Structure):
    """A segment register with its hidden part. `flags` is the descriptor's second dword, masked."""

    selector: int
    base: int
    limit: int
    flags: int
    _fields_ = [
        ("selector", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


class CpuState(ctypes.Structure):
    """`CPUX86State` of Unicorn 2.1.4, the fields we use; offsets in bytes, see `layout.py`."""

    regs: MutableSequence[int]
    rip: int
    eflags: int  # without the arithmetic flags and DF, which are lazy: use CpuView.rflags
    cc_dst: int
    cc_src: int
    cc_src2: int
    cc_op: int
    df: int
    hflags: int
    hflags2: int
    segs: MutableSequence[SegmentCache]
    ldt: SegmentCache
    tr: SegmentCache
    gdt: SegmentCache
    idt: SegmentCache
    cr: MutableSequence[int]
    a20_mask: int
    efer: int
    sysenter_cs: int
    sysenter_esp: int
    sysenter_eip: int
    star: int
    lstar: int
    cstar: int
    fmask: int
    error_code: int
    exception_is_int: int
    exception_next_eip: int
    old_exception: int
    vm_vmcb: int
    tsc_offset: int
    intercept: int
    intercept_cr_read: int
    intercept_cr_write: int
    intercept_dr_read: int
    intercept_dr_write: int
    intercept_exceptions: int
    nested_cr3: int
    nested_mode: int
    _fields_ = [
        ("regs", ctypes.c_uint64 * 16),  # 0
        ("rip", ctypes.c_uint64),  # 128
        ("eflags", ctypes.c_uint64),  # 136
        ("cc_dst", ctypes.c_uint64),  # 144
        ("cc_src", ctypes.c_uint64),  # 152
        ("cc_src2", ctypes.c_uint64),  # 160
        ("cc_op", ctypes.c_uint32),  # 168
        ("df", ctypes.c_int32),  # 172
        ("hflags", ctypes.c_uint32),  # 176
        ("hflags2", ctypes.c_uint32),  # 180
        ("segs", SegmentCache * 6),  # 184
        ("ldt", SegmentCache),  # 328
        ("tr", SegmentCache),  # 352
        ("gdt", SegmentCache),  # 376
        ("idt", SegmentCache),  # 400
        ("cr", ctypes.c_uint64 * 5),  # 424
        ("_gap1", ctypes.c_uint8 * (496 - 464)),
        ("a20_mask", ctypes.c_int32),  # 496
        ("_gap2", ctypes.c_uint8 * (592 - 500)),
        ("efer", ctypes.c_uint64),  # 592
        ("_gap3", ctypes.c_uint8 * (4800 - 600)),
        ("sysenter_cs", ctypes.c_uint32),  # 4800
        ("_gap4", ctypes.c_uint8 * 4),
        ("sysenter_esp", ctypes.c_uint64),  # 4808
        ("sysenter_eip", ctypes.c_uint64),  # 4816
        ("star", ctypes.c_uint64),  # 4824
        ("_gap5", ctypes.c_uint8 * 8),
        ("lstar", ctypes.c_uint64),  # 4840
        ("cstar", ctypes.c_uint64),  # 4848
        ("fmask", ctypes.c_uint64),  # 4856
        ("_gap6", ctypes.c_uint8 * (5384 - 4864)),
        ("error_code", ctypes.c_int32),  # 5384
        ("exception_is_int", ctypes.c_int32),  # 5388
        ("exception_next_eip", ctypes.c_uint64),  # 5392
        ("_gap7", ctypes.c_uint8 * (5496 - 5400)),
        ("old_exception", ctypes.c_int32),  # 5496
        ("_gap8", ctypes.c_uint8 * 4),
        ("vm_vmcb", ctypes.c_uint64),  # 5504
        ("tsc_offset", ctypes.c_uint64),  # 5512
        ("intercept", ctypes.c_uint64),  # 5520
        ("intercept_cr_read", ctypes.c_uint16),  # 5528
        ("intercept_cr_write", ctypes.c_uint16),  # 5530
        ("intercept_dr_read", ctypes.c_uint16),  # 5532
        ("intercept_dr_write", ctypes.c_uint16),  # 5534
        ("intercept_exceptions", ctypes.c_uint32),  # 5536
        ("_gap9", ctypes.c_uint8 * 4),
        ("nested_cr3", ctypes.c_uint64),  # 5544
        ("nested_mode", ctypes.c_uint32),  # 5552
        ("_tail", ctypes.c_uint8 * (5568 - 5556)),
    ]


Lookup = Callable[[int, bool, bool, bool], int | None]
"""Linear address, write, user, fetch -> physical address, if the access is known to be allowed."""


class PhysicalMemory(Protocol):
    """Guest-physical memory as the processor sees it; what is not RAM reads FFh, drops writes."""

    def read(self, address: int, length: int) -> bytes:
        """Return `length` bytes."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data`; translated code it overwrites is forgotten."""


class CpuView(Protocol):
    """A processor as delivery, paging and emulation see it.

    Two kinds implement it: the real state of the engine (bare, hardware) and a technique's
    virtual state. Segments are `SegmentCache`-like: selector, base, limit, flags.
    """

    @property
    def regs(self) -> MutableSequence[int]:
        """The sixteen general registers, 64-bit values, in encoding order."""

    rip: int
    rflags: int

    def interrupt_flags(self) -> int:
        """RFLAGS but its arithmetic flags and DF, which are dear to read: IF, IOPL, NT, VM and the rest."""

    def set_if(self, enabled: bool) -> None:
        """Set or clear RFLAGS.IF alone."""

    def change_if(self, enabled: bool) -> int | None:
        """CLI and STI: set or clear IF; return what it was, or None where CPL is above IOPL.

        All in one call, for these two are what a guest's kernel traps on most.
        """

    def skip(self, length: int, mask: int) -> None:
        """Move RIP past an instruction; `mask` is what RIP has room for."""

    @property
    def marks_accessed(self) -> bool:
        """Whether loading CS or SS sets the accessed bit in the table, as on hardware."""

    @property
    def lookup(self) -> Lookup | None:
        """A TLB, where there is one to ask before the page tables."""

    @property
    def cpl(self) -> int:
        """Current privilege level, 0 to 3 (3 in VM86 mode)."""

    @property
    def cr(self) -> MutableSequence[int]:
        """CR0 to CR4; read only: write through `write_cr`."""

    @property
    def efer(self) -> int:
        """IA32_EFER."""

    @property
    def segs(self) -> MutableSequence[SegmentCache]:
        """ES CS SS DS FS GS; read only: load through `load_segment`."""

    @property
    def gdt(self) -> SegmentCache:
        """GDTR (base, limit)."""

    @property
    def idt(self) -> SegmentCache:
        """IDTR (base, limit)."""

    @property
    def ldt(self) -> SegmentCache:
        """LDTR; writable in place."""

    @property
    def tr(self) -> SegmentCache:
        """TR; writable in place. Its type must read as *available* (1 or 9), never busy."""

    @property
    def memory(self) -> PhysicalMemory:
        """Guest-physical memory."""

    def load_segment(self, index: int, selector: int, base: int, limit: int, flags: int) -> None:
        """Load a segment register with its hidden part; CS sets the mode, SS (or CS) the CPL.

        `index` is the register's encoding (ES 0 … GS 5). Loading SS sets CPL to the DPL in `flags`.
        """

    def write_cr(self, index: int, value: int) -> None:
        """Write CR0, CR2, CR3 or CR4 with all side effects (mode bits, TLB)."""


def long_mode_active(view: CpuView) -> bool:
    """Whether IA32_EFER.LMA is set: descriptors and gates have their 64-bit forms."""
    return bool(view.efer & r.EFER_LMA)
