; Long mode straight from real mode: CR0.PE and PG at once, with EFER.LME and CR4.PAE set before.
%define SECTORS 4
%include "common.inc"
main:
    cli
    mov dx, 0xe9
    mov al, 'r'
    out dx, al
    ; tables at 0x10000: PML4 0x10000 PDPT 0x11000 PD 0x12000
    mov ax, 0x1000
    mov es, ax
    xor di, di
    xor eax, eax
    mov cx, 0x3000/4
    rep stosd
    mov dword [es:0], 0x11003
    mov dword [es:0x1000], 0x12003
    mov dword [es:0x2000], 0x83
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, 0x10000
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    lgdt [g]
    mov eax, cr0
    or eax, 0x80000001
    mov cr0, eax
    jmp 8:lm
bits 64
lm: mov rax, 0x1122334455667788
    shr rax, 32
    mov dx, 0xe9
    mov al, 'L'
    out dx, al
    mov al, 10
    out dx, al
    mov dx, 0xf4
    mov al, 0
    out dx, al
    hlt
align 8
gt: dq 0
    dq 0x00209a0000000000
    dq 0x0000920000000000
g: dw 23
   dd gt
