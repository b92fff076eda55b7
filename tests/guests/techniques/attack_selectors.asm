; Loads selectors of both tables into every segment register, LTR and LLDT, jumps and calls to them, with a GDT
; it rewrites all the while; LGDT and LIDT at absurd bases, INT of every vector with a broken IDT.
%include "pm.inc"
%ifndef STRIDE
%define STRIDE 1
%endif
%macro load 1
    mov dword [resume], %%after
    mov ax, si
    mov %1, ax
%%after:
%endmacro
%macro attempt_skip 1+
    mov dword [resume], %%after
    %1
%%after:
%endmacro
TABLE equ 0x100000                      ; a GDT of 64 KiB
LDT_TABLE equ 0x110000
LDT equ SPARE
body:
    mov edi, TABLE                      ; 8192 descriptors of every type
    mov ebx, 0x12345
    mov ecx, 32768
.random:
    imul ebx, ebx, 1103515245
    add ebx, 12345
    mov eax, ebx
    shr eax, 8
    xor eax, ebx
    stosd
    loop .random
    mov esi, gdt
    mov edi, TABLE
    mov ecx, SPARE / 4
    rep movsd
    mov dword [TABLE + LDT], 0x0000ffff
    mov dword [TABLE + LDT + 4], 0x00008211
    lgdt [.whole]
    mov ax, LDT
    lldt ax
    hook 10, skip
    hook 11, skip
    hook 12, skip
    hook 13, skip
    hook 14, skip
    xor esi, esi
.next:
    mov eax, esi                        ; rewrite what will be loaded soon
    and eax, 0xfff8
    cmp eax, 0x60
    jb .keep
    rol byte [TABLE + eax + 5], 1
.keep:
    load ds
    mov ax, DATA0
    mov ds, ax
    load es
    load fs
    load gs
    mov ax, DATA0
    mov es, ax
    mov [.esp], esp
    load ss
    mov ax, DATA0
    mov ss, ax
    mov esp, [.esp]
    lar eax, esi
    lsl eax, esi
    verr si
    verw si
    test esi, 7 * STRIDE
    jnz .no_task
    mov ax, si
    attempt_skip lldt ax
    mov ax, LDT
    attempt_skip lldt ax
.no_task:
    add esi, 4 * STRIDE
    cmp esi, 0x10000
    jb .next
    say "loaded"
    ; absurd bases; the handler needs a GDT only when something faults, so each is brief
    mov esi, .bases
    mov ecx, 12
.table:
    lodsd
    mov [.odd + 2], eax
    lgdt [.odd]
    sgdt [.stored]
    lgdt [.whole]
    lidt [.odd]
    sidt [.stored]
    lidt [idtr]
    loop .table
    say "bases"
    ; all vectors by gates of every type; what cannot be entered is #GP, #NP or #SS
    mov ebx, 0x20
.vector:
    mov eax, [IDT + ebx * 8 + 4]
    push eax
    mov al, bl
    and al, 0x1d                        ; none that may be in an IDT, but task gates to no task
    or al, 0x80
    mov [IDT + ebx * 8 + 5], al         ; a type of its own
    mov byte [.int + 1], bl
    mov [.esp], esp
    mov [saved_esp], esp
    mov dword [resume], .after_int
.int:
    int 0
.after_int:
    mov esp, [.esp]
    pop eax
    mov [IDT + ebx * 8 + 4], eax
    inc ebx
    cmp ebx, 0x100
    jb .vector
    say "vectors"
    ret
.esp: dd 0
.stored: dw 0
    dd 0
.odd: dw 0xffff
    dd 0
.whole: dw 0xffff
    dd TABLE
.bases: dd 0, 1, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff, 0xffff0000, 0xa0000, 0xfee00000, 0x1000000, 0xfffffffc, 3
skip:
    mov eax, [resume]
    mov [ebp + EIP], eax
    stc
    ret
finish_image
