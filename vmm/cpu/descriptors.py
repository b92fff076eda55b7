"""Segment descriptors and gates: from the guest's tables to small values, and back.

A `Descriptor` is what fits a `SegmentCache`: base, limit in bytes, and the attribute bits of the
second dword. A `Gate` is an entry of the IDT, or a call gate. Reading one checks the table's limit
only; what a type or a privilege level allows is for the caller to judge.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, §3.4.5,
§3.5, §5.8.3, §6.11, §6.14.1, §7.2.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct as Layout
from typing import Final

import msgspec

from vmm.cpu import registers as r
from vmm.cpu.paging import GuestFault, plan_write, read_linear
from vmm.cpu.state import CpuView, SegmentCache, long_mode_active

ATTRIBUTES: Final = 0x00F0_FF00  # G, B, L, AVL, P, DPL, S and type in the second dword

# System types, [SDM3] table 3-2 (with S = 0)
TYPE_TSS16: Final = 1
TYPE_LDT: Final = 2
TYPE_TSS16_BUSY: Final = 3
TYPE_CALL_GATE16: Final = 4
TYPE_TASK_GATE: Final = 5
TYPE_INTERRUPT_GATE16: Final = 6
TYPE_TRAP_GATE16: Final = 7
TYPE_TSS32: Final = 9
TYPE_TSS32_BUSY: Final = 11
TYPE_CALL_GATE32: Final = 12
TYPE_INTERRUPT_GATE32: Final = 14
TYPE_TRAP_GATE32: Final = 15
TYPE_BUSY: Final = 2  # the bit that tells a busy TSS
TYPE_32: Final = 8  # the bit that tells the 32-bit (or 64-bit) form of a TSS or gate

ACCESS_BYTE: Final = 5  # of a descriptor: P, DPL, S, type

SELECTOR_RPL: Final = 3
SELECTOR_TI: Final = 4
SELECTOR_INDEX: Final = 0xFFF8
ERROR_IDT: Final = 2  # error code: the selector part is a vector, [SDM3] §6.13
ERROR_SELECTOR: Final = 0xFFFC

_DWORDS: Final = Layout("<II")
_QUADS: Final = Layout("<IIII")


class Descriptor(msgspec.Struct, frozen=True, gc=False):
    """A segment or system descriptor. `limit` is in bytes, `flags` as `SegmentCache.flags`."""

    base: int
    limit: int
    flags: int
    address: int = 0
    """Linear address it was read from, for the accessed and busy bits."""

    @property
    def type(self) -> int:
        """The four type bits."""
        return self.flags >> r.DESC_TYPE_SHIFT & 15

    @property
    def dpl(self) -> int:
        """Descriptor privilege level."""
        return self.flags >> r.DESC_DPL_SHIFT & 3

    @property
    def present(self) -> bool:
        """The P bit."""
        return bool(self.flags & r.DESC_P)

    @property
    def is_code(self) -> bool:
        """Whether this is a code segment."""
        return self.flags & (r.DESC_S | r.DESC_CODE) == r.DESC_S | r.DESC_CODE

    @property
    def is_writable_data(self) -> bool:
        """Whether this is a data segment that may be written, as SS needs."""
        return self.flags & (r.DESC_S | r.DESC_CODE | r.DESC_WRITABLE) == r.DESC_S | r.DESC_WRITABLE

    @property
    def is_readable(self) -> bool:
        """Whether DS, ES, FS or GS may hold it: data, or readable code."""
        return bool(self.flags & r.DESC_S) and (
            not self.flags & r.DESC_CODE or bool(self.flags & r.DESC_WRITABLE)
        )

    @property
    def is_conforming(self) -> bool:
        """Whether this is a conforming code segment."""
        wanted = r.DESC_S | r.DESC_CODE | r.DESC_CONFORMING
        return self.flags & wanted == wanted


class Gate(msgspec.Struct, frozen=True, gc=False):
    """A call, task, interrupt or trap gate. `parameter` is the IST index or the parameter count."""

    selector: int
    offset: int
    type: int
    dpl: int
    present: bool
    is_system: bool = True
    parameter: int = 0


@lru_cache(maxsize=4096)
def parse_descriptor(low: int, high: int, address: int = 0) -> Descriptor:
    """Take a descriptor's two dwords apart; G is applied to the limit."""
    limit = low & 0xFFFF | high & 0xF_0000
    if high & r.DESC_G:
        limit = limit << 12 | 0xFFF
    base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF00_0000
    return Descriptor(base, limit, high & ATTRIBUTES, address)


