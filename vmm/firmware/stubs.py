"""The ROM's code: what a service in Python cannot do because guest code must run.

A stub pushes the number of its service and does OUT to `TRAP_PORT`. What comes back beside the
number, on the stack, is the service's verdict: what the stub does next.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, section 2; [SDM2] Intel Software
Developer's Manual, volume 2, for the encodings; [PCIBIOS] PCI BIOS Specification 2.1 §3.3.
"""

from __future__ import annotations

from typing import Final

from vmm.firmware.assembler import Code
from vmm.firmware.caller import RETRY, RETURN, WAIT, WAIT_FOR_KEY

TRAP_PORT: Final = 0xE6

# Service numbers; the others are vectors
POST: Final = 0xF0
BIOS32: Final = 0xF1
PCI_FLAT: Final = 0xF2
HALT_ENTRY: Final = 0xF3  # an address, no service
KERNEL_ENTRY: Final = 0xF7  # likewise; F4h-F6h are of kernel_stub.py

TICK_VECTOR: Final = 0x08
KEYBOARD_VECTOR: Final = 0x09
NO_BOOT_VECTOR: Final = 0x18
BOOT_VECTOR: Final = 0x19
RTC_VECTOR: Final = 0x70
MOUSE_VECTOR: Final = 0x74

# Verdicts on a scan code, tested by `keyboard`
KEY_STORED: Final = 1
KEY_BREAK: Final = 2
KEY_PRINT_SCREEN: Final = 3
KEY_PAUSE: Final = 4
KEY_SYSTEM_DOWN: Final = 5
KEY_SYSTEM_UP: Final = 6
# Verdicts on the clock's and the mouse's interrupt
CALL_HANDLER: Final = 1
MOUSE_ROOM: Final = 16  # on the stack: two far addresses, four words for the handler

CLI: Final = b"\xfa"
STI: Final = b"\xfb"
HLT: Final = b"\xf4"
NOP: Final = b"\x90"
CLD: Final = b"\xfc"
STC: Final = b"\xf9"
IRET: Final = b"\xcf"
RETF: Final = b"\xcb"
PUSH_AX: Final = b"\x50"
POP_AX: Final = b"\x58"
PUSH_CX: Final = b"\x51"
POP_CX: Final = b"\x59"
MOV_CX: Final = b"\xb9"
LOOP: Final = b"\xe2"
PUSH_DS: Final = b"\x1e"
POP_DS: Final = b"\x1f"
PUSH_ALL: Final = b"\x66\x60\x1e\x06"  # pushad; push ds; push es
POP_ALL: Final = b"\x07\x1f\x66\x61"
PUSH_AX_DX_DS: Final = b"\x50\x52\x1e"
POP_DS_DX_AX: Final = b"\x1f\x5a\x58"
PUSH_BP: Final = b"\x55"
POP_BP: Final = b"\x5d"
MOV_BP_SP: Final = b"\x89\xe5"
CMP_VERDICT: Final = b"\x80\x7e\x03"  # cmp byte [bp + 3], imm8; BP was pushed below the service word
TEST_AH: Final = b"\x84\xe4"
DEC_AH: Final = b"\xfe\xcc"
JE: Final = b"\x74"
JNE: Final = b"\x75"
JNC: Final = b"\x73"
JMP: Final = b"\xeb"
JMP_FAR: Final = b"\xea"
PUSH_BYTE: Final = b"\x6a"
PUSH_WORD: Final = b"\x68"
DROP_WORD: Final = b"\x83\xc4\x02"  # add sp, 2
INT: Final = b"\xcd"
TRAP: Final = bytes((0xE6, TRAP_PORT))  # out TRAP_PORT, al
EOI: Final = b"\xb0\x20\xe6\x20"  # mov al, 20h; out 20h, al
EOI_BOTH: Final = b"\xb0\x20\xe6\xa0\xe6\x20"
IN_AL_60: Final = b"\xe4\x60"
MOV_AH_4F: Final = b"\xb4\x4f"
MOV_AX: Final = b"\xb8"
SYSTEM_KEY: Final = b"\x88\xe0\xfe\xc8\xb4\x85"  # mov al, ah; dec al; mov ah, 85h
DS_40: Final = b"\xb8\x40\x00\x8e\xd8"  # mov ax, 40h; mov ds, ax
TEST_PAUSE: Final = b"\xf6\x06\x18\x00\x08"  # test byte [18h], 8
ADD_SP: Final = b"\x83\xc4"
SUB_SP: Final = b"\x83\xec"
ZERO_STACK: Final = b"\x31\xc0\x8e\xd0\xbc\x00\x7c"  # xor ax, ax; mov ss, ax; mov sp, 7C00h
ZERO_DS_ES: Final = b"\x8e\xd8\x8e\xc0"
PUSH_OWN_FRAME: Final = b"\x9c\x0e\x50"  # pushf; push cs; push ax
# 32-bit code
PUSHFD: Final = b"\x9c"
PUSH_DWORD: Final = b"\x68"
DROP_DWORD: Final = b"\x83\xc4\x04"
POPFD: Final = b"\x9d"

BUSY_KEYBOARD: Final = 0x9002  # INT 15h: the keyboard is waited for
POST_KEYBOARD: Final = 0x9102  # INT 15h: it has something
# Between two calls of a service that waits: under the virtual clock, where a byte of code takes 1 ns, 66 us;
# a call takes the host about 100 us, so that a second of waiting takes a few
RETRY_TURNS: Final = 1000
TURN_NOPS: Final = 64


