; A stack segment of 16 bits with a base of its own, and IRET to it from a 32-bit kernel: the upper half of
; ESP, which IRET does not load ([SDM2] IRET), is what Linux's ESPFIX is about. SP wraps at 64 KiB.
%include "pm.inc"
SS16 equ SPARE                          ; DPL 0, base 9 0000h
SS16_3 equ SPARE + 8 | 3
CS16_3 equ SPARE + 16 | 3
EXPAND equ SPARE + 24
%macro user16 3                         ; code selector, offset, ESP
    mov [saved_esp], esp
    mov dword [resume], %%after
    push SS16_3
    push %3
    push 2
    push %1
    push %2
    iret
%%after:
%endmacro
body:
    mov esi, .descriptors
    mov edi, gdt + SPARE
    mov ecx, 8
    rep movsd
    user16 CODE3, .ring3, 0x1234e000
    user16 CODE3, .ring3_wrap, 0x12340002
    user16 CS16_3, .ring3_16, 0x4321c000
    user16 CODE3, .ring3_int, 0xdead8000
    ; ring 0 on a 16-bit stack: IRET within the ring, PUSH and POP, ENTER and LEAVE
    mov ebx, esp
    mov ax, SS16
    mov ss, ax
    mov esp, 0x56788000
    push 0x11111111
    mov ecx, esp
    pop edx
    pushfd
    push cs
    push .inside
    iret
.inside:
    mov esi, esp
    pusha
    popa
    enter 16, 2
    mov edi, ebp
    leave
    mov ebp, esp
    call .near
    mov ax, DATA0
    mov ss, ax
    mov esp, ebx
    mov eax, ecx
    say "push"
    mov eax, esi
    say "iret"
    mov eax, edi
    say "enter"
    mov eax, ebp
    say "leave"
    mov eax, [0x97ffc]
    say "in-memory"
    ; an exception while on it: the handler goes on with SS16, its frame below SP
    mov ax, SS16
    mov ss, ax
    mov esp, 0x7000
    mov dword [hooks + 4 * 3], .on_int3
    int3
    mov ecx, esp
    mov ax, DATA0
    mov ss, ax
    mov esp, ebx
    mov eax, ecx
    say "after-int3"
    mov eax, [.seen]
    say "in-handler"
    mov ax, EXPAND
    attempt mov ss, ax
    ret
.near:
    ret
.on_int3:
    mov [.seen], esp
    stc
    ret
.seen: dd 0
.ring3:
    user_data
    mov eax, esp
    int 0x31
    push 0xcafe0001
    mov eax, esp
    int 0x31
    mov eax, [0x80000 + 0xdffc]
    int 0x31
    pop eax
    call .deeper
    mov eax, esp
    int 0x31
    pushfd
    pop eax
    int 0x31
    sub esp, 0x10000
    mov eax, esp
    int 0x30
.deeper:
    mov eax, esp
    int 0x31
    ret
.ring3_wrap:
    user_data
    push eax
    push eax
    mov eax, esp
    int 0x31
    int 0x30
.ring3_int:
    user_data
    mov ecx, 3
.again:
    mov eax, esp
    int 0x31
    push ecx
    loop .again
    mov eax, esp
    int 0x30
bits 16
.ring3_16:
    mov ax, DATA3
    mov ds, ax
    mov eax, esp
    int 0x31
    pushf
    pop ax
    movzx eax, ax
    int 0x31
    push dword 0x12345678
    pop eax
    int 0x31
    call .near16
    mov ax, cs
    int 0x30
.near16:
    ret
bits 32
.descriptors:
    descriptor 0x90000, 0x00ffff, 0x92
    descriptor 0x80000, 0x00ffff, 0xf2
    descriptor 0, 0x0fffff, 0xfa
    descriptor 0, 0x0fffff, 0x96
finish_image
