"""Random guests whose every result can be compared: sensitive and privileged instructions in company.

What the engines themselves get wrong is left out (segment limits, the flags a fault pushes, EIP of a fault in
a task switch), and so is time: no interrupt, no clock. Nor is a selector of RPL 1 loaded for a segment of
DPL 0, which a monitor at ring 1 does not see.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from typing import Final

ATOMS: Final = 60
REGISTERS: Final = ("eax", "ebx", "ecx", "edx", "esi", "edi")
LOW: Final = {"eax": "al", "ebx": "bl", "ecx": "cl", "edx": "dl"}
SEGMENTS: Final = ("ds", "es", "fs", "gs")
SELECTORS: Final = (
    "CODE0", "DATA0", "CODE3", "DATA3", "TASK", "CODE16", "DATA16", "SPARE", "SPARE + 8", "SPARE + 16",
    "SPARE + 24", "0xfff8", "4", "DATA0 + 3", "0",
)  # fmt: skip
FLAGS: Final = (2, 0x202, 0xAD7, 0x3002, 0x1202, 0x40202, 0x200002, 0x243202)
DESCRIPTORS: Final = (0x92, 0x93, 0xF2, 0xF3, 0x9A, 0x9B, 0xFA, 0x12, 0x90, 0x96, 0x89, 0x82, 0x9E, 0xB2)
_TWO: Final = (0x589C, 0x5B0E, 0x5916, 0xC88C, 0xD38C)  # PUSHF, PUSH CS, PUSH SS; MOV of CS and SS
Atom = Callable[[Random, int], str]


def _register(rng: Random) -> str:
    return rng.choice(REGISTERS)


def _arithmetic(rng: Random, _number: int) -> str:
    a, b = _register(rng), _register(rng)
    return rng.choice((
        f"add {a}, {b}", f"adc {a}, {b}", f"xor {a}, {rng.getrandbits(32):#x}", f"sbb {a}, {b}",
        f"rol {a}, {rng.randrange(32)}", f"imul {a}, {b}", f"neg {a}", f"cmp {a}, {b}", "cmc", "std", "cld",
    ))  # fmt: skip


def _flags(rng: Random, _number: int) -> str:
    a = _register(rng)
    return rng.choice((
        f"push dword {rng.choice(FLAGS):#x}\n attempt popfd", f"pushfd\n pop {a}", f"pushf\n pop {a[1:]}",
        "attempt cli", "attempt sti", f"attempt sti\n cli\n pushfd\n pop {a}", "lahf", "sahf",
        f"push word {rng.choice(FLAGS) & 0xFFFF:#x}\n attempt popf",
    ))  # fmt: skip


def _segments(rng: Random, _number: int) -> str:
    a, segment = _register(rng), rng.choice(SEGMENTS[2:])
    selector = rng.choice(SELECTORS)
    return rng.choice((
        f"mov ax, {selector}\n attempt mov {segment}, ax",
        f"push {selector}\n attempt pop {segment}\n mov esp, [saved_esp]",
        f"xor {a}, {a}\n mov {a[1:]}, {rng.choice((*SEGMENTS, 'cs', 'ss'))}",
        f"push {rng.choice((*SEGMENTS, 'cs', 'ss'))}\n pop {a}\n and {a}, 0xffff",
        f"mov word [scratch + 4], {selector}\n mov dword [scratch], {rng.getrandbits(32):#x}\n"
        f" attempt l{segment} {a}, [scratch]",
    ))  # fmt: skip


def _verify(rng: Random, _number: int) -> str:
    a = _register(rng)
    selector = rng.choice(SELECTORS)
    what = rng.choice((f"lar {a}, esi", f"lsl {a}, esi", "verr si", "verw si"))
    return f"mov esi, {selector}\n {what}\n setz al\n arpl bx, si"


def _stores(rng: Random, _number: int) -> str:
    a = _register(rng)
    return rng.choice((
        f"sgdt [scratch]\n mov {a}, [scratch + 2]", f"sidt [scratch]\n mov {a}, [scratch + 2]",
        f"xor {a}, {a}\n sldt {a[1:]}", f"xor {a}, {a}\n str {a[1:]}", f"smsw {a[1:]}",
        f"attempt mov {a}, cr0",
        f"attempt mov {a}, cr4", f"attempt mov {a}, cr3", f"attempt mov {a}, cr2", f"attempt mov {a}, dr7",
    ))  # fmt: skip


def _control(rng: Random, _number: int) -> str:
    return rng.choice((
        "attempt clts", "attempt mov eax, cr0\n xor eax, 8\n attempt mov cr0, eax\n clts",
        "attempt mov eax, cr0\n xor eax, 0x10000\n attempt mov cr0, eax",
        "attempt mov eax, cr3\n attempt mov cr3, eax", "attempt lgdt [gdtr]", "attempt lidt [idtr]",
        "attempt invlpg [scratch]", "attempt wbinvd", "xor eax, eax\n attempt lldt ax",
        "mov ecx, 0x174\n attempt rdmsr", "mov ecx, 0xdead\n attempt rdmsr", "xor eax, eax\n attempt lmsw ax",
        "mov eax, cr0\n attempt lmsw ax", "attempt ltr word [scratch]", "attempt in al, 0x21\n mov al, 3",
        "attempt out 0x80, al", "attempt mov cr1, eax", "attempt ud2", "attempt sysexit", "attempt rsm",
    ))  # fmt: skip


def _descriptor(rng: Random, _number: int) -> str:
    place = f"gdt + SPARE + {8 * rng.randrange(4)}"
    return (
        f"mov dword [{place}], 0xffff\n"
        f" mov dword [{place} + 4], {0xCF0000 | rng.choice(DESCRIPTORS) << 8 | 0xCF << 16:#x} & 0xcfff00"
    )


def _transfer(rng: Random, number: int) -> str:
    return rng.choice((
        f"jmp CODE0:.far{number}\n.far{number}:", "attempt call CODE0:returns",
        f"pushfd\n push cs\n push .iret{number}\n iret\n.iret{number}:",
        f"push cs\n push .retf{number}\n retf\n.retf{number}:",
        f"attempt jmp {rng.choice(SELECTORS[2:4])}:0", f"attempt int {rng.randrange(0x40, 0x60)}",
        "attempt int3", "call near_returns",
        f"attempt call {rng.choice(('DATA0', 'SPARE', 'TASK', '0xfff8'))}:0",
    ))  # fmt: skip


def _modify(rng: Random, number: int) -> str:
    """A store into code a few bytes ahead, in the same page or not."""
    value = rng.getrandbits(32)
    return rng.choice((
        f"mov dword [.imm{number} + 1], {value:#x}\n.imm{number}:\n mov eax, 0x12345678",
        f"mov byte [.op{number}], {rng.choice((0x40, 0x48, 0x90, 0xF8, 0xF9, 0xFA)):#x}\n.op{number}:\n nop",
        f"mov word [.two{number}], {rng.choice(_TWO):#x}\n.two{number}:\n nop\n nop",
        f"mov al, [.one{number}]\n.one{number}:\n pushfd\n pop edx",
    ))  # fmt: skip


def _memory(rng: Random, _number: int) -> str:
    a = _register(rng)
    at = rng.choice(("scratch", "scratch + 4", "0x5ffe", "gdt", "0x7ffe"))
    return rng.choice((f"mov {a}, [{at}]", f"add [scratch + 8], {a}", f"xadd [scratch + 8], {a}",
                       f"mov [0x100ffe], {a}\n mov {a}, [0x101000]"))  # fmt: skip


KERNEL: Final[tuple[Atom, ...]] = (
    _arithmetic, _arithmetic, _flags, _flags, _segments, _segments, _verify, _stores, _stores, _control,
    _descriptor, _transfer, _transfer, _modify, _memory,
)  # fmt: skip
USER: Final = (
    "pushfd\n pop eax", "smsw ax\n movzx eax, ax", "sgdt [scratch]\n mov eax, [scratch + 2]",
    "xor eax, eax\n sldt ax", "xor eax, eax\n str ax", "push dword 0x3202\n popfd", "cli", "sti", "hlt",
    "mov eax, cr0", "push cs\n pop eax", "mov ax, DATA0\n mov fs, ax", "mov ax, DATA3\n mov fs, ax",
    "in al, 0x21", "mov esi, CODE0\n lar eax, esi", "mov esi, DATA3\n lsl eax, esi", "int3",
    "mov [0x100ffe], eax", "jmp CODE0:0", "pushf\n pop ax", "std", "cld", "iret",
)  # fmt: skip
PAGING: Final = """
    mov edi, 0x300000
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov edi, 0x300000
    mov al, 0x87
    mov ecx, 64
