"""A processor and its memory in plain Python, for the tests of delivery, paging and emulation."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, MutableSequence
from typing import cast

from vmm.cpu import registers as r
from vmm.cpu.descriptors import Gate, pack_segment
from vmm.cpu.paging import GuestFault
from vmm.cpu.state import SegmentCache

# Hidden parts as a loader leaves them
REAL_DATA = 0x9300  # present, DPL 0, writable data, accessed
CODE16, CODE32, CODE64 = 0x9B00, 0x40_9B00, 0x20_9B00
DATA16, DATA32 = 0x9300, 0x40_9300
FLAT = 0xFFFF_FFFF


class FakeMemory:
    """RAM from 0; beyond it reads FFh and drops writes. Keeps the log of writes."""

    def __init__(self, size: int = 0x10_0000) -> None:
        self.ram = bytearray(size)
        self.writes: list[tuple[int, bytes]] = []

    def read(self, address: int, length: int) -> bytes:
        data = bytes(self.ram[address : address + length])
        return data + b"\xff" * (length - len(data))

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self.writes.append((address, bytes(data)))
        if address + len(data) <= len(self.ram):
            self.ram[address : address + len(data)] = data

    def u16(self, address: int) -> int:
        return int.from_bytes(self.read(address, 2), "little")

    def u32(self, address: int) -> int:
        return int.from_bytes(self.read(address, 4), "little")

    def u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def words(self, address: int, count: int, size: int) -> list[int]:
        return [int.from_bytes(self.read(address + i * size, size), "little") for i in range(count)]


class FakeView:
    """A `CpuView` in real mode at reset-like values; tests set what they need."""

    marks_accessed = True
    lookup = None

    def __init__(self, memory: FakeMemory | None = None) -> None:
        self.memory = memory or FakeMemory()
        self.regs = cast(MutableSequence[int], (ctypes.c_uint64 * 16)())
        self.rip = 0x100
        self.rflags = 2
        self.cpl = 0
        self.cr = [r.CR0_ET, 0, 0, 0, 0]
        self.efer = 0
        self.segs = [SegmentCache(limit=0xFFFF, flags=REAL_DATA) for _ in range(6)]
        self.segs[r.CS].flags = CODE16
        self.gdt = SegmentCache(limit=0xFFFF)
        self.idt = SegmentCache(limit=0x3FF)
        self.ldt = SegmentCache()
        self.tr = SegmentCache(flags=0x8900)

    def load_segment(self, index: int, selector: int, base: int, limit: int, flags: int) -> None:
        self.segs[index] = SegmentCache(selector=selector, base=base, limit=limit, flags=flags)
        if index == r.SS:
            self.cpl = 3 if self.rflags & r.VM else flags >> r.DESC_DPL_SHIFT & 3

    def interrupt_flags(self) -> int:
        return self.rflags & ~(r.ARITHMETIC_FLAGS | r.DF)

    def set_if(self, enabled: bool) -> None:
        self.rflags = self.rflags | r.IF if enabled else self.rflags & ~r.IF

    def change_if(self, enabled: bool) -> int | None:
        was = self.rflags & r.IF
        if self.cpl > self.rflags >> r.IOPL_SHIFT & 3:
            return None
        self.set_if(enabled)
        return was

    def skip(self, length: int, mask: int) -> None:
        self.rip = self.rip + length & mask

    def write_cr(self, index: int, value: int) -> None:
        self.cr[index] = value

    def snapshot(self) -> tuple[object, ...]:
        """Everything architectural but memory, to prove that a fault changed nothing."""
        caches = [*self.segs, self.gdt, self.idt, self.ldt, self.tr]
        hidden = tuple((c.selector, c.base, c.limit, c.flags) for c in caches)
        return (tuple(self.regs), self.rip, self.rflags, self.cpl, tuple(self.cr), self.efer, hidden)

    def put_descriptor(self, selector: int, descriptor: bytes) -> None:
        """Store a descriptor in the GDT or LDT."""
        table = self.ldt if selector & 4 else self.gdt
        self.memory.write(table.base + (selector & ~7), descriptor)

    def put_gate(self, vector: int, gate: bytes) -> None:
        """Store a gate in the IDT; its length is the size of an entry."""
        self.memory.write(self.idt.base + vector * len(gate), gate)


# A small protected-mode machine, and its selectors
GDT_AT, IDT_AT, TSS_AT, LDT_AT, KERNEL_STACK, USER_STACK = 0x1000, 0x2000, 0x4000, 0x5000, 0x8000, 0xA000
KCODE, KDATA, UCODE, UDATA, TSS, CONFORMING, KCODE16, KDATA16 = 8, 0x10, 0x1B, 0x23, 0x28, 0x30, 0x38, 0x40
TSS2, LDT, HANDLER = 0x48, 0x50, 0x1234
RING_3 = 3 << r.DESC_DPL_SHIFT
GRANULAR = r.DESC_G


def protected_view(cpl: int = 0) -> FakeView:
    """Protected mode, flat segments, a 32-bit TSS with a ring 0 stack, at privilege level 0 or 3."""
    view = FakeView()
    view.cr[0] |= r.CR0_PE
    view.gdt.base, view.gdt.limit = GDT_AT, 0x7F
    view.idt.base, view.idt.limit = IDT_AT, 0x7FF
    view.tr.selector, view.tr.base, view.tr.limit = TSS, TSS_AT, 0x67
    table = {
        KCODE: (0, FLAT, CODE32 | GRANULAR),
        KDATA: (0, FLAT, DATA32 | GRANULAR),
        UCODE: (0, FLAT, CODE32 | GRANULAR | RING_3),
        UDATA: (0, FLAT, DATA32 | GRANULAR | RING_3),
        TSS: (TSS_AT, 0x67, 0x8B00),
        CONFORMING: (0, FLAT, CODE32 | GRANULAR | r.DESC_CONFORMING),
        KCODE16: (0, 0xFFFF, CODE16),
        KDATA16: (0, 0xFFFF, DATA16),
        TSS2: (0x4800, 0x67, 0x8900),
        LDT: (LDT_AT, 0x3F, 0x8200),
    }
    for selector, (base, limit, flags) in table.items():
        view.put_descriptor(selector, pack_segment(base, limit, flags))
    view.memory.write(TSS_AT + 4, KERNEL_STACK.to_bytes(4, "little") + KDATA.to_bytes(4, "little"))
    code, data = (UCODE, UDATA) if cpl else (KCODE, KDATA)
    ring = RING_3 if cpl else 0
    for index in (r.ES, r.SS, r.DS, r.FS, r.GS):
        view.load_segment(index, data, 0, FLAT, DATA32 | GRANULAR | ring)
    view.load_segment(r.CS, code, 0, FLAT, CODE32 | GRANULAR | ring)
    view.regs[r.RSP] = USER_STACK if cpl else KERNEL_STACK
    view.rflags = 2 | r.IF
    view.memory.writes.clear()
    return view


def gate(
    kind: int,
    selector: int = KCODE,
    *,
    offset: int = HANDLER,
    dpl: int = 0,
    present: bool = True,
    ist: int = 0,
) -> Gate:
    """A gate, to HANDLER in ring 0 if nothing else is said."""
    return Gate(selector, offset, kind, dpl, present, parameter=ist)


def long_view(cpl: int = 0) -> FakeView:
    """IA-32e mode without a walk of its own (paging is tested apart): 64-bit code, RSP0 and IST1."""
    view = protected_view(cpl)
    view.efer = r.EFER_LMA | r.EFER_LME
    ring = RING_3 if cpl else 0
    view.put_descriptor(KCODE, pack_segment(0, 0, CODE64))
    view.load_segment(r.CS, UCODE if cpl else KCODE, 0, 0, CODE64 | ring)
    view.memory.write(TSS_AT, bytes(0x68))
    view.memory.write(TSS_AT + 4, KERNEL_STACK.to_bytes(8, "little"))
    view.memory.write(TSS_AT + 0x24, (0x9008).to_bytes(8, "little"))
    view.idt.limit = 0xFFF
    view.memory.writes.clear()
    return view


def vm86_view() -> FakeView:
    """A virtual-8086 task at 2000h:0100h, stack 3000h:0FFEh, over the protected-mode machine."""
    view = protected_view(3)
    view.rflags |= r.VM
    for index, selector in enumerate((0x1111, 0x2000, 0x3000, 0x4444, 0x5555, 0x6666)):
        view.load_segment(index, selector, selector << 4, 0xFFFF, 0xF300)
    view.regs[r.RSP] = 0x0FFE
    view.memory.writes.clear()
    return view


def raised(action: Callable[[], object]) -> tuple[int, int | None]:
    """The (vector, error code) of the fault an action raises."""
    try:
        action()
    except GuestFault as fault:
        return fault.vector, fault.error_code
    raise AssertionError("no fault")
