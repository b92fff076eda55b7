; Big real mode: a data segment keeps the 4 GiB limit it was given in protected mode, [SDM3] §9.9.2, until
; it is loaded in protected mode again; loading it in real mode changes its base only. That the limit was
; 64 KiB before is not looked at: the engine checks no segment limits.
%include "common.inc"
FAR_ADDRESS equ 0x200000
main:
    in al, 0x92
    or al, 2
    and al, 0xfe
    out 0x92, al
    cli
    mov eax, [13 * 4]
    mov [old_gp], eax
    mov word [13 * 4], on_gp
    mov [13 * 4 + 2], cs
    lgdt [gdt]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp $ + 2
    mov bx, 8
    mov ds, bx
    mov es, bx
    and al, 0xfe
    mov cr0, eax
    jmp $ + 2
    xor bx, bx
    mov ds, bx
    mov es, bx
    mov dword [faults], 0
    call touch
    mov eax, [faults]
    result "faults-in-unreal-mode"
    mov eax, [dword FAR_ADDRESS]
    result "read-back"
    mov eax, [13 * 4]
    mov [gp_now], eax
    mov eax, [old_gp]
    mov [13 * 4], eax
    sti
    mov ah, 0x02                        ; the BIOS comes and goes; so do interrupts
    int 0x16
    mov ax, 0x0e41
    int 0x10
    hlt
    cli
    mov eax, [gp_now]
    mov [13 * 4], eax
    mov dword [faults], 0
    call touch
    mov eax, [faults]
    result "faults-after-the-bios"
    mov esi, FAR_ADDRESS                ; string instructions with 32-bit addresses
    mov edi, FAR_ADDRESS + 0x10000
    mov ecx, 4
    a32 rep movsb
    mov eax, [dword FAR_ADDRESS + 0x10000]
    result "moved"
    mov eax, [old_gp]
    mov [13 * 4], eax
    sti
    ret
touch:
    mov dword [dword FAR_ADDRESS], 0x12345678
.end:
    ret
on_gp:                                  ; a fault points to its instruction: go on after it
    inc dword [cs:faults]
    push bp
    mov bp, sp
    mov word [bp + 2], touch.end
    pop bp
    iret
gdt: dw 15
    dd table
table: dq 0, 0x00cf92000000ffff
old_gp: dd 0
gp_now: dd 0
faults: dd 0
finish_image
