; Turns paging on and off, and protection, over and over; absurd CR3s while paging is off.
%include "pm.inc"
%ifndef TURNS
%define TURNS 10000
%endif
DIRECTORY equ 0x100000
body:
    mov edi, DIRECTORY
    mov ecx, 1023                       ; the cache needs a place; attack_memory leaves it none
    mov eax, 0x87
.large:
    stosd
    add eax, 0x400000
    loop .large
    mov eax, cr4
    or eax, 0x10
    mov cr4, eax
    mov ecx, TURNS
.paging:
    mov eax, ecx                        ; CR3 is not looked at yet
    ror eax, 7
    mov cr3, eax
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    inc dword [0x400000 + TURNS]
    and eax, 0x7fffffff
    mov cr0, eax
    loop .paging
    mov eax, [0x400000 + TURNS]
    say "paged"
    mov [.esp], esp
    mov ecx, TURNS / 10
.protection:
    jmp CODE16:.small
bits 16
.small:
    mov ax, DATA16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    jmp 0:.real
.real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    inc dword [.count]
    pushf
    pop bx
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword CODE0:.again
bits 32
.again:
    mov ax, DATA0
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov ss, ax
    mov esp, [.esp]
    loop .protection
    mov eax, [.count]
    say "real"
    ret
.esp: dd 0
.count: dd 0
finish_image
