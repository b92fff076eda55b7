; A flat binary in real mode: what a boot sector finds, though it has more than one sector, and the BIOS
; underneath. Assembled for the offset ORIGIN; SEGMENT is expected in CS, DS and ES.
bits 16
%ifndef ORIGIN
%define ORIGIN 0x7c00
%define SEGMENT 0
%endif
org ORIGIN
    pushf
    mov [disk], dl
    mov [segments], ds
    mov [segments + 2], es
    jmp main
%include "output.inc"
main:
    pop ax
    movzx eax, ax
    and eax, 0x200
    result "interrupts"
    xor eax, eax
    mov ax, cs
    sub ax, SEGMENT
    result "cs"
    mov eax, [segments]
    sub eax, SEGMENT * 0x10001
    result "ds-es"
    movzx eax, byte [disk]
    result "drive"
    xor eax, eax
    int 0x12
    cmp ax, 600
    setae al
    movzx eax, al
    result "memory"
    push es                             ; the drive can be read
    mov ax, 0x5000
    mov es, ax
    mov ax, 0x0201
    mov cx, 1
    mov dl, [disk]
    xor dh, dh
    xor bx, bx
    int 0x13
    mov eax, [es:0]
    pop es
    result "sector"
    sti                                 ; and the clock ticks
    push ds
    xor ax, ax
    mov ds, ax
    mov bx, [0x46c]
.tick:
    hlt
    cmp bx, [0x46c]
    je .tick
    pop ds
    mov eax, [last]
    result "last-word"
    mov dx, 0xf4
    xor al, al
    out dx, al
    hlt
disk db 0
segments dd 0
    times 1500 db 0
last dd 0x12345678