def _push_service(number: int) -> bytes:
    """A word: the number, and RETURN for a verdict."""
    return PUSH_WORD + bytes((number, RETURN))


def _trap(number: int) -> bytes:
    """Call a service that has no verdict."""
    return _push_service(number) + TRAP + DROP_WORD


def _trap_for_verdict(number: int) -> bytes:
    """Call a service; its verdict is in AH then."""
    return _push_service(number) + TRAP + POP_AX


def _load_ax(value: int) -> bytes:
    return MOV_AX + value.to_bytes(2, "little")


def service_tail() -> bytes:
    """What all services share: trap with the service word pushed, then obey the verdict."""
    code = Code().label("trap").emit(TRAP, PUSH_BP, MOV_BP_SP)
    for verdict, name in ((RETURN, "return"), (WAIT, "wait"), (WAIT_FOR_KEY, "key")):
        code.emit(CMP_VERDICT, bytes((verdict,))).jump(JE, name)
    assert RETRY not in (RETURN, WAIT, WAIT_FOR_KEY)
    code.jump(JMP, "retry")
    code.label("key").emit(PUSH_AX, _load_ax(BUSY_KEYBOARD), INT, b"\x15", POP_AX)
    code.label("wait").emit(POP_BP, STI, HLT, CLI).jump(JMP, "trap")
    code.label("return").emit(POP_BP, DROP_WORD, IRET)
    code.label("retry").emit(POP_BP, STI, PUSH_CX, MOV_CX + RETRY_TURNS.to_bytes(2, "little"))
    code.label("turn").emit(NOP * TURN_NOPS).jump(LOOP, "turn")
    return code.emit(POP_CX, CLI).jump(JMP, "trap").assemble()


def tick() -> bytes:
    """INT 8: count, give the user's hook its turn, end the interrupt."""
    return (
        _trap(TICK_VECTOR) + PUSH_AX_DX_DS + INT + b"\x1c" + POP_DS_DX_AX
        + PUSH_AX + EOI + POP_AX + IRET
    )  # fmt: skip


def keyboard() -> bytes:
    """INT 9: read the code, let INT 15h AH=4Fh change or swallow it, store it, do what it stands for."""
    code = Code().emit(PUSH_AX, IN_AL_60, MOV_AH_4F, STC, INT, b"\x15").jump(JNC, "end")
    code.emit(_trap_for_verdict(KEYBOARD_VECTOR), EOI, TEST_AH).jump(JE, "done")
    for verdict, name in ((KEY_STORED, "stored"), (KEY_BREAK, "break"),
                          (KEY_PRINT_SCREEN, "print"), (KEY_PAUSE, "pause")):  # fmt: skip
        assert verdict in range(1, 5)  # in this order
        code.emit(DEC_AH).jump(JE, name)
    code.emit(SYSTEM_KEY, STI, INT, b"\x15").jump(JMP, "done")
    code.label("stored").emit(_load_ax(POST_KEYBOARD), INT, b"\x15").jump(JMP, "done")
    code.label("break").emit(INT, b"\x1b").jump(JMP, "done")
    code.label("print").emit(INT, b"\x05").jump(JMP, "done")
    code.label("pause").emit(PUSH_DS, DS_40, STI)
    code.label("paused").emit(HLT, TEST_PAUSE).jump(JNE, "paused").emit(POP_DS).jump(JMP, "done")
    return code.label("end").emit(EOI).label("done").emit(POP_AX, IRET).assemble()


def clock() -> bytes:
    """INT 70h: the clock chip's periodic and alarm interrupts; the alarm is INT 4Ah."""
    code = Code().emit(PUSH_AX, _trap_for_verdict(RTC_VECTOR), TEST_AH).jump(JE, "end")
    code.emit(STI, INT, b"\x4a", CLI)
    return code.label("end").emit(EOI_BOTH, POP_AX, IRET).assemble()


def mouse() -> tuple[bytes, int]:
    """INT 74h: collect a packet, call who wants it. Also returns the offset where that handler returns.

    The service fills the room: the handler's address, which RETF goes to, the offset meant here, and
    the four words that are its arguments.
    """
    code = Code().emit(PUSH_ALL, SUB_SP, bytes((MOUSE_ROOM,)), _trap_for_verdict(MOUSE_VECTOR), TEST_AH)
    back = code.jump(JE, "nobody").emit(RETF).here()
    code.emit(ADD_SP, bytes((MOUSE_ROOM - 8,))).jump(JMP, "end")
    code.label("nobody").emit(ADD_SP, bytes((MOUSE_ROOM,)))
    return code.label("end").emit(EOI_BOTH, POP_ALL, IRET).assemble(), back


def boot(vector: int) -> bytes:
    """INT 19h, 18h: a clean stack with a frame of its own, which the service points at the boot sector."""
    return CLI + CLD + ZERO_STACK + ZERO_DS_ES + PUSH_OWN_FRAME + _trap(vector) + IRET


def halt() -> bytes:
    """Stop for good, though not for NMI."""
    return Code().label("halt").emit(CLI, HLT).jump(JMP, "halt").assemble()


def power_on() -> bytes:
    """What the reset vector leads to."""
    return CLI + CLD + ZERO_STACK + _trap(POST) + STI + INT + bytes((BOOT_VECTOR,)) + halt()


def flat_service(number: int) -> bytes:
    """A far function for callers in 32-bit protected mode; runs at any base."""
    return PUSHFD + PUSH_DWORD + number.to_bytes(4, "little") + TRAP + DROP_DWORD + POPFD + RETF
