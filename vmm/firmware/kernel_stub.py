"""The ROM's code that asks the BIOS what a kernel wants to know, and enters the kernel.

The same code is in our own ROM and in the option ROM for another BIOS, so that a kernel finds what
*that* BIOS says: the memory map by INT 15h E820h, and, if the kernel asks for a graphics mode, the
modes by INT 10h 4F01h. What it collects lies in low memory until `kernel_service` has read it.

Sources: [ACPI] ACPI Specification 2.0 §14 for E820h; [VBE3] VESA BIOS Extension core functions 3.0;
[SDM2] Intel Software Developer's Manual, volume 2, for the encodings.
"""

from __future__ import annotations

import struct
from typing import Final

from vmm.firmware.assembler import Code
from vmm.firmware.caller import RETURN
from vmm.firmware.e820 import ENTRY_BYTES
from vmm.firmware.stubs import (
    CLD,
    CLI,
    DEC_AH,
    HLT,
    INT,
    IRET,
    JE,
    JMP,
    JNE,
    POP_AX,
    PUSH_OWN_FRAME,
    PUSH_WORD,
    STI,
    TEST_AH,
    TRAP,
    ZERO_DS_ES,
    ZERO_STACK,
)

# Service numbers, and what the services answer in AH
KERNEL_VIDEO: Final = 0xF4
KERNEL_MODE: Final = 0xF5
KERNEL_LOAD: Final = 0xF6
KEEP_SCREEN, SET_TEXT, SET_GRAPHICS = 0, 1, 2  # KERNEL_VIDEO
NO_MODE, MODE_CHOSEN = 0, 1  # KERNEL_MODE, the number is in BX
ENTER, HALT = 0, 1  # KERNEL_LOAD

# What is collected where; the table ends where BP says, the modes where DI says
MAP_TABLE: Final = 0x1000
MAP_ENTRIES: Final = 128
VBE_SEGMENT: Final = 0x1000
CONTROLLER_BYTES: Final = 512
MODE_BLOCKS: Final = 0x200
MODE_BYTES: Final = 256
MODE_BLOCKS_END: Final = 0x8000
MODE_NUMBER: Final = 0xFE  # in a block's reserved end: the mode's number

SMAP: Final = b"PAMS"
MOV_DI: Final = b"\xbf"
MOV_BP_DI: Final = b"\x89\xfd"
XOR_EBX: Final = b"\x66\x31\xdb"
MOV_EAX: Final = b"\x66\xb8"
MOV_EDX: Final = b"\x66\xba"
MOV_ECX: Final = b"\x66\xb9"
CMP_EAX: Final = b"\x66\x3d"
TEST_EBX: Final = b"\x66\x85\xdb"
ADD_DI: Final = b"\x81\xc7"
CMP_DI: Final = b"\x81\xff"
JC: Final = b"\x72"
JAE: Final = b"\x73"
JB: Final = b"\x72"
MOV_AX: Final = b"\xb8"
CMP_AX: Final = b"\x3d"
MOV_ES_AX: Final = b"\x8e\xc0"
XOR_DI: Final = b"\x31\xff"
ASK_VBE_2: Final = b"\x66\x26\xc7\x05VBE2"  # mov dword [es:di], 'VBE2'
LDS_SI_MODES: Final = b"\x26\xc5\x75\x0e"  # lds si, [es:di + 0Eh]
LODSW: Final = b"\xad"
XCHG_AX_CX: Final = b"\x91"
PUSH_DS_SI: Final = b"\x1e\x56"
POP_SI_DS: Final = b"\x5e\x1f"
KEEP_NUMBER: Final = b"\x26\x89\x8d" + struct.pack("<H", MODE_NUMBER)  # mov [es:di + FEh], cx
XOR_BX: Final = b"\x31\xdb"
XOR_AX: Final = b"\x31\xc0"
MODE_3: Final = 3
VBE_OK: Final = 0x004F


def _word(value: int) -> bytes:
    return struct.pack("<H", value)


def _trap(number: int) -> bytes:
    """Call a service; its verdict is in AH then."""
    return PUSH_WORD + bytes((number, RETURN)) + TRAP + POP_AX


def kernel() -> bytes:
    """Ask the BIOS, have the kernel loaded, enter it. Runs at any address; never returns."""
    code = Code().emit(CLI, CLD, ZERO_STACK, ZERO_DS_ES, STI)
    _memory_map(code)
    code.emit(XOR_BX, _trap(KERNEL_VIDEO), TEST_AH).jump(JE, "load")
    code.emit(DEC_AH).jump(JE, "text")
    _modes(code)
    code.label("listed").emit(XOR_AX, ZERO_DS_ES, _trap(KERNEL_MODE), TEST_AH).jump(JE, "text")
    code.emit(MOV_AX, _word(0x4F02), INT, b"\x10", CMP_AX, _word(VBE_OK)).jump(JE, "load")
    code.label("text").emit(MOV_AX, _word(MODE_3), INT, b"\x10", XOR_BX)
    code.label("load").emit(CLI, PUSH_OWN_FRAME, _trap(KERNEL_LOAD), TEST_AH).jump(JNE, "halt")
    code.emit(IRET)
    return code.label("halt").emit(CLI, HLT).jump(JMP, "halt").assemble()


def _memory_map(code: Code) -> None:
    """INT 15h E820h until it ends; BP is left at the end of the table."""
    code.emit(MOV_DI, _word(MAP_TABLE), XOR_EBX)
    code.label("entry").emit(MOV_EAX, struct.pack("<I", 0xE820), MOV_EDX, SMAP)
    code.emit(MOV_ECX, struct.pack("<I", ENTRY_BYTES), INT, b"\x15").jump(JC, "mapped")
    code.emit(CMP_EAX, SMAP).jump(JNE, "mapped").emit(ADD_DI, _word(ENTRY_BYTES))
    code.emit(CMP_DI, _word(MAP_TABLE + MAP_ENTRIES * ENTRY_BYTES)).jump(JAE, "mapped")
    code.emit(TEST_EBX).jump(JNE, "entry")
    code.label("mapped").emit(MOV_BP_DI)


def _modes(code: Code) -> None:
    """The VBE's information block, and a block for each mode; DI is left at their end."""
    code.emit(MOV_AX, _word(VBE_SEGMENT), MOV_ES_AX, XOR_DI, ASK_VBE_2)
    code.emit(MOV_AX, _word(0x4F00), INT, b"\x10", CMP_AX, _word(VBE_OK)).jump(JNE, "listed")
    code.emit(LDS_SI_MODES, MOV_DI, _word(MODE_BLOCKS))
    code.label("mode").emit(LODSW, CMP_AX, b"\xff\xff").jump(JE, "listed")
    code.emit(XCHG_AX_CX, PUSH_DS_SI, MOV_AX, _word(0x4F01), INT, b"\x10", POP_SI_DS)
    code.emit(CMP_AX, _word(VBE_OK)).jump(JNE, "mode").emit(KEEP_NUMBER, ADD_DI, _word(MODE_BYTES))
    code.emit(CMP_DI, _word(MODE_BLOCKS_END)).jump(JB, "mode")
