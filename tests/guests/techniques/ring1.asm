; Ring 1 of the guest's own, beside its ring 0: ports by IOPL and the bitmap of the TSS.
%define TSS_LIMIT 0x68 + 0x80
%include "pm.inc"
CODE1 equ SPARE | 1
DATA1 equ SPARE + 8 | 1
STACK1 equ 0x6700
%macro inner 1                          ; run a label in ring 1, DS of ring 1, until INT 30h
    mov [saved_esp], esp
    mov dword [resume], %%after
    mov ax, DATA1
    mov ds, ax
    mov es, ax
    push DATA1
    push STACK1
    push dword [user_flags]
    push CODE1
    push %1
    iret
%%after:
    mov ax, DATA0
    mov ds, ax
    mov es, ax
%endmacro
%macro ports 1                          ; flags
    mov dword [user_flags], %1
    inner .in_8
    inner .in_immediate
    inner .in_32
    inner .out_8
%endmacro
body:
    mov eax, DATA1
    say "ring-1"
    mov edi, TSS + 0x68
    mov ecx, 0x80
    mov al, 0xff
    rep stosb
    mov dword [TSS + 12], STACK1
    mov word [TSS + 16], DATA1
    mov dword [gdt + SPARE], 0x0000ffff
    mov dword [gdt + SPARE + 4], 0x00cfba00
    mov dword [gdt + SPARE + 8], 0x0000ffff
    mov dword [gdt + SPARE + 12], 0x00cfb200
    ports 2
    ports 0x1002
    ports 2
    and byte [TSS + 0x68 + 0x80 / 8], 0xfe
    and byte [TSS + 0x68 + 0xe9 / 8], 0xfd
    ports 2
    mov dx, 0x80                        ; ring 0 again: all ports are its own
    in al, dx
    mov eax, cs
    say "ring-0"
    ret
.in_8:
    mov edx, 0x80
    in al, dx
    mov eax, 0x11
    int 0x31
    int 0x30
.in_immediate:
    in al, 0x80
    mov eax, 0x12
    int 0x31
    int 0x30
.in_32:
    mov edx, 0x80
    in eax, dx
    mov eax, 0x14
    int 0x31
    int 0x30
.out_8:
    mov edx, 0x80
    mov eax, 0x21
    out dx, al
    int 0x31
    int 0x30
finish_image