def parse_gate(raw: bytes) -> Gate:
    """Take apart a gate of 8 bytes, or of 16 in IA-32e mode."""
    low, high = _DWORDS.unpack_from(raw)
    offset = low & 0xFFFF | high & 0xFFFF_0000
    kind = high >> r.DESC_TYPE_SHIFT & 15
    if len(raw) == 16:
        offset |= int.from_bytes(raw[8:12], "little") << 32
    elif not kind & TYPE_32:
        offset &= 0xFFFF
    dpl = high >> r.DESC_DPL_SHIFT & 3
    present, system = bool(high & r.DESC_P), not high & r.DESC_S
    return Gate(low >> 16, offset, kind, dpl, present, system, high & (7 if len(raw) == 16 else 31))


def read_descriptor(view: CpuView, selector: int, *, vector: int = r.GP, ext: int = 0) -> Descriptor:
    """Read the segment descriptor a selector names; a null selector reads entry 0 of the GDT.

    Raises:
        GuestFault: `vector` with the selector as error code, outside the table's limit; #PF.
    """
    table: SegmentCache = view.ldt if selector & SELECTOR_TI else view.gdt
    index = selector & SELECTOR_INDEX
    if index + 7 > table.limit:
        raise GuestFault(vector, selector & ERROR_SELECTOR | ext)
    address = table.base + index
    low, high = _DWORDS.unpack(read_linear(view, address, 8))
    return parse_descriptor(low, high, address)


def read_system_descriptor(view: CpuView, selector: int, *, vector: int = r.GP, ext: int = 0) -> Descriptor:
    """Read an LDT or TSS descriptor from the GDT: of 16 bytes in IA-32e mode, with a 64-bit base.

    Raises:
        GuestFault: `vector`, for a selector of the LDT, beyond the limit, or (IA-32e mode) an upper
            half whose type field is not zero; #PF.
    """
    error = selector & ERROR_SELECTOR | ext
    size = 16 if long_mode_active(view) else 8
    index = selector & SELECTOR_INDEX
    if selector & SELECTOR_TI or index + size - 1 > view.gdt.limit:
        raise GuestFault(vector, error)
    address = view.gdt.base + index
    raw = read_linear(view, address, size)
    low, high = _DWORDS.unpack_from(raw)
    plain = parse_descriptor(low, high, address)
    if size == 8:
        return plain
    _, _, base_high, upper_type = _QUADS.unpack(raw)
    if upper_type & 0x1F00:
        raise GuestFault(vector, error)
    return Descriptor(plain.base | base_high << 32, plain.limit, plain.flags, address)


def plan_accessed(
    view: CpuView, descriptor: Descriptor, *, always: bool = False
) -> tuple[int, list[tuple[int, bytes]]]:
    """Plan the accessed bit of a segment about to be loaded: the flags to load, and the write, if any.

    There is none where whatever else loads segments does not mark them: see `CpuView.marks_accessed`.
    MOV, POP and LDS `always` mark.

    Raises:
        GuestFault: #PF, where the table cannot be written.
    """
    flags = descriptor.flags
    if flags & r.DESC_ACCESSED:
        return flags, []
    flags |= r.DESC_ACCESSED
    if not (always or view.marks_accessed):
        return flags, []
    return flags, plan_write(view, descriptor.address + ACCESS_BYTE, bytes((flags >> 8 & 0xFF,)))


def pack_segment(base: int, limit: int, flags: int) -> bytes:
    """Build a segment or system descriptor; `limit` in bytes, rounded up to pages if G is in `flags`."""
    units = limit >> 12 if flags & r.DESC_G else limit
    low = units & 0xFFFF | (base & 0xFFFF) << 16
    high = base >> 16 & 0xFF | base & 0xFF00_0000 | units & 0xF_0000 | flags & ATTRIBUTES
    return _DWORDS.pack(low, high)


def pack_system64(base: int, limit: int, flags: int) -> bytes:
    """Build the 16-byte LDT or TSS descriptor of IA-32e mode."""
    return pack_segment(base & 0xFFFF_FFFF, limit, flags) + _DWORDS.pack(base >> 32, 0)


def pack_gate(gate: Gate) -> bytes:
    """Build an 8-byte gate."""
    high = gate.type << r.DESC_TYPE_SHIFT | gate.dpl << r.DESC_DPL_SHIFT | gate.parameter
    high |= r.DESC_P if gate.present else 0
    high |= 0 if gate.is_system else r.DESC_S
    return _DWORDS.pack(gate.offset & 0xFFFF | gate.selector << 16, high | gate.offset & 0xFFFF_0000)


def pack_gate64(gate: Gate) -> bytes:
    """Build a 16-byte gate of IA-32e mode."""
    return pack_gate(gate) + _DWORDS.pack(gate.offset >> 32, 0)
