; Ring 1 of the guest's own, beside its ring 0: ports by IOPL and the bitmap of the TSS, tables read to memory by
; a data segment of ring 1, a call gate, segments of ring 0 it may not have.
%define TSS_LIMIT 0x68 + 0x80
%include "pm.inc"
CODE1 equ SPARE | 1
DATA1 equ SPARE + 8 | 1
GATE equ SPARE + 16 | 1
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
    inner .ins
    inner .outs
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
    mov eax, .procedure
    mov [gdt + SPARE + 16], ax
    mov word [gdt + SPARE + 18], CODE0
    mov dword [gdt + SPARE + 20], 0xac00
    ports 2
    ports 0x1002
    ports 2
    and byte [TSS + 0x68 + 0x80 / 8], 0xfe
    and byte [TSS + 0x68 + 0xe9 / 8], 0xfd
    ports 2
    or byte [TSS + 0x68 + 0x80 / 8], 1
    mov dword [user_flags], 2
    inner .tables
    inner .through_the_gate
    inner .cli
    inner .load_ds
    inner .load_ss
    inner .load_rpl_0
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
.ins:
    mov edx, 0x80
    mov edi, 0x5000
    mov ecx, 4
    rep insb
    mov eax, edi
    int 0x31
    int 0x30
.outs:
    mov edx, 0xe9
    mov esi, .text
    mov ecx, 5
    rep outsb
    mov eax, ecx
    int 0x31
    int 0x30
.text: db "outs", 10
.tables:
    mov eax, ds
    int 0x31
    sgdt [.memory]
    movzx eax, word [.memory]
    int 0x31
    sidt [.memory]
    mov eax, [.memory + 2]
    int 0x31
    str [.memory]
    movzx eax, word [.memory]
    int 0x31
    sldt eax
    int 0x31
    int 0x30
.memory: dd 0, 0
.procedure:
    mov eax, cs
    in al, 0x80
    retf
.through_the_gate:
    call GATE:0
    and eax, 0xffffff00
    int 0x31
    mov eax, cs
    int 0x31
    in al, 0x80
    sti
.cli:
    cli
.load_ds:
    mov eax, DATA0 | 1
    mov fs, ax
    mov eax, fs
    int 0x31
    int 0x30
.load_ss:
    mov eax, DATA0
    mov ss, ax
    int 0x31
    int 0x30
.load_rpl_0:                            ; ring 1's own descriptor, whatever the RPL
    mov eax, DATA1 & ~3
    mov fs, ax
    mov eax, [fs:.text]
    int 0x31
    int 0x30
finish_image
