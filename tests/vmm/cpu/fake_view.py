"""A processor and its memory in plain Python, for the tests of delivery, paging and emulation."""

from __future__ import annotations

import ctypes

from vmm.cpu import registers as r
from vmm.cpu.descriptors import Descriptor
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

    def __init__(self, memory: FakeMemory | None = None) -> None:
        self.memory = memory or FakeMemory()
        self.regs = (ctypes.c_uint64 * 16)()
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

    def load(self, index: int, selector: int, descriptor: Descriptor) -> None:
        """Load a segment register from a parsed descriptor."""
        self.load_segment(index, selector, descriptor.base, descriptor.limit, descriptor.flags)
