"""Shadow GDT and LDT: the descriptor tables the processor really uses, made from the guest's.

A copy of each segment descriptor, with DPL 0 made 1, so that the guest's kernel loads its own selectors
at ring 1 without the monitor; while ring 1 is the guest's own ring 1, DPL 0 stays, and faults there.
System descriptors are left out, so that gates and task switches fault and are emulated. So are data
segments that were never accessed: their first load sets the bit in the guest's table, for the guest to see.
A code segment keeps its bit: the engine's far transfers do not mark it, and its load as data faults where
it would, since the copies are read-only.

The pages of the guest's tables are protected. The first write makes all of the copy not present: the next
selector load faults, the copy is made anew, and the load is tried again. (The hidden parts of segment
registers stay as loaded, which is the architecture's rule too.)

The tables lie at 2^40, which 32-bit code cannot reach, [SDM3] §3.3.7 (in IA-32e mode a descriptor
table's base has 64 bits).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from vmm.cpu import descriptors as d
from vmm.cpu import registers as r
from vmm.cpu.paging import MASK_32, PAGE_MASK, PAGE_SIZE, GuestFault, probe, translate
from vmm.cpu.state import SegmentCache
from vmm.memory import MONITOR_BASE
from vmm.techniques.hidden import HiddenMemory
from vmm.techniques.shadow_pager import ShadowPager
from vmm.techniques.virtual_cpu import VirtualCpu

MONITOR_LINEAR: Final = 1 << 40
_TABLE_PAGES: Final = 16  # 64 KiB: the largest table there is
_TABLE_BYTES: Final = _TABLE_PAGES * PAGE_SIZE
MONITOR_END: Final = MONITOR_LINEAR + 2 * _TABLE_BYTES  # of the tables; the TSS follows
_GDT, _LDT, _TSS = 0, _TABLE_PAGES, 2 * _TABLE_PAGES  # pages from MONITOR_LINEAR
_TSS_LIMIT: Final = 0x67
_TSS_BITMAP: Final = 0x66  # where the I/O bitmap's offset is: beyond the limit, every port is refused
_TSS_FLAGS: Final = r.DESC_P | d.TYPE_TSS32 << r.DESC_TYPE_SHIFT
_LDT_FLAGS: Final = r.DESC_P | d.TYPE_LDT << r.DESC_TYPE_SHIFT
_NOT_PRESENT: Final = ~(r.DESC_P >> 8) & 0xFF
_NO_PAGES: Final[frozenset[int]] = frozenset()


class ShadowDescriptors:
    """The shadow tables of one guest; `load` before it runs, `follow` whenever it may have changed them."""

    def __init__(self, hidden: HiddenMemory, pager: ShadowPager, vcpu: VirtualCpu) -> None:
        self._hidden, self._pager, self._vcpu = hidden, pager, vcpu
        first = hidden.allocate_run(2 * _TABLE_PAGES + 1)
        self._at = first - MONITOR_BASE
        pager.map_monitor(
            MONITOR_LINEAR, [first + number * PAGE_SIZE for number in range(2 * _TABLE_PAGES + 1)]
        )
        tss = self._at + _TSS * PAGE_SIZE
        hidden.bytes[tss + _TSS_BITMAP : tss + _TSS_BITMAP + 2] = b"\xff\xff"
        self._followed: tuple[int, ...] = ()
        self._pages = _NO_PAGES
        self._lengths = {_GDT: 0, _LDT: 0}  # bytes of each copy that are not zero
        self.fresh = False  # whether the copies are those of the guest's tables
        self.syncs = 0

    def load(self) -> None:
        """Point the real processor at the shadow tables and the monitor's TSS."""
        state = self._vcpu.state
        state.gdt.base, state.gdt.limit = MONITOR_LINEAR + _GDT * PAGE_SIZE, _TABLE_BYTES - 1
        state.idt.base, state.idt.limit = MONITOR_LINEAR + _TSS * PAGE_SIZE, 0
        state.tr.selector, state.tr.base = 0, MONITOR_LINEAR + _TSS * PAGE_SIZE
        state.tr.limit, state.tr.flags = _TSS_LIMIT, _TSS_FLAGS
        state.ldt.base, state.ldt.limit = MONITOR_LINEAR + _LDT * PAGE_SIZE, _TABLE_BYTES - 1
        state.ldt.selector, state.ldt.flags = 0, _LDT_FLAGS
        self._followed = ()
        self.follow()

    def follow(self) -> None:
        """Make the copies anew, if the guest's tables are others than those copied or were written."""
        vcpu = self._vcpu
        wanted = (
            vcpu.gdt.base, vcpu.gdt.limit, vcpu.ldt.base, vcpu.ldt.limit, vcpu.ldt.selector, vcpu.inner,
        )  # fmt: skip
        if self.fresh and wanted == self._followed:
            return
        self._followed = wanted
        self.syncs += 1
        self._watch(_NO_PAGES)
        pages: set[int] = set()
        self._copy(_GDT, vcpu.gdt, vcpu.gdt.limit, pages)
        self._copy(_LDT, vcpu.ldt, vcpu.ldt.limit if vcpu.ldt.selector & d.ERROR_SELECTOR else -1, pages)
        self._watch(frozenset(pages))
        self.fresh = True

    def moved(self) -> None:
        """The guest's mappings changed: look whether its tables still are where they were copied from."""
        if self.fresh and self._frames() != self._pages:
            self.stale()

    def lies_in(self, linear: int) -> bool:
        """Whether a table lies in the page of this address, or part of it."""
        gdt, gdt_limit, ldt, ldt_limit = self._followed[:4]
        page = linear | PAGE_MASK
        return (page - gdt & MASK_32) <= gdt_limit + PAGE_MASK or (
            page - ldt & MASK_32
        ) <= ldt_limit + PAGE_MASK

    def stale(self) -> None:
        """Let the next load of a selector fault: it is to meet a new copy."""
        if self.fresh:
            self.fresh = False
            self._watch(_NO_PAGES)
            for page, length in self._lengths.items():
                at = self._at + page * PAGE_SIZE
                copy = np.frombuffer(self._hidden.bytes[at : at + length], dtype=np.uint8)
                copy[d.ACCESS_BYTE :: 8] &= _NOT_PRESENT

    def _watch(self, pages: frozenset[int]) -> None:
        for frame in self._pages - pages:
            self._pager.unprotect(frame, self._on_write)
        for frame in pages - self._pages:
            self._pager.protect(frame, self._on_write)
        self._pages = pages

    def _on_write(self, frame: int) -> None:  # noqa: ARG002 - any page spoils both copies
        self.stale()

    def _frames(self) -> frozenset[int]:
        vcpu = self._vcpu
        pages: set[int] = set()
        for table in (vcpu.gdt, vcpu.ldt):
            if table is vcpu.gdt or table.selector & d.ERROR_SELECTOR:
                end = table.base + _reach(table.limit)
                for linear in range(table.base & ~PAGE_MASK, end, PAGE_SIZE):
                    physical = probe(vcpu, linear & MASK_32)
                    if physical is not None:
                        pages.add(physical)
        return frozenset(pages)

    def _copy(self, page: int, table: SegmentCache, limit: int, pages: set[int]) -> None:
        done = 0
        length = _reach(limit) & ~7
        raw = bytearray(length)
        while done < length:
            linear = table.base + done & MASK_32
            step = min(length - done, PAGE_SIZE - (linear & PAGE_MASK))
            try:  # as a load of one of its selectors would, and marked accessed as by one
                physical = translate(self._vcpu, linear, write=False, user=False)
                pages.add(physical & ~PAGE_MASK)
                raw[done : done + step] = self._vcpu.memory.read(physical, step)
            except GuestFault:
                pass
            done += step
        self._put(page, _compressed(raw, page == _GDT, ring_0=not self._vcpu.inner))

    def _put(self, page: int, copy: bytes) -> None:
        at = self._at + page * PAGE_SIZE
        padded = copy.ljust(self._lengths[page], b"\0")
        self._hidden.bytes[at : at + len(padded)] = padded
        self._lengths[page] = len(copy)


def _reach(limit: int) -> int:
    """How many bytes of a table selectors reach, whatever an LDT's descriptor says of its limit."""
    return min(limit + 1, _TABLE_BYTES)


def _compressed(raw: bytearray, is_gdt: bool, *, ring_0: bool) -> bytes:
    """Turn a guest's table into the copy that ring 1 may use; `ring_0`: which is the guest's ring 0."""
    words = np.frombuffer(bytes(raw), dtype="<u4").copy()
    high = words[1::2]
    segment = (high & r.DESC_S) != 0
    segment &= (high & (r.DESC_CODE | r.DESC_ACCESSED)) != 0
    words[0::2][~segment] = 0
    high[~segment] = 0
    ring0 = segment & ((high >> r.DESC_DPL_SHIFT & 3) == 0)
    if ring_0:
        high[ring0] |= 1 << r.DESC_DPL_SHIFT
    high[segment & ((high & r.DESC_CODE) != 0)] &= np.uint32(~r.DESC_L & MASK_32)
    if is_gdt:
        words[:2] = 0
    return words.tobytes()
