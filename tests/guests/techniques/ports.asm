; Ports from ring 3: IOPL 3, and the bitmap of the TSS, its end, its rewriting while in use; string moves.
%define TSS_LIMIT 0x68 + 0x80           ; ports to 3FFh, and the byte of ones
%include "pm.inc"
%macro port 3                           ; flags, port, label
    mov dword [user_flags], %1
    mov dword [.port], %2
    user %3
%endmacro
%macro all 2
    port %1, %2, .in_8
    port %1, %2, .in_16
    port %1, %2, .in_32
    port %1, %2, .out_8
%endmacro
body:
    mov edi, TSS + 0x68
    mov ecx, 0x80
    mov al, 0xff
    rep stosb
    all 2, 0x61
    all 0x3002, 0x61
    all 0x2002, 0x61
    all 0x1202, 0x80
    and byte [TSS + 0x68 + 0x80 / 8], 0xfe ; port 80h
    all 2, 0x80
    and byte [TSS + 0x68 + 0x80 / 8], 0xfc ; and 81h
    all 2, 0x80
    and byte [TSS + 0x68 + 0x80 / 8], 0xf0 ; to 83h
    all 2, 0x80
    and byte [TSS + 0x68 + 0x87 / 8], 0x7f ; 87h, and not 88h
    port 2, 0x87, .in_16
    port 2, 0x87, .in_8
    mov byte [TSS + 0x68 + 0x7f], 0
    port 2, 0x3f8, .in_8
    port 2, 0x3ff, .in_8                ; the byte behind lies within the limit
    port 2, 0x400, .in_8
    mov word [TSS + 0x66], 0x69         ; the bitmap a byte later
    port 2, 0x3f8, .in_8
    port 2, 0x3f0, .in_8
    mov word [TSS + 0x66], 0xffff
    port 2, 0x80, .in_8
    mov word [TSS + 0x66], 0x68
    port 2, 0xe9, .outs
    and byte [TSS + 0x68 + 0xe9 / 8], 0xfd
    port 2, 0xe9, .outs
    port 2, 0x80, .ins
    mov dword [user_flags], 2
    user .immediate
    mov dword [user_flags], 0x3002
    user .immediate
    mov dword [user_flags], 0x3002      ; ring 3 may take interrupts off, and cannot change IOPL
    user .flags
    mov dword [user_flags], 2
    user .flags
    mov dword [user_flags], 2
    user .cli
    user .sti
    user .hlt
    ret
.port: dd 0
.in_8:
    user_data
    mov edx, [.port]
    xor eax, eax
    in al, dx
    mov al, 0x11
    int 0x30
.in_16:
    user_data
    mov edx, [.port]
    in ax, dx
    mov eax, 0x22
    int 0x30
.in_32:
    user_data
    mov edx, [.port]
    in eax, dx
    mov eax, 0x44
    int 0x30
.out_8:
    user_data
    mov edx, [.port]
    in al, 0x61
    int 0x30
.outs:
    user_data
    mov edx, [.port]
    mov esi, .text
    mov ecx, 6
    rep outsb
    mov eax, ecx
    int 0x31
    int 0x30
.ins:
    user_data
    mov edx, [.port]
    mov edi, 0x5000
    mov ecx, 4
    rep insb
    mov eax, edi
    int 0x31
    int 0x30
.immediate:
    user_data
    in al, 0x80
    mov al, 0
    out 0x81, al
    in eax, 0x80
    mov eax, 1
    int 0x31
    in al, 0x84
    int 0x30
.flags:
    user_data
    push dword 0x3246
    popfd
    pushfd
    pop eax
    int 0x31
    push dword 0x0002
    popfd
    pushfd
    pop eax
    int 0x31
    pushf
    pop ax
    movzx eax, ax
    int 0x31
    int 0x30
.cli:
    cli
.sti:
    sti
.hlt:
    hlt
.text: db "ports", 10
finish_image
