# ruff: noqa: E501 - lines of assembler
"""A guest of random snippets of ring-0 code, each followed by a record of all registers and flags.

Exceptions and software interrupts are recorded too (vector, error code, EIP, flags), and the next snippet
goes on from there. The records lie at LOG; the guest ends itself through port F4h.
"""

from __future__ import annotations

import random
from typing import Final

ORIGIN: Final = 0x10_0000
LOG: Final = 0x20_0000
SCRATCH: Final = 0x18_0000

HEAD: Final = f"""
bits 32
org {ORIGIN:#x}
CODE32 equ 8
DATA equ 16
CODE16 equ 24
STACK16 equ 32
start:
    cli
    mov al, 0xff                        ; no interrupts from outside
    out 0x21, al
    out 0xa1, al
    lgdt [gdtr]
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov esp, 0x90000
    jmp CODE32:here
here:
    mov ecx, 48
    mov edi, idt
    mov eax, stubs
fill:
    mov [edi], ax
    mov word [edi + 2], CODE32
    mov word [edi + 4], 0x8e00
    mov ebx, eax
    shr ebx, 16
    mov [edi + 6], bx
    add eax, 16
    add edi, 8
    loop fill
    lidt [idtr]
    mov dword [log], {LOG:#x}
    mov ebp, {SCRATCH:#x}
    jmp snippets
align 16
stubs:
%assign i 0
%rep 48
    align 16
  %if i == 8 || (i >= 10 && i <= 14) || i == 17
    push dword i
  %else
    push dword 0
    push dword i
  %endif
    jmp caught
%assign i i + 1
%endrep
caught:                                 ; vector, error code, EIP, CS, EFLAGS
    pushad
    mov edi, [log]
    mov dword [edi], 0xfa17
    lea esi, [esp + 32]
    add edi, 4
    mov ecx, 5
    cld
    rep movsd
    and dword [edi - 4], 0xfffeffff     ; RF, which the engine's own delivery does not set
    mov [log], edi
    popad
    mov esp, 0x90000
    jmp [resume]
record:                                 ; registers and flags, with the return address above the frame
    pushfd
    pushad
    mov edi, [log]
    mov esi, esp
    mov ecx, 9
    cld
    rep movsd
    mov eax, [{SCRATCH:#x}]
    stosd
    mov [log], edi
    popad
    popfd
    ret
align 8
gdt: dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x000f9a100000ffff, 0x000f92000000ffff
gdtr: dw $ - gdt - 1
    dd gdt
idtr: dw 48 * 8 - 1
    dd idt
align 4
log: dd 0
resume: dd 0
align 4096
idt: times 48 * 8 db 0
align 4096
snippets:
"""
TAIL: Final = """
    mov al, 0
    out 0xf4, al
    hlt
"""
REGISTERS: Final = ("eax", "ebx", "ecx", "edx", "esi", "edi")
LOW: Final = ("al", "bl", "cl", "dl", "ah", "bh")
CONDITIONS: Final = ("o", "no", "c", "nc", "z", "nz", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")
ARITHMETIC: Final = ("add", "adc", "sub", "sbb", "and", "or", "xor", "cmp", "test")


class Snippets:
    """Random snippets, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._number = 0

    def _register(self) -> str:
        return self._random.choice(REGISTERS)

    def _value(self) -> int:
        return self._random.choice([0, 1, 0xFF, 0x80, 0x8000_0000, 0xFFFF_FFFF, self._random.getrandbits(32)])

    def _forms(self) -> list[str]:
        pick, a, b, n = self._random.choice, self._register(), self._register(), self._number
        near = pick(("short", "near"))
        condition = pick(CONDITIONS)
        return [
            *(f"{pick(ARITHMETIC)} {a}, {b}" for _ in range(3)),
            f"{pick(ARITHMETIC)} {a}, {self._value():#x}",
            f"{pick(ARITHMETIC)} [ebp], {a}",
            f"{pick(ARITHMETIC)} {pick(LOW)}, {pick(LOW)}",
            f"imul {a}, {b}, {self._random.getrandbits(7)}",
            f"shl {a}, {self._random.randrange(1, 31)}",
            f"mul {a}", f"neg {a}", f"bswap {a}", f"bsf {a}, {b}", f"set{condition} {pick(LOW)}",
            f"cmov{condition} {a}, {b}", f"xchg {a}, [ebp]", f"push {a}\n pop {b}", f"lea {a}, [{b} + {a} * 4 + 5]",
            f"j{condition} {near} t{n}\n inc {a}\n t{n}:\n dec {b}",
            f"jmp {near} t{n}\n inc {a}\n t{n}:",
            f"and ecx, 7\n t{n}:\n inc ebx\n {pick(('loop', 'loope', 'loopne'))} t{n}",
            f"and ecx, 1\n {pick(('jecxz', 'jcxz'))} t{n}\n inc ebx\n t{n}:",
            f"call t{n}\n jmp short u{n}\n t{n}:\n inc {a}\n ret\n u{n}:",
            f"push {a}\n call t{n}\n jmp short u{n}\n t{n}:\n inc {b}\n ret 4\n u{n}:",
            f"mov {a}, t{n}\n call {a}\n jmp short u{n}\n t{n}:\n ret\n u{n}:",
            f"mov dword [ebp], t{n}\n call [ebp]\n jmp short u{n}\n t{n}:\n pop dword [ebp]\n push dword [ebp]\n ret\n"
            f" u{n}:\n mov dword [ebp], 0",
            f"mov {a}, t{n}\n jmp {a}\n inc {b}\n t{n}:",
            f"mov eax, 1\n jmp [eax * 4 + v{n}]\n v{n}: dd 0, t{n}\n t{n}:",
            f"push dword t{n}\n ret\n t{n}:",
            "cli", "sti", "pushfd\n pop eax", "pushf\n pop ax", "sti\n pushfd\n pop ebx\n cli\n pushfd\n pop ecx",
            f"push dword {self._random.getrandbits(12) & 0xED5:#x}\n popfd\n pushfd\n pop eax",
            f"push word {self._random.getrandbits(12) & 0xED5:#x}\n popf",
            "push dword 0x3202\n popfd\n pushfd\n pop eax\n push dword 2\n popfd", "std\n cld", "lahf", "cmc",
            f"mov {a}, cs", f"mov {pick(('ax', 'bx'))}, cs", f"mov {a}, ss", f"mov {a}, ds", "push cs\n pop eax",
            "push ss\n pop ebx", "push ds\n pop es", "mov [ebp], cs", "mov eax, 16\n mov ss, ax", "push ss\n pop ss",
            "mov eax, 16\n mov gs, ax", "mov ebx, 8\n lar eax, bx", "mov ebx, 8\n lsl eax, bx", "mov ebx, 16\n verw bx",
            "smsw ax", "sldt eax", "str bx", "sgdt [ebp + 8]\n mov eax, [ebp + 8]", "sidt [ebp + 8]", "mov eax, cr0",
            "mov eax, cr0\n mov cr0, eax", "clts", "int 0x21", "int3", "into", "ud2", "xor ecx, ecx\n div ecx",
            "mov eax, 0x123\n mov ds, ax", "push dword 0x8\n push dword t{0}\n retf\n t{0}:".replace("{0}", str(n)),
            f"pushfd\n push cs\n push dword t{n}\n iret\n t{n}:", f"call CODE32:t{n}\n jmp short u{n}\n t{n}:\n retf\n u{n}:",
            f"jmp CODE32:t{n}\n t{n}:", "in al, 0x61\n mov al, 0",
            f"mov edi, {SCRATCH + 64:#x}\n mov ecx, 9\n rep stosd", "nop\n pause", f"enter 8, {pick((0, 1))}\n leave",
            "pushad\n popad", "cbw", f"cmpxchg [ebp], {a}", f"lock xadd [ebp], {a}",
            f"mov {a}, [cs:ebp]", f"mov byte [t{n} + 1], {self._random.getrandbits(8)}\n t{n}: mov al, 1",
            f"mov dword [t{n} + 1], {self._value():#x}\n jmp short t{n}\n t{n}: mov ebx, 1",
            self._patched_loop(n), self._sixteen(n),
        ]  # fmt: skip

    def _patched_loop(self, n: int) -> str:
        """Code that writes code by a string instruction, and runs it."""
        return (
            f"mov esi, v{n}\n mov edi, t{n}\n mov ecx, u{n} - v{n}\n cld\n rep movsb\n jmp t{n}\n"
            f" v{n}: inc ebx\n nop\n lea edx, [ebx + 7]\n u{n}:\n t{n}: times 8 nop"
        )

    def _sixteen(self, n: int) -> str:
        """A trip through 16-bit code, whose segment begins at ORIGIN, on a 32-bit or a 16-bit stack."""
        t, u = f"t{n}", f"u{n}"
        offset = f"({t} - {ORIGIN:#x})"
        body = self._random.choice(
            (
                "add ax, bx\n adc ecx, 5", "push eax\n pop bx\n pop si", "cli\n sti\n cli", "pushf\n pop ax",
                f"call {t}\n jmp short {u}\n {t}: inc bx\n ret\n {u}:", f"mov cx, 3\n {t}: inc dx\n loop {t}",
                f"mov ebx, {SCRATCH:#x}\n mov ax, [ebx]\n mov bx, 5\n mov [bx + 0x1234], al", "pushfd\n pop eax",
                f"cmp ax, 5\n jz near {t}\n inc si\n {t}:", "mov ax, cs\n push cs\n pop dx", "mov ecx, 7\n rep lodsb",
                f"push word {offset}\n ret\n {t}:", f"mov ax, {offset}\n jmp ax\n inc cx\n {t}:",
                f"mov ax, {offset}\n call ax\n jmp short {u}\n {t}: ret\n {u}:", "movzx eax, bl\n bsr ecx, eax",
                f"push ax\n call {t}\n jmp short {u}\n {t}: ret 2\n {u}:", "mov [es:esi], dx\n mov [cs:esi], ecx",
                f"o32 call {t}\n jmp short {u}\n {t}: o32 ret\n {u}:", f"a32 loop {t}\n {t}: jcxz {u}\n inc si\n {u}:",
            )
        )  # fmt: skip
        stack = self._random.choice(("", "mov ax, STACK16\n mov ss, ax\n mov esp, 0x8000\n"))
        return (
            f"mov esi, {SCRATCH:#x}\n {stack} jmp CODE16:(w{n} - {ORIGIN:#x})\n bits 16\n w{n}:\n {body}\n"
            f" jmp dword CODE32:x{n}\n bits 32\n x{n}:\n mov bx, DATA\n mov ss, bx\n mov esp, 0x90000"
        )

    def program(self, count: int) -> str:
        """The source of a guest of `count` snippets."""
        parts = [HEAD]
        for _ in range(count):
            self._number += 1
            n = self._number
            pad = self._random.choice((0, 0, 0, 1, 2, 3, 5))
            values = "\n".join(f" mov {name}, {self._value():#x}" for name in REGISTERS)
            align = f" jmp b{n}\n times (4096 - {pad} - ($ - $$) % 4096) % 4096 nop\n b{n}:\n" if pad else ""
            parts.append(
                f" mov esp, 0x90000\n mov ebp, {SCRATCH:#x}\n mov dword [ebp], {self._value():#x}\n"
                f" mov dword [resume], n{n}\n push dword {self._random.getrandbits(12) & 0x8D5:#x}\n{values}\n popfd\n"
                f"{align} {self._random.choice(self._forms())}\n call record\n n{n}:\n"
                " mov ax, DATA\n mov ds, ax\n mov es, ax\n mov esp, 0x90000\n"
            )
        return "".join([*parts, TAIL])
