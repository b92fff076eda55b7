"""Descriptor tables, task state and paging structures for random guests: mostly valid, some not.

All of a guest lies below 18000h, identity-mapped; `Place` says where.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Final

from tests.fuzz.assembler import Assembler


class Place:
    """Where the parts of a generated guest lie; the loader brings in everything from CODE on."""

    STACK_1: Final = 0x6800
    STACK_2: Final = 0x6C00
    STACK_IST: Final = 0x7000
    STACK_0: Final = 0x7600
    STACK: Final = 0x7A00
    CODE: Final = 0x8000
    HANDLER: Final = 0x8200
    HANDLER_64: Final = 0x82C0
    BODY: Final = 0x8300
    GDT: Final = 0xC000
    LDT: Final = 0xC200
    TSS: Final = 0xC400
    VARIABLES: Final = 0xC800
    ATOMS: Final = 0xC900
    IDT: Final = 0xD000
    SNIPPETS: Final = 0xE000
    SCRATCH: Final = 0xF000
    PD_32: Final = 0x10000
    PT_32: Final = 0x11000
    PDPT_PAE: Final = 0x12000
    PD_PAE: Final = 0x13000
    PT_64: Final = 0x14000
    PML4: Final = 0x15000
    PDPT_64: Final = 0x16000
    PD_64: Final = 0x17000
    END: Final = 0x18000


SNIPPET_BYTES: Final = 32
SNIPPETS: Final = 16
TSS_BYTES: Final = 0x100

# Selectors of the GDT below
CODE_0, DATA_0, CODE_3, DATA_3 = 0x08, 0x10, 0x1B, 0x23
CODE_16, DATA_16, CODE_64, CODE_3_64 = 0x28, 0x30, 0x38, 0x43
TSS_A, TSS_B, TSS_16, LDT = 0x48, 0x58, 0x68, 0x78
CALL_GATE, CALL_GATE_16, TASK_GATE = 0x88, 0x98, 0xA8
DATA_1, DATA_2 = 0xC9, 0xDA
ENTRIES: Final = 64
DOUBLE_FAULT: Final = 8

# Access bytes
_CODE, _DATA = 0x9A, 0x92
_CONFORMING, _EXPAND_DOWN = 0x9E, 0x96
_LDT, _TASK_GATE, _TSS_16, _TSS_32 = 0x82, 0x85, 0x81, 0x89
_CALL_16, _CALL_32, _INTERRUPT_32, _TRAP_32 = 0x84, 0x8C, 0x8E, 0x8F
_DPL_3 = 0x60
_FLAT_32, _FLAT_64, _BYTES_16 = 0xCF, 0xAF, 0x0F

_P, _W, _U, _A, _D, _PS, _G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
_RWU = _P | _W | _U


def segment(access: int, flags: int, base: int = 0, limit: int = 0xFFFFF) -> bytes:
    """An 8-byte descriptor; `flags` is the byte with G, B, L and the top of the limit."""
    high = flags & 0xF0 | limit >> 16 & 0xF
    return struct.pack("<HHBBBB", limit & 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, access, high, base >> 24)


def gate(access: int, selector: int, offset: int, parameters: int = 0) -> bytes:
    """An 8-byte gate."""
    return struct.pack("<HHBBH", offset & 0xFFFF, selector, parameters, access, offset >> 16 & 0xFFFF)


def snippet(rng: Random) -> int:
    """The address of one of the short pieces of code."""
    return Place.SNIPPETS + rng.randrange(SNIPPETS) * SNIPPET_BYTES


def selector(rng: Random) -> int:
    """Mostly one of the GDT, with any RPL."""
    kind = rng.random()
    if kind < 0.75:
        return rng.randrange(30) << 3 | rng.choice((0, 0, 0, 3, 3, 1, 2))
    if kind < 0.9:
        return rng.randrange(16) << 3 | 4 | rng.randrange(4)
    return rng.choice((0, 1, 3, 4, 0x1F8, 0x200, rng.randrange(0x10000)))


def gdt(rng: Random, long: bool) -> bytes:
    """The table that the selectors above name, 5 % of it spoilt."""
    tss = [Place.TSS + i * TSS_BYTES for i in range(3)]
    entries = [bytes(8)] * ENTRIES
    code_gate = CODE_64 if long else CODE_0
    fixed = {
        1: segment(_CODE, _FLAT_32), 2: segment(_DATA, _FLAT_32),
        3: segment(_CODE | _DPL_3, _FLAT_32), 4: segment(_DATA | _DPL_3, _FLAT_32),
        5: segment(_CODE, _BYTES_16), 6: segment(_DATA, _BYTES_16),
        7: segment(_CODE, _FLAT_64), 8: segment(_CODE | _DPL_3, _FLAT_64),
        9: segment(_TSS_32, 0, tss[0], 0x67), 11: segment(_TSS_32, 0, tss[1], 0xFF),
        13: segment(_TSS_16, 0, tss[2], 0x2B), 15: segment(_LDT, 0, Place.LDT, 0x7F),
        17: gate(_CALL_32 | _DPL_3, code_gate, snippet(rng), rng.choice((0, 0, 1, 4, 31))),
        19: gate(_CALL_16 | _DPL_3, code_gate, snippet(rng), rng.randrange(32)),
        21: gate(_TASK_GATE | _DPL_3, TSS_B, 0),
        22: segment(_CONFORMING, _FLAT_32), 23: segment(_EXPAND_DOWN, _FLAT_32, 0, 0x100),
        24: segment(_CODE | 0x20, _FLAT_32), 25: segment(_DATA | 0x20, _FLAT_32),
        26: segment(_CODE | 0x40, _FLAT_32), 27: segment(_DATA | 0x40, _FLAT_32),
    }  # fmt: skip
    for index, entry in fixed.items():
        entries[index] = entry
    for index in range(28, ENTRIES):
        entries[index] = _spoilt(rng, rng.choice(entries))
    for index in range(9, 28):
        if rng.random() < 0.05:
            entries[index] = _spoilt(rng, entries[index])
    return b"".join(entries)


def ldt(rng: Random) -> bytes:
    """Sixteen segments and gates of all privileges."""
    entries = []
    for _ in range(16):
        access = rng.choice((_CODE, _DATA, _CODE | _DPL_3, _DATA | _DPL_3, _CONFORMING, _EXPAND_DOWN))
        flags = rng.choice((_FLAT_32, _FLAT_32, _FLAT_64, _BYTES_16))
        entry = (
            gate(_CALL_32 | _DPL_3, CODE_0, snippet(rng)) if rng.random() < 0.2 else segment(access, flags)
        )
        entries.append(_spoilt(rng, entry) if rng.random() < 0.2 else entry)
    return b"".join(entries)


def _spoilt(rng: Random, entry: bytes) -> bytes:
    """The same descriptor with a type, a privilege or a few bits of its own."""
    changed = bytearray(entry)
    kind = rng.randrange(4)
    if kind == 0:
        changed[5] = changed[5] & 0xF0 | rng.randrange(16)
    elif kind == 1:
        changed[5] = rng.randrange(256)
    elif kind == 2:
        changed[rng.randrange(8)] ^= 1 << rng.randrange(8)
    else:
        changed[:] = rng.randbytes(8)
    return bytes(changed)


def idt(rng: Random, *, long: bool, bits: int) -> bytes:
    """256 gates; nearly all exceptions lead to the handler, double faults by a stack or task of their own."""
    code = {16: CODE_16, 32: CODE_0, 64: CODE_64}[64 if long else bits]
    handler = Place.HANDLER_64 if long and bits != 64 else Place.HANDLER
    entries = bytearray()
    for vector in range(256):
        good = rng.random() < (0.97 if vector < 32 else 0.5)
        access = rng.choice((_INTERRUPT_32, _INTERRUPT_32, _TRAP_32)) | (_DPL_3 if rng.random() < 0.7 else 0)
        entry = gate(access, code, handler)
        if not good:
            entry = rng.choice(
                (
                    gate(_TASK_GATE | _DPL_3, rng.choice((TSS_A, TSS_B, TSS_16, selector(rng))), 0),
                    gate(access, selector(rng), snippet(rng)),
                    gate(access & ~8, CODE_16, snippet(rng)),
                    gate(_CALL_32 | _DPL_3, code, handler),
                    _spoilt(rng, entry),
                )
            )
        elif vector == DOUBLE_FAULT and not long and rng.random() < 0.6:
            entry = gate(_TASK_GATE, TSS_B, 0)
        entries += entry
        if long:
            entries[-4] = 1 if vector == DOUBLE_FAULT else rng.choice((0, 0, 0, 0, 0, 0, 1, 2, 7))
            entries += bytes(8) if rng.random() < 0.99 else rng.randbytes(8)
    return bytes(entries)


def tss(rng: Random, cr3: int, long: bool) -> bytes:
    """Three task states: two of 32 bits, one of 16. In long mode all are of 64 bits."""
    if long:
        stacks = (Place.STACK_0, Place.STACK_1, Place.STACK_2)
        one = bytes(4) + struct.pack("<3Q", *stacks) + bytes(8) + struct.pack("<7Q", *[Place.STACK_IST] * 7)
        parts = [one.ljust(TSS_BYTES, b"\0")] * 3
    else:
        parts = [_tss_32(rng, cr3), _tss_32(rng, cr3, Place.HANDLER), _tss_16(rng)]
    if rng.random() < 0.2:
        victim = rng.randrange(3)
        part = bytearray(parts[victim])
        for _ in range(4):
            part[rng.randrange(104)] = rng.randrange(256)
        parts[victim] = bytes(part)
    return b"".join(parts)


def _tss_32(rng: Random, cr3: int, entry: int | None = None) -> bytes:
    ring = rng.choice((0, 0, 0, 3, 1)) if entry is None else 0
    code, data = {0: (CODE_0, DATA_0), 3: (CODE_3, DATA_3), 1: (24 << 3 | 1, DATA_1)}[ring]
    flags = rng.choice((2, 0x202, 0x3002, 0x3202, 0x20202, 0x4002, 0x102))
    stacks = (Place.STACK_0, DATA_0, Place.STACK_1, DATA_1, Place.STACK_2, DATA_2)
    general = [rng.getrandbits(16) for _ in range(8)]
    general[4] = Place.STACK_2
    segments = [data, code, data, data, data, rng.choice((0, data))]
    words = [
        0,
        *stacks,
        cr3,
        entry or snippet(rng),
        flags,
        *general,
        *segments,
        rng.choice((0, LDT)),
        104 << 16,
    ]
    return struct.pack("<26I", *words).ljust(TSS_BYTES, b"\xff")


def _tss_16(rng: Random) -> bytes:
    stacks = (Place.STACK_0, DATA_0, Place.STACK_1, DATA_1, Place.STACK_2, DATA_2)
    general = [rng.getrandbits(15) for _ in range(8)]
    general[4] = Place.STACK_2
    words = [0, *stacks, snippet(rng), 2, *general, DATA_0, CODE_0, DATA_0, DATA_0, rng.choice((0, LDT))]
    return struct.pack("<22H", *words).ljust(TSS_BYTES, b"\0")


def paging(rng: Random) -> bytes:
    """All three kinds of tables: identity below 2 or 4 MiB, anything above."""
    image = bytearray(Place.END - Place.PD_32)

    def put(table: int, entries: list[int], size: int) -> None:
        data = b"".join((entry & (1 << 8 * size) - 1).to_bytes(size, "little") for entry in entries)
        image[table - Place.PD_32 : table - Place.PD_32 + len(data)] = data

    put(Place.PD_32, [Place.PT_32 | _RWU, *_large(rng, 1023, 22, 4)], 4)
    put(Place.PT_32, _pages(rng, 1024, 4), 4)
    put(
        Place.PDPT_PAE,
        [Place.PD_PAE | _P, *(rng.choice((0, Place.PD_PAE | _P, rng.getrandbits(32))) for _ in range(3))],
        8,
    )
    put(Place.PD_PAE, [Place.PT_64 | _RWU, *_large(rng, 511, 21, 8)], 8)
    put(Place.PT_64, _pages(rng, 512, 8), 8)
    put(Place.PML4, [Place.PDPT_64 | _RWU, *_sparse(rng, 511)], 8)
    put(Place.PDPT_64, [Place.PD_64 | _RWU, *_sparse(rng, 511)], 8)
    put(Place.PD_64, [Place.PT_64 | _RWU, *_large(rng, 511, 21, 8)], 8)
    return bytes(image)


def _pages(rng: Random, entries: int, size: int) -> list[int]:
    table = []
    for index in range(entries):
        entry = index << 12 | _RWU
        if rng.random() < (0.01 if index < 24 else 0.1):
            entry = page_entry(rng, size)
        table.append(entry)
    return table


def _large(rng: Random, entries: int, shift: int, size: int) -> list[int]:
    return [
        (index + 1) << shift | _RWU | _PS if rng.random() < 0.7 else page_entry(rng, size)
        for index in range(entries)
    ]


def _sparse(rng: Random, entries: int) -> list[int]:
    return [page_entry(rng, 8) if rng.random() < 0.02 else 0 for _ in range(entries)]


def page_entry(rng: Random, size: int) -> int:
    """A random paging-structure entry: any flags, an address in RAM, in a window, a hole or beyond."""
    address = rng.choice(
        (rng.randrange(0x18) << 12, rng.randrange(0x1000) << 12, 0xA0000, 0xC0000, 0xF0000, 0xE0000000,
         0xFFFF0000, 0xFEE00000, rng.getrandbits(20) << 12)
    )  # fmt: skip
    if size == 8 and rng.random() < 0.3:
        address |= rng.choice((1 << 32, 1 << 39, 1 << 40, 1 << 51, 1 << 63))
    return address | rng.choice((_RWU, _RWU, _RWU | _PS, _P, _P | _U, _P | _W | _G, rng.randrange(0x1000)))


def snippets(rng: Random, bits: int) -> bytes:
    """Short pieces of code for gates and tasks to lead to."""
    out = bytearray()
    for _ in range(SNIPPETS):
        code = Assembler(Place.SNIPPETS + len(out), bits)
        kind = rng.randrange(8)
        if kind < 2:
            code.db(0xCF)
        elif kind == 2:
            code.db(0xCB)
        elif kind == 3:
            code.db(0xCD, rng.randrange(256))
        elif kind == 4:
            code.far_jump(selector(rng), snippet(rng))
        elif kind == 5:
            code.raw(rng.randbytes(16))
        elif kind == 6:
            code.db(0x0F, rng.choice((0x05, 0x34, 0x35, 0x07, 0x0B)))
        else:
            code.db(0xFB, 0xF4, 0xCF)
        out += bytes(code.code[: SNIPPET_BYTES - 4]).ljust(SNIPPET_BYTES, b"\xcc")
    return bytes(out)
