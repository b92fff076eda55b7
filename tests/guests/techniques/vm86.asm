; Virtual-8086 mode, [SDM3] chapter 20: entered by IRET, left by every event; what IOPL and the I/O bitmap guard.
%define TSS_LIMIT 0x68 + 0x400          ; a bitmap for ports below 2000h
%include "pm.inc"
VM equ 0x20000
%macro vm86 2                           ; run LABEL with these flags
    mov [saved_esp], esp
    mov dword [resume], %%after
    push 0x1111
    push 0x2222
    push 0
    push 0
    push 0
    push 0x5e00
    push VM | 2 | (%2)
    push 0
    push %1
    iret
%%after:
%endmacro
%macro both 1
    vm86 %1, 0
    vm86 %1, 0x3000
    vm86 %1, 0x3200
    vm86 %1, 0x0200
%endmacro
body:
    mov byte [TSS + 0x68 + 0x70 / 8], 0xfd ; port 71h only
    both .cli
    both .sti
    both .pushf
    both .popf
    both .int
    both .int3
    both .into
    both .iret
    both .hlt
    both .in
    both .in_refused
    both .in_word
    both .privileged
    both .undefined
    both .segments
    both .lock
    both .string
    both .far
    both .sensitive
    mov eax, [0x5e00 - 4]
    say "stack"
    call set_up_timer
    vm86 .loop, 0x200
    mov eax, [ticks]
    say "ticks-iopl-0"
    vm86 .loop, 0x3200
    mov eax, [ticks]
    say "ticks-iopl-3"
    hook 0x20, .on_one                  ; out of VM86, into another stack, and back
    vm86 .wait, 0x200
    vm86 .wait, 0x3200
    hook 13, .emulate                   ; a monitor of VM86 code, as every extender has it
    mov dword [.flags], 0x202
    vm86 .program, 0x200
    mov eax, [.flags]
    say "virtual-flags"
    ret
.on_one:
    mov al, 0x20
    out 0x20, al
    mov word [ebp + EIP], .woken
    stc
    ret
; #GP of VM86 code: CLI, STI, PUSHF and POPF on a virtual IF, INT by the real-mode table
.emulate:
    movzx eax, word [ebp + CS_]
    shl eax, 4
    add eax, [ebp + EIP]
    movzx ebx, word [ebp + SS_]
    shl ebx, 4
    mov al, [eax]
    inc dword [ebp + EIP]
    cmp al, 0xfa
    je .do_cli
    cmp al, 0xfb
    je .do_sti
    cmp al, 0x9c
    je .do_pushf
    cmp al, 0x9d
    je .do_popf
    dec dword [ebp + EIP]
    call log_event
    clc
    ret
.do_cli:
    and dword [.flags], ~0x200
    stc
    ret
.do_sti:
    or dword [.flags], 0x200
    stc
    ret
.do_pushf:
    sub word [ebp + ESP_], 2
    movzx edx, word [ebp + ESP_]
    mov eax, [ebp + FLAGS]
    and eax, ~0x200
    or eax, [.flags]
    mov [ebx + edx], ax
    stc
    ret
.do_popf:
    movzx edx, word [ebp + ESP_]
    add word [ebp + ESP_], 2
    movzx eax, word [ebx + edx]
    mov ecx, eax
    and ecx, 0x200
    mov [.flags], ecx
    and eax, 0xcd5
    and dword [ebp + FLAGS], ~0xcd5
    or [ebp + FLAGS], eax
    stc
    ret
.flags: dd 0
bits 16
.cli:
    cli
    pushf
    pop ax
    int 0x42
.sti:
    sti
    pushf
    pop ax
    int 0x42
.pushf:
    pushf
    pop ax
    pushfd
    pop eax
    and eax, ~0x20000                   ; VM is never in the image, [SDM2] PUSHF; the engine's own shows it
    int 0x42
.popf:
    push word 0x7ed7
    popf
    pushf
    pop ax
    cld
    hlt
.int:
    mov ax, 0x1234
    int 0x42
    hlt
.int3:
    int3
.into:
    mov al, 0x7f
    inc al
    into
    hlt
.iret:
    push word 0x0246
    push word 0
    push word .returned
    iret
.returned:
    pushf
    pop ax
    hlt
.hlt:
    hlt
.in:
    mov ax, 0x55aa
    in al, 0x71
    mov al, 0
    hlt
.in_refused:
    in al, 0x70
    hlt
.in_word:
    in ax, 0x71
    hlt
.privileged:
    mov eax, cr0
    hlt
.undefined:
    sldt ax                             ; not recognized in virtual-8086 mode
    hlt
.segments:
    mov ax, 0x0700
    mov es, ax
    mov ax, 0x1234
    push ax
    pop fs
    mov ax, fs
    shl eax, 16
    mov ax, es
    mov cx, ds
    mov bx, [es:0xc00]                  ; 7C00h
    xor ax, bx
    int 0x43
    hlt
.lock:
    db 0xf0
    nop
.string:
    mov si, 0x7c00
    mov di, 0x5000
    mov cx, 16
    cld
    rep movsb
    mov eax, [0x5000]
    int 0x43
    hlt
.far:
    call 0:.far_target
    mov ax, cs
    jmp 0:.far_jump
.far_target:
    mov bx, sp
    retf
.far_jump:
    xor bx, sp
    or ax, bx
    hlt
.sensitive:
    smsw ax
    sgdt [0x5010]
    sidt [0x5018]
    mov eax, [0x5012]
    add eax, [0x501a]
    mov ebx, [0x5010]
    xor ax, bx
    int 0x44
    hlt
.loop:
    jmp .loop
.wait:
    jmp .wait
.woken:
    mov ax, 0xbeef
    cli
    hlt
.program:
    cli
    pushf
    sti
    pushf
    pop ax
    pop bx
    shl eax, 16
    mov ax, bx
    push word 0x0ad7
    popf
    pushf
    pop bx
    cld
    hlt
bits 32
finish_image
