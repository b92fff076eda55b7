; An LDT of 4 GiB: no selector reaches beyond its first 64 KiB, and what is beyond is nobody's.
%include "pm.inc"
body:
    mov dword [gdt + SPARE], 0x0000ffff ; base 200000h
    mov dword [gdt + SPARE + 4], 0x008f8220
    mov ax, SPARE
    lldt ax
    sldt eax
    say "ldt"
    mov dword [0x200000 + 0x1000], 0x5678ffff
    mov dword [0x200000 + 0x1004], 0x00cff234
    mov ecx, 50                         ; each load from a table just written makes a new copy of it
.turn:
    mov byte [0x200000 + 0x1007], cl
    mov ax, 0x1004
    mov fs, ax
    loop .turn
    mov eax, fs
    say "loaded"
    ret
finish_image
