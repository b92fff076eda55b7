"""What a kernel loader leaves: memory, and a processor about to enter the kernel.

Modes are entered by a stub of guest code, as a boot loader's last instructions are, so every mode
bit and hidden segment part is the engine's own doing. The stub, its descriptor table and its stack
are in an *area* of `AREA_BYTES` below 1 MiB; the processor starts there in real mode, at offset 0 of
the area's own segment. Every loader (Linux, Multiboot, flat binaries) returns a `BootState`.

Sources: [SDM2], [SDM3] Intel Software Developer's Manual, volume 2 (encodings) and volume 3A §3.4
(descriptors), §4.5 (4-level paging), §9.8 (entering protected and IA-32e mode).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import msgspec

from devices.backplane import GuestMemory
from vmm.cpu import registers as r
from vmm.cpu.state import CpuView

STUB: Final = 0x8000  # an area, where the loader has not chosen another
AREA_BYTES: Final = 0x200  # the stack starts at its end
AREA_ALIGN: Final = 16
GDT_AT: Final = 0x180  # in the area
PAGE_TABLES: Final = 0x9000  # six pages, to EFFFh
CODE_SELECTOR: Final = 0x10  # __BOOT_CS and __BOOT_DS of Linux
DATA_SELECTOR: Final = 0x18
CODE_32: Final = 0x00CF_9A00_0000_FFFF  # base 0, 4 GiB
CODE_64: Final = 0x00AF_9A00_0000_FFFF
DATA: Final = 0x00CF_9200_0000_FFFF

PAGE_BYTES: Final = 0x1000
LARGE_PAGE: Final = 2 << 20
ENTRIES: Final = 512
DIRECTORIES: Final = 4  # 4 GiB in 2-MiB pages
PRESENT_WRITABLE: Final = 0x03
PTE_LARGE: Final = 0x80
EFER: Final = 0xC000_0080

REAL_CODE_FLAGS: Final = r.DESC_P | r.DESC_S | r.DESC_CODE | r.DESC_WRITABLE | r.DESC_ACCESSED
REAL_LIMIT: Final = 0xFFFF
FILL_BYTES: Final = 1 << 20

A20_ON: Final = b"\xe4\x92\x0c\x02\xe6\x92"  # in al, 92h; or al, 2; out 92h, al
CLI: Final = b"\xfa"
STI: Final = b"\xfb"
MOV_AX: Final = b"\xb8"  # in 16-bit code
MOV_SP: Final = b"\xbc"
MOV_DS_AX: Final = b"\x8e\xd8"
MOV_SS_AX: Final = b"\x8e\xd0"
LOAD_DATA_SEGMENTS: Final = b"\x8e\xd8\x8e\xc0\x8e\xe0\x8e\xe8"  # mov ds, es, fs, gs, ax
CLEAR_REGISTERS: Final = b"".join(b"\x66\x31" + bytes((0xC0 | n * 9,)) for n in (0, 1, 3, 5, 6, 7))
MOV_EDX: Final = b"\x66\xba"
JMP_FAR: Final = b"\xea"
LGDT_32: Final = b"\x66\x0f\x01\x16"  # o32 lgdt [imm16]
MOV_EAX: Final = b"\x66\xb8"  # in 16-bit code
MOV_CR3_EAX: Final = b"\x0f\x22\xd8"
MOV_CR4_EAX: Final = b"\x0f\x22\xe0"
MOV_ECX: Final = b"\x66\xb9"
XOR_EDX: Final = b"\x66\x31\xd2"
WRMSR: Final = b"\x0f\x30"
MOV_EAX_CR0: Final = b"\x0f\x20\xc0"
OR_EAX: Final = b"\x66\x0d"
MOV_CR0_EAX: Final = b"\x0f\x22\xc0"
JMP_FAR_32: Final = b"\x66\xea"
# The rest means the same in 32-bit and 64-bit code
MOV_EAX_IMM: Final = b"\xb8"
LOAD_SEGMENTS: Final = b"\x8e\xd8\x8e\xc0\x8e\xd0\x8e\xe0\x8e\xe8"  # mov ds, es, ss, fs, gs, ax
MOV_REG_IMM: Final = 0xB8  # + register
PUSH_IMM: Final = b"\x68"
RET: Final = b"\xc3"


class Chunk(NamedTuple):
    """Bytes for an address, and how many zeros follow them."""

    address: int
    data: bytes
    zeros: int = 0


class RealEntry(NamedTuple):
    """What a real-mode program finds in its registers; the others are 0. `data` is DS, ES, FS, GS."""

    cs: int
    ip: int
    data: int
    ss: int
    sp: int
    dx: int = 0
    interrupts: bool = False


class BootState(msgspec.Struct, frozen=True):
    """Memory to fill, and the area whose first byte a processor in real mode executes next."""

    chunks: list[Chunk]
    area: int = STUB

    def fill(self, memory: GuestMemory) -> None:
        """Put everything into memory."""
        for chunk in self.chunks:
            memory.write(chunk.address, chunk.data)
            first, left = chunk.address + len(chunk.data), chunk.zeros
            while left > 0:
                size = min(left, FILL_BYTES)
                memory.write(first, bytes(size))
                first, left = first + size, left - size

    def apply(self, view: CpuView, memory: GuestMemory) -> None:
        """Fill memory and point a processor that was just reset at the stub."""
        self.fill(memory)
        view.load_segment(r.CS, self.area >> 4, self.area, REAL_LIMIT, REAL_CODE_FLAGS)
        view.rip = 0


def enter_kernel(
    entry: int, chunks: list[Chunk], regs: dict[int, int], *, long_mode: bool, area: int = STUB
) -> BootState:
    """Return `chunks` plus what enters `entry` in flat 32-bit mode, or in 64-bit mode with 4 GiB mapped 1:1.

    `regs` gives 32-bit values for registers; the others, RSP apart, are 0. Interrupts are off.
    """
    code = CODE_64 if long_mode else CODE_32
    table = struct.pack("<4Q", 0, 0, code, DATA)
    pointer = struct.pack("<HI", len(table) - 1, area + GDT_AT)
    stub = _flat_stub(entry, area, {r.RSP: area + AREA_BYTES, **regs}, long_mode)
    assert len(stub) <= GDT_AT
    own = [Chunk(area + GDT_AT, table + pointer), Chunk(area, stub)]
    if long_mode:
        own.append(Chunk(PAGE_TABLES, _identity_pages()))
    return BootState(chunks + own, area)


def enter_real_mode(entry: RealEntry, chunks: list[Chunk], area: int) -> BootState:
    """Return `chunks` plus what enters a real-mode program."""
    code = CLI + MOV_AX + _word(entry.ss) + MOV_SS_AX + MOV_SP + _word(entry.sp)
    code += MOV_AX + _word(entry.data) + LOAD_DATA_SEGMENTS + CLEAR_REGISTERS + MOV_EDX + _dword(entry.dx)
    code += (STI if entry.interrupts else b"") + JMP_FAR + _word(entry.ip) + _word(entry.cs)
    return BootState([*chunks, Chunk(area, code)], area)


def _word(value: int) -> bytes:
    return struct.pack("<H", value)


def _dword(value: int) -> bytes:
    return struct.pack("<I", value)


def _flat_stub(entry: int, area: int, regs: dict[int, int], long_mode: bool) -> bytes:
    pointer = GDT_AT + 4 * 8
    code = CLI + MOV_AX + _word(area >> 4) + MOV_DS_AX + A20_ON + LGDT_32 + _word(pointer)
    control = r.CR0_PE
    if long_mode:
        code += MOV_EAX + _dword(r.CR4_PAE) + MOV_CR4_EAX
        code += MOV_EAX + _dword(PAGE_TABLES) + MOV_CR3_EAX
        code += MOV_ECX + _dword(EFER) + MOV_EAX + _dword(r.EFER_LME) + XOR_EDX + WRMSR
        control |= r.CR0_PG
    code += MOV_EAX_CR0 + OR_EAX + _dword(control) + MOV_CR0_EAX
    target = area + len(code) + len(JMP_FAR_32) + 6
    code += JMP_FAR_32 + struct.pack("<IH", target, CODE_SELECTOR)
    code += MOV_EAX_IMM + _dword(DATA_SELECTOR) + LOAD_SEGMENTS
    for index in range(8):
        code += bytes((MOV_REG_IMM + index,)) + _dword(regs.get(index, 0))
    return code + PUSH_IMM + _dword(entry) + RET


def _identity_pages() -> bytes:
    """Return PML4, PDPT and four page directories of 2-MiB pages."""
    pdpt = PAGE_TABLES + PAGE_BYTES
    directories = [pdpt + PAGE_BYTES * (1 + index) for index in range(DIRECTORIES)]
    pml4 = struct.pack("<Q", pdpt | PRESENT_WRITABLE).ljust(PAGE_BYTES, b"\0")
    table = b"".join(struct.pack("<Q", at | PRESENT_WRITABLE) for at in directories).ljust(PAGE_BYTES, b"\0")
    pages = (index * LARGE_PAGE | PRESENT_WRITABLE | PTE_LARGE for index in range(DIRECTORIES * ENTRIES))
    return pml4 + table + struct.pack(f"<{DIRECTORIES * ENTRIES}Q", *pages)
