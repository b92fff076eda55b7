"""The 64-KiB ROM at F0000h: entry points that trap to Python, and the little code around them.

Every entry pushes its vector and does OUT to `TRAP_PORT`; the service (bios.py) works on the
caller's registers and on the frame on its stack. What a service cannot do, because code must run,
is here: waiting with HLT, chaining to a user's hook, starting a boot sector. The image also
appears below 4 GiB, where the reset vector is.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, section 2 (entry points);
[SDM2] Intel Software Developer's Manual, volume 2, for the encodings.
"""

from __future__ import annotations

from typing import Final, NamedTuple

ROM_BYTES: Final = 0x10000
ROM_SEGMENT: Final = 0xF000
ROM_ADDRESS: Final = 0xF0000
ROM_ALIAS: Final = 0xFFFF_0000  # where the processor starts
TRAP_PORT: Final = 0xE6
POST: Final = 0xF0  # service number of power-on, which no INT has

# Where programs expect things in any PC's ROM, [PTL] §2
POST_ENTRY: Final = 0xE05B
DUMMY_ENTRY: Final = 0xFF53
RESET_ENTRY: Final = 0xFFF0
DATE: Final = 0xFFF5
MODEL: Final = 0xFFFE
CODE_START: Final = 0xE100

MODEL_AT: Final = 0xFC
ROM_DATE: Final = b"11/22/26"
SIGNATURE: Final = b"Trapline BIOS\0"

TICK_VECTOR: Final = 0x08
KEYBOARD_VECTOR: Final = 0x09
NO_BOOT_VECTOR: Final = 0x18
BOOT_VECTOR: Final = 0x19
# INT 0Ah-0Fh and 70h-77h are interrupt lines; the others are services
SERVICE_VECTORS: Final = (
    *range(0x0A, 0x10), 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x1A, *range(0x70, 0x78),
)  # fmt: skip

CLI: Final = b"\xfa"
STI: Final = b"\xfb"
HLT: Final = b"\xf4"
NOP: Final = b"\x90"
CLD: Final = b"\xfc"
STC: Final = b"\xf9"
IRET: Final = b"\xcf"
PUSH_AX: Final = b"\x50"
POP_AX: Final = b"\x58"
PUSH_AX_DX_DS: Final = b"\x50\x52\x1e"
POP_DS_DX_AX: Final = b"\x1f\x5a\x58"
PUSH_BP: Final = b"\x55"
POP_BP: Final = b"\x5d"
MOV_BP_SP: Final = b"\x89\xe5"
TEST_VERDICT: Final = b"\x80\x7e\x03"  # cmp byte [bp + 3], imm8; BP was pushed below the service word
JNE: Final = b"\x75"
JNC: Final = b"\x73"
JMP_SHORT: Final = b"\xeb"
JMP_NEAR: Final = b"\xe9"
JMP_FAR: Final = b"\xea"
PUSH_BYTE: Final = b"\x6a"
PUSH_WORD: Final = b"\x68"
DROP_WORD: Final = b"\x83\xc4\x02"  # add sp, 2
INT: Final = b"\xcd"
TRAP: Final = bytes((0xE6, TRAP_PORT))  # out TRAP_PORT, al
EOI: Final = b"\xb0\x20\xe6\x20"  # mov al, 20h; out 20h, al
IN_AL_60: Final = b"\xe4\x60"
MOV_AH_4F: Final = b"\xb4\x4f"
ZERO_STACK: Final = b"\x31\xc0\x8e\xd0\xbc\x00\x7c"  # xor ax, ax; mov ss, ax; mov sp, 7C00h
ZERO_DS_ES: Final = b"\x8e\xd8\x8e\xc0"
PUSH_OWN_FRAME: Final = b"\x9c\x0e\x50"  # pushf; push cs; push ax
HALT: Final = CLI + HLT + JMP_SHORT + b"\xfc"  # back to the CLI


class Rom(NamedTuple):
    """The image, and the offset in it of each vector's entry."""

    data: bytes
    entries: dict[int, int]


def _trap(vector: int) -> bytes:
    return PUSH_BYTE + bytes((vector,)) + TRAP + DROP_WORD


def _skip(condition: bytes, code: bytes) -> bytes:
    """Jump over `code` if `condition`."""
    return condition + bytes((len(code),)) + code


def _service_tail() -> bytes:
    """What all services share: trap with the service word pushed, then obey the verdict."""
    verdict = PUSH_BP + MOV_BP_SP + TEST_VERDICT + b"%c" + POP_BP
    head = TRAP + verdict % 0
    head += _skip(JNE, DROP_WORD + IRET)
    again = verdict % 1
    wait = STI + HLT + CLI
    retry = STI + NOP + CLI

    def back(code: bytes) -> bytes:
        return JMP_SHORT + bytes(((-len(code) - 2) & 0xFF,))

    code = head + again + JNE + bytes((len(wait) + 2,)) + wait
    code += back(code)
    code += retry
    return code + back(code)


def _tick() -> bytes:
    """INT 8: count, give the user's hook its turn, end the interrupt."""
    return (
        _trap(TICK_VECTOR) + PUSH_AX_DX_DS + INT + b"\x1c" + POP_DS_DX_AX
        + PUSH_AX + EOI + POP_AX + IRET
    )  # fmt: skip


def _keyboard() -> bytes:
    """INT 9: read the scan code, let INT 15h AH=4Fh change or swallow it, store it."""
    code = PUSH_AX + IN_AL_60 + MOV_AH_4F + STC + INT + b"\x15"
    return code + _skip(JNC, _trap(KEYBOARD_VECTOR)) + EOI + POP_AX + IRET


def _boot() -> bytes:
    """INT 19h: a clean stack with a frame of its own, which the service points at the boot sector."""
    return CLI + ZERO_STACK + ZERO_DS_ES + PUSH_OWN_FRAME + _trap(BOOT_VECTOR) + IRET


def _power_on() -> bytes:
    service = PUSH_WORD + bytes((POST, 0)) + TRAP + DROP_WORD
    return CLI + CLD + ZERO_STACK + service + STI + INT + bytes((BOOT_VECTOR,)) + HALT


def build_rom() -> Rom:
    """Return the ROM. The same bytes every time."""
    image = bytearray(ROM_BYTES)
    entries: dict[int, int] = {}
    position = CODE_START

    def place(code: bytes) -> int:
        nonlocal position
        start = position
        image[start : start + len(code)] = code
        position += len(code)
        return start

    tail = place(_service_tail())
    for vector in SERVICE_VECTORS:
        push = PUSH_BYTE + bytes((vector,)) + JMP_NEAR
        distance = (tail - (position + len(push) + 2)) & 0xFFFF
        entries[vector] = place(push + distance.to_bytes(2, "little"))
    entries[TICK_VECTOR] = place(_tick())
    entries[KEYBOARD_VECTOR] = place(_keyboard())
    entries[BOOT_VECTOR] = place(_boot())
    entries[NO_BOOT_VECTOR] = place(_trap(NO_BOOT_VECTOR) + HALT)

    power_on = _power_on()
    image[POST_ENTRY : POST_ENTRY + len(power_on)] = power_on
    image[DUMMY_ENTRY] = IRET[0]
    reset = JMP_FAR + POST_ENTRY.to_bytes(2, "little") + ROM_SEGMENT.to_bytes(2, "little")
    image[RESET_ENTRY : RESET_ENTRY + len(reset)] = reset
    image[DATE : DATE + len(ROM_DATE)] = ROM_DATE
    image[MODEL] = MODEL_AT
    image[: len(SIGNATURE)] = SIGNATURE
    return Rom(bytes(image), entries)
