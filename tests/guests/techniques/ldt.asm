; Local descriptor tables, [SDM3] §3.5.1: LLDT, selectors with TI, a table written while it is loaded, a null
; LDTR, limits, and segments of the LDT in ring 3.
%include "pm.inc"
LDT equ SPARE
LDT_2 equ SPARE + 8
NOT_PRESENT equ SPARE + 16
SMALL equ SPARE + 24
TABLE equ 0x4000
TABLE_2 equ 0x4800
L_DATA equ 0x04
L_BASED equ 0x0c
L_CODE equ 0x14
L_DATA3 equ 0x1f
L_CODE3 equ 0x27
L_CALL equ 0x2c
%macro entry 3                          ; table, index, the two halves
    mov dword [%1 + 8 * %2], %3 & 0xffffffff
    mov dword [%1 + 8 * %2 + 4], %3 >> 32
%endmacro
body:
    mov esi, .descriptors
    mov edi, gdt + SPARE
    mov ecx, 8
    rep movsd
    entry TABLE, 0, 0x00cf92000000ffff
    entry TABLE, 1, 0x00409200500000ff   ; 5000h, 256 bytes
    entry TABLE, 2, 0x00cf9a000000ffff
    entry TABLE, 3, 0x00cff2000000ffff
    entry TABLE, 4, 0x00cffa000000ffff
    entry TABLE, 5, 0x00008c0000080000   ; a call gate
    mov word [TABLE + 8 * 5], .through_gate
    entry TABLE_2, 0, 0x00409200580000ff ; 5800h
    entry TABLE_2, 1, 0x00409200581000ff
    xor eax, eax
    lldt ax
    mov ax, L_DATA
    attempt mov fs, ax
    sldt ax
    movzx eax, ax
    say "sldt-none"
    mov ax, NOT_PRESENT
    attempt lldt ax
    mov ax, DATA0
    attempt lldt ax
    mov ax, SPARE + 4
    attempt lldt ax
    mov ax, LDT
    attempt lldt ax
    sldt eax
    say "sldt"
    str ax
    movzx eax, ax
    say "str"
    mov ax, L_DATA
    attempt mov fs, ax
    mov ax, fs
    movzx eax, ax
    say "fs"
    mov ax, L_BASED
    attempt mov fs, ax
    mov dword [fs:0x10], 0x11223344
    mov eax, [0x5010]
    say "based"
    lar eax, [.based_selector]
    say "lar"
    lsl eax, [.based_selector]
    say "lsl"
    verw [.based_selector]
    setz al
    movzx eax, al
    say "verw"
    mov word [TABLE + 8 * 1 + 2], 0x5100 ; rewritten while loaded: FS stays until it is loaded again
    mov dword [fs:0x14], 0x55667788
    mov eax, [0x5014]
    say "still-old-base"
    mov ax, L_BASED
    attempt mov fs, ax
    mov dword [fs:0x14], 0x99aabbcc
    mov eax, [0x5114]
    say "new-base"
    mov byte [TABLE + 8 * 1 + 5], 0x12   ; not present
    attempt mov fs, ax
    mov byte [TABLE + 8 * 1 + 5], 0x98   ; execute-only
    mov ax, L_BASED
    attempt mov fs, ax
    mov byte [TABLE + 8 * 1 + 5], 0x92
    call L_CODE:.far
    say "far-call"
    call L_CALL:0
    say "gate"
    mov ax, LDT_2                        ; another table: the same selector is another segment
    lldt ax
    mov ax, L_DATA
    attempt mov fs, ax
    mov dword [fs:0], 0xabcdef01
    mov eax, [0x5800]
    say "second-table"
    mov ax, L_CODE
    attempt mov gs, ax                   ; beyond its limit
    mov ax, SMALL
    attempt lldt ax
    mov ax, L_BASED
    attempt mov fs, ax
    mov word [gdt + LDT + 2], TABLE_2    ; the descriptor of a loaded LDT is not looked at
    mov ax, LDT_2
    lldt ax
    mov ax, L_DATA
    attempt mov gs, ax
    mov word [gdt + LDT + 2], TABLE
    mov ax, LDT
    lldt ax
    user .ring3
    mov ax, 0
    attempt lldt ax
    mov ax, L_DATA3
    attempt mov fs, ax
    user .ring3_without
    mov ecx, 200                         ; as an emulator of Windows does: written at each turn
    xor edx, edx
    mov ax, LDT
    lldt ax
.turn:
    mov [TABLE + 8 * 1 + 2], cx
    mov ax, L_BASED
    mov fs, ax
    mov [fs:0x2000 + ecx], cl
    movzx eax, byte [0x2000 + ecx + ecx]
    add edx, eax
    loop .turn
    mov eax, edx
    say "turns"
    ret
.far:
    mov ax, cs
    movzx eax, ax
    retf
.through_gate:
    mov ax, cs
    shl eax, 16
    mov ax, 0x600d
    retf
.ring3:
    user_data
    mov ax, L_DATA3
    mov ds, ax
    mov eax, [0x5010]
    int 0x31
    sldt eax
    int 0x31
    mov ax, ds
    movzx eax, ax
    int 0x31
    jmp L_CODE3:.there
.there:
    mov ax, cs
    movzx eax, ax
    int 0x31
    lar eax, [.based_selector]
    setz al
    int 0x31
    mov ax, L_DATA                      ; DPL 0
    mov fs, ax
    int 0x30
.ring3_without:
    user_data
    mov ax, L_DATA3
    mov gs, ax
    int 0x30
.based_selector: dd L_BASED
.descriptors:
    descriptor TABLE, 0x2f, 0x82
    descriptor TABLE_2, 0x0f, 0x82
    descriptor TABLE, 0x2f, 0x02
    descriptor TABLE, 0x07, 0x82
finish_image
