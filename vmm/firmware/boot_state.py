"""What a loader without firmware leaves: memory, and a processor about to enter its kernel.

Modes are entered by a stub of guest code at `STUB`, as a boot loader's last instructions are, so
every mode bit and hidden segment part is the engine's own doing. The processor starts at the stub
in real mode. Loaders (Linux; Multiboot or a flat binary could be others) return a `BootState`.

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

STUB: Final = 0x8000
GDT: Final = 0x8100
PAGE_TABLES: Final = 0x9000  # six pages, to EFFFh
STACK: Final = 0x8000
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

A20_ON: Final = b"\xe4\x92\x0c\x02\xe6\x92"  # in al, 92h; or al, 2; out 92h, al
CLI_CLEAR_DS: Final = b"\xfa\x31\xc0\x8e\xd8"  # cli; xor ax, ax; mov ds, ax
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
    """Bytes for an address."""

    address: int
    data: bytes


class BootState(msgspec.Struct, frozen=True):
    """Memory to fill, and where a processor in real mode starts (CS = 0)."""

    chunks: list[Chunk]
    rip: int = STUB

    def apply(self, view: CpuView, memory: GuestMemory) -> None:
        """Fill memory and point a processor that was just reset at the stub."""
        for chunk in self.chunks:
            memory.write(chunk.address, chunk.data)
        view.load_segment(r.CS, 0, 0, REAL_LIMIT, REAL_CODE_FLAGS)
        view.rip = self.rip


def enter_kernel(entry: int, chunks: list[Chunk], regs: dict[int, int], *, long_mode: bool) -> BootState:
    """Return `chunks` plus what enters `entry` in flat 32-bit mode, or in 64-bit mode with 4 GiB mapped 1:1.

    `regs` gives 32-bit values for registers; the others, RSP apart, are 0. Interrupts are off.
    """
    code = CODE_64 if long_mode else CODE_32
    table = struct.pack("<4Q", 0, 0, code, DATA)
    pointer = struct.pack("<HI", len(table) - 1, GDT)
    own = [Chunk(GDT, table + pointer), Chunk(STUB, _stub(entry, GDT + len(table), regs, long_mode))]
    if long_mode:
        own.append(Chunk(PAGE_TABLES, _identity_pages()))
    return BootState(chunks=chunks + own)


def _dword(value: int) -> bytes:
    return struct.pack("<I", value)


def _stub(entry: int, pointer: int, regs: dict[int, int], long_mode: bool) -> bytes:
    code = CLI_CLEAR_DS + A20_ON + LGDT_32 + struct.pack("<H", pointer)
    control = r.CR0_PE
    if long_mode:
        code += MOV_EAX + _dword(r.CR4_PAE) + MOV_CR4_EAX
        code += MOV_EAX + _dword(PAGE_TABLES) + MOV_CR3_EAX
        code += MOV_ECX + _dword(EFER) + MOV_EAX + _dword(r.EFER_LME) + XOR_EDX + WRMSR
        control |= r.CR0_PG
    code += MOV_EAX_CR0 + OR_EAX + _dword(control) + MOV_CR0_EAX
    target = STUB + len(code) + len(JMP_FAR_32) + 6
    code += JMP_FAR_32 + struct.pack("<IH", target, CODE_SELECTOR)
    code += MOV_EAX_IMM + _dword(DATA_SELECTOR) + LOAD_SEGMENTS
    values = {index: regs.get(index, 0) for index in range(8)} | {r.RSP: STACK}
    for index, value in values.items():
        code += bytes((MOV_REG_IMM + index,)) + _dword(value)
    return code + PUSH_IMM + _dword(entry) + RET


def _identity_pages() -> bytes:
    """Return PML4, PDPT and four page directories of 2-MiB pages."""
    pdpt = PAGE_TABLES + PAGE_BYTES
    directories = [pdpt + PAGE_BYTES * (1 + index) for index in range(DIRECTORIES)]
    pml4 = struct.pack("<Q", pdpt | PRESENT_WRITABLE).ljust(PAGE_BYTES, b"\0")
    table = b"".join(struct.pack("<Q", at | PRESENT_WRITABLE) for at in directories).ljust(PAGE_BYTES, b"\0")
    pages = (index * LARGE_PAGE | PRESENT_WRITABLE | PTE_LARGE for index in range(DIRECTORIES * ENTRIES))
    return pml4 + table + struct.pack(f"<{DIRECTORIES * ENTRIES}Q", *pages)