.directory:
    stosd
    add eax, 0x400000
    loop .directory
    mov eax, cr4
    or eax, 0x10
    mov cr4, eax
    mov eax, 0x300000
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
"""


def source_of(seed: int) -> str:
    """The assembler text of one guest."""
    rng = Random(seed)
    lines = ['%include "pm.inc"', "body:", " hook 0x41, near_ok", " hook 0x42, near_ok"]
    if rng.random() < 0.5:
        lines.append(PAGING)
    lines += [f" mov {register}, {rng.getrandbits(32):#x}" for register in REGISTERS]
    users = 0
    for number in range(ATOMS):
        if rng.random() < 0.12:
            lines += (f" mov dword [user_flags], {rng.choice(FLAGS[:5]):#x}", f" user .user{number}", " cld")
            users |= 1 << number
        else:
            lines.append(" " + rng.choice(KERNEL)(rng, number))
        lines += (f' say "{number}"', " call show")
    lines += (" push dword 2", " popfd", " jmp the_end")
    for number in range(ATOMS):
        if users >> number & 1:
            body = [f" {rng.choice(USER)}\n int 0x31" for _ in range(rng.randrange(1, 4))]
            lines += (f".user{number}:", " user_data", *body, " int 0x30")
    lines += (
        "returns: retf", "near_returns: ret", "near_ok:", " stc", " ret", "show:", " push eax",
        " mov eax, ebx", ' say "b"',
        " mov eax, edx", ' say "d"', " pushfd", " pop eax", ' say "f"', " pop eax", " ret",
        "align 16", "scratch: times 8 dd 0", "finish_image",
    )  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(source_of(int(sys.argv[1])))
