; A code descriptor with the L bit, which means nothing outside IA-32e mode: the code behind it is 32-bit code and
; reaches no more than any other. (As 64-bit code its first DEC would be a prefix, and it would read linear 2^40.)
%include "pm.inc"
body:
    mov dword [gdt + SPARE], 0x0000ffff
    mov dword [gdt + SPARE + 4], 0x00ef9a00
    pushfd
    push SPARE
    push .there
    iret
.there:
    xor eax, eax
    db 0x48                             ; DEC EAX; REX.W
    db 0xff, 0xc0                       ; INC EAX; INC RAX
    jz .out
    db 0x48, 0xbe                       ; MOV RSI, 2^40
    dq 0x10000000000
    db 0x8b, 0x46, 0x08                 ; MOV EAX, [RSI + 8]
    mov ebx, eax
    mov eax, 1
.out:
    push CODE0
    push .back
    retf
.back:
    say "turned-64-bit"
    ret
finish_image
