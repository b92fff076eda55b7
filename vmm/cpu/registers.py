"""Names and numbers of the x86 register set that the whole monitor shares.

Sources: [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A.
"""

from __future__ import annotations

from typing import Final

# General registers, in encoding order
RAX: Final = 0
RCX: Final = 1
RDX: Final = 2
RBX: Final = 3
RSP: Final = 4
RBP: Final = 5
RSI: Final = 6
RDI: Final = 7
GPR_NAMES: Final = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip

# Segment registers, in encoding order
ES: Final = 0
CS: Final = 1
SS: Final = 2
DS: Final = 3
FS: Final = 4
GS: Final = 5
SEGMENT_NAMES: Final = ("es", "cs", "ss", "ds", "fs", "gs")

# RFLAGS, [SDM3] §2.3
CF: Final = 0x0001
PF: Final = 0x0004
AF: Final = 0x0010
ZF: Final = 0x0040
SF: Final = 0x0080
TF: Final = 0x0100
IF: Final = 0x0200
DF: Final = 0x0400
OF: Final = 0x0800
IOPL: Final = 0x3000
IOPL_SHIFT: Final = 12
NT: Final = 0x4000
RF: Final = 0x1_0000
VM: Final = 0x2_0000
AC: Final = 0x4_0000
VIF: Final = 0x8_0000
VIP: Final = 0x10_0000
ID: Final = 0x20_0000
ARITHMETIC_FLAGS: Final = CF | PF | AF | ZF | SF | OF

# CR0, CR4, EFER, [SDM3] §2.5, §2.2.1
CR0_PE: Final = 1 << 0
CR0_MP: Final = 1 << 1
CR0_EM: Final = 1 << 2
CR0_TS: Final = 1 << 3
CR0_ET: Final = 1 << 4
CR0_NE: Final = 1 << 5
CR0_WP: Final = 1 << 16
CR0_AM: Final = 1 << 18
CR0_PG: Final = 1 << 31
CR4_VME: Final = 1 << 0
CR4_PVI: Final = 1 << 1
CR4_PSE: Final = 1 << 4
CR4_PAE: Final = 1 << 5
CR4_PGE: Final = 1 << 7
CR4_SMEP: Final = 1 << 20
CR4_SMAP: Final = 1 << 21
EFER_SCE: Final = 1 << 0
EFER_LME: Final = 1 << 8
EFER_LMA: Final = 1 << 10
EFER_NXE: Final = 1 << 11

# Exception vectors, [SDM3] table 6-1
DE: Final = 0
DB: Final = 1
NMI: Final = 2
BP: Final = 3
OF_TRAP: Final = 4
BR: Final = 5
UD: Final = 6
NM: Final = 7
DF_FAULT: Final = 8
TS: Final = 10
NP: Final = 11
SS_FAULT: Final = 12
GP: Final = 13
PF_FAULT: Final = 14
MF: Final = 16
AC_FAULT: Final = 17
MC: Final = 18
XM: Final = 19
EXCEPTION_NAMES: Final = {
    DE: "#DE", DB: "#DB", NMI: "NMI", BP: "#BP", OF_TRAP: "#OF", BR: "#BR", UD: "#UD", NM: "#NM",
    DF_FAULT: "#DF", TS: "#TS", NP: "#NP", SS_FAULT: "#SS", GP: "#GP", PF_FAULT: "#PF", MF: "#MF",
    AC_FAULT: "#AC", MC: "#MC", XM: "#XM",
}  # fmt: skip
VECTORS_WITH_ERROR_CODE: Final = frozenset({DF_FAULT, TS, NP, SS_FAULT, GP, PF_FAULT, AC_FAULT})

# Descriptor attributes as the second dword of a descriptor holds them, [SDM3] §3.4.5
DESC_G: Final = 1 << 23
DESC_B: Final = 1 << 22
DESC_L: Final = 1 << 21
DESC_P: Final = 1 << 15
DESC_DPL_SHIFT: Final = 13
DESC_S: Final = 1 << 12
DESC_TYPE_SHIFT: Final = 8
DESC_CODE: Final = 1 << 11
DESC_CONFORMING: Final = 1 << 10
DESC_WRITABLE: Final = 1 << 9  # data segments; readable in code segments
DESC_ACCESSED: Final = 1 << 8
