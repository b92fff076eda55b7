"""What the probe's ROM (guests/probe/probe.asm) finds in memory, and the record it leaves there.

Flat segments of rings 0, 1 and 3, a TSS without an I/O bitmap, handlers for all exceptions, paging with every
page mapped as it is and open to ring 3. Interrupts are off and IOPL is 0.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, §3.4.5 (segment
descriptors), §6.11 (gates), §7.2.1 (TSS), §20.2 (virtual-8086 mode).
"""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

Level = Literal["CPL 0", "CPL 1", "CPL 3", "VM86"]
LEVELS: Final[tuple[Level, ...]] = ("CPL 0", "CPL 1", "CPL 3", "VM86")

ROM: Final = 0xFF000
GDTR, IDTR = 0x610, 0x618
FRAME: Final = 0x620
REGS: Final = 0x640
RECORD: Final = 0x800
RECORD_DWORDS: Final = 20
OPERAND: Final = 0x900
OPERAND_BYTES: Final = 32
GDT, IDT, TSS, OTHER_TSS = 0x1000, 0x2000, 0x3000, 0x3100
DIRECTORY, PAGE_TABLE = 0x4000, 0x5000
STACK_0, STACK_1, STACK_TEST = 0x6800, 0x6A00, 0x6400
CODE: Final = 0x7000

CODE_0, DATA_0, CODE_3, DATA_3, TASK = 0x08, 0x10, 0x1B, 0x23, 0x28
CODE_1, DATA_1, OTHER_TASK, GATE = 0x31, 0x39, 0x40, 0x4B
SELECTORS: Final[dict[Level, tuple[int, int]]] = {
    "CPL 0": (CODE_0, DATA_0), "CPL 1": (CODE_1, DATA_1), "CPL 3": (CODE_3, DATA_3),
    "VM86": (CODE >> 4, 0),
}  # fmt: skip
DONE, SERVICE = 0x81, 0x82
_STUB_BYTES: Final = 16
_DONE_STUB, _SERVICE_STUB, _GATE_STUB, _STUBS = 32, 33, 34, 32
_TSS_BYTES: Final = 0x68
_FLAGS: Final = 0x0002
_VM: Final = 1 << 17
GP: Final = 13
_PAGE: Final = 4096
_USER_WRITABLE: Final = 7


def _segment(access: int) -> int:
    return 0x00CF_0000_0000_FFFF | access << 40


def _system(base: int, limit: int, access: int) -> int:
    return limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | access << 40 | (base >> 24) << 56


def _gate(selector: int, offset: int, access: int) -> int:
    return offset & 0xFFFF | selector << 16 | access << 40 | (offset >> 16) << 48


def _gdt() -> bytes:
    entries = (
        0, _segment(0x9B), _segment(0x93), _segment(0xFB), _segment(0xF3),
        _system(TSS, _TSS_BYTES - 1, 0x89), _segment(0xBB), _segment(0xB3),
        _system(OTHER_TSS, _TSS_BYTES - 1, 0x89), _gate(CODE_0, ROM + _GATE_STUB * _STUB_BYTES, 0xEC),
    )  # fmt: skip
    return struct.pack(f"<{len(entries)}Q", *entries)


GDT_BYTES: Final = 8 * 10
IDT_BYTES: Final = 8 * 0x83


def _idt() -> bytes:
    gates = [0] * 0x83
    for vector in range(_STUBS):
        gates[vector] = _gate(CODE_0, ROM + vector * _STUB_BYTES, 0x8E)
    gates[DONE] = _gate(CODE_0, ROM + _DONE_STUB * _STUB_BYTES, 0xEE)
    gates[SERVICE] = _gate(CODE_0, ROM + _SERVICE_STUB * _STUB_BYTES, 0xEE)
    return struct.pack(f"<{len(gates)}Q", *gates)


def _tss() -> bytes:
    stacks = struct.pack("<5I", 0, STACK_0, DATA_0, STACK_1, DATA_1)
    return stacks.ljust(_TSS_BYTES - 2, b"\0") + struct.pack("<H", _TSS_BYTES)


def pseudo_descriptor(table: Literal["gdt", "idt"]) -> bytes:
    """What LGDT and LIDT take, and SGDT and SIDT should store."""
    base, size = (GDT, GDT_BYTES) if table == "gdt" else (IDT, IDT_BYTES)
    return struct.pack("<HI", size - 1, base)


class Registers(msgspec.Struct, frozen=True):
    """What the general registers hold before the code under test."""

    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0
    esi: int = OPERAND
    edi: int = OPERAND


def memory_image(level: Level, code: bytes, registers: Registers, operand: bytes) -> dict[int, bytes]:
    """Return all that must lie in memory before a run, by address."""
    cs, ss = SELECTORS[level]
    if level == "VM86":
        frame = struct.pack("<9I", 0, cs, _FLAGS | _VM, STACK_TEST, 0, 0, 0, 0, 0)
    elif level == "CPL 0":
        frame = struct.pack("<3I", CODE, cs, _FLAGS)
    else:
        frame = struct.pack("<5I", CODE, cs, _FLAGS, STACK_TEST, ss)
    at = STACK_TEST - len(frame)  # ring 0 goes on with the stack behind it
    data = ss if level in ("CPL 1", "CPL 3") else DATA_0
    pages = [page * _PAGE | _USER_WRITABLE for page in range(1024)]
    return {
        GDTR: pseudo_descriptor("gdt"),
        IDTR: pseudo_descriptor("idt"),
        REGS: struct.pack("<8I", *msgspec.structs.astuple(registers), data, at),
        RECORD: bytes(RECORD_DWORDS * 4),
        OPERAND: operand.ljust(OPERAND_BYTES, b"\0"),
        GDT: _gdt(),
        IDT: _idt(),
        TSS: _tss(),
        OTHER_TSS: _tss(),
        DIRECTORY: struct.pack("<I", PAGE_TABLE | _USER_WRITABLE).ljust(_PAGE, b"\0"),
        PAGE_TABLE: struct.pack("<1024I", *pages),
        at: frame,
        CODE: code + bytes((0xCD, DONE, 0xF4)),
    }


class Observation(msgspec.Struct, frozen=True):
    """How a run ended: at its end (`vector` None), with an exception, or otherwise (`ended`)."""

    ended: str
    vector: int | None = None
    error: int = 0
    facts: dict[str, int] = {}
    operand: bytes = b""


def read_record(level: Level, length: int, record: bytes, operand: bytes) -> Observation:
    """Read what the ROM left. `length` is that of the code under test."""
    edi, esi, _, _, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss, *_ = struct.unpack(
        f"<{RECORD_DWORDS}I", record
    )
    facts = {"eax": eax, "ebx": ebx, "ecx": ecx, "edx": edx, "esi": esi, "edi": edi, "cs": cs & 0xFFFF}
    facts["flags"] = eflags & ~(1 << 16)  # RF: a processor may set it either way
    if level != "CPL 0":
        facts |= {"esp": esp, "ss": ss & 0xFFFF}
    start = 0 if level == "VM86" else CODE
    if vector == GP and level == "VM86" and eip == start + length:  # INT 81h, which IOPL 0 forbids there
        return Observation("done", None, 0, facts, operand)
    if vector == DONE:
        return Observation("done", None, 0, facts, operand)
    facts["eip"] = eip - start
    return Observation("exception", vector, error, facts, operand)
