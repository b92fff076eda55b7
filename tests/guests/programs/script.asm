; Carries out a list of operations that the test puts behind it, and tells what came of each on port E9h:
; for software that is to give the same answers on other machines. An operation is a byte and its operands:
;   0 end                          1 INT n with EAX EBX ECX EDX SI DI BP ES: prints them and FLAGS (CF, ZF)
;   2 OUT port, byte               3 IN port, byte: prints it
;   4 store a byte at seg:off      5 load n bytes from seg:off, a byte at a time: prints them
;   6 store n bytes, counting up   7 OUT port, word             8 IN port, word: prints it
;   9 sum of n bytes from seg:off: prints it
%define SECTORS 60
%include "common.inc"
main:
    mov bp, list
.next:
    mov si, bp
    cld
    xor eax, eax
    lodsb
    mov bp, si
    cmp al, 1
    je call_interrupt
    jb .end
    cmp al, 2
    je out_byte
    cmp al, 3
    je in_byte
    cmp al, 4
    je store
    cmp al, 5
    je load
    cmp al, 6
    je fill
    cmp al, 7
    je out_word
    cmp al, 8
    je in_word
    jmp sum
.end:
    ret
call_interrupt:
    lodsb
    mov [.number], al
    mov eax, [si]
    mov ebx, [si + 4]
    mov ecx, [si + 8]
    mov edx, [si + 12]
    mov di, [si + 18]
    mov es, [si + 22]
    push word [si + 20]
    push word [si + 16]
    add si, 24
    mov [resume], si
    pop si
    pop bp
    push ds
    jmp $ + 2                           ; the number below is code
    db 0xcd
.number: db 0
    pushf
    push bp
    push di
    push si
    push edx
    push ecx
    push ebx
    push eax
    mov ax, cs
    mov ds, ax
    mov ax, es
    call print_word
    mov cx, 4
.register:
    pop eax
    call print_dword
    loop .register
    mov cx, 3
.short_register:
    pop ax
    call print_word
    loop .short_register
    pop ax
    and ax, 0x41                        ; ZF, CF
    call print_word
    pop ds
    xor ax, ax
    mov es, ax
    mov bp, [resume]
    jmp line
out_byte:
    lodsw
    mov dx, ax
    lodsb
    out dx, al
    jmp silent
out_word:
    lodsw
    mov dx, ax
    lodsw
    out dx, ax
    jmp silent
in_byte:
    lodsw
    mov bp, si
    mov dx, ax
    in al, dx
    call print_byte
    jmp line
in_word:
    lodsw
    mov bp, si
    mov dx, ax
    in ax, dx
    call print_word
    jmp line
place:                                  ; ES:DI and CX
    lodsw
    mov es, ax
    lodsw
    mov di, ax
    lodsw
    mov cx, ax
    ret
store:
    call place
    mov [es:di], cl
    jmp silent
fill:
    call place
    mov al, 0
.byte:
    mov [es:di], al
    inc di
    inc al
    loop .byte
    jmp silent
load:
    call place
    mov bp, si
.byte:
    mov al, [es:di]
    inc di
    call print_byte
    loop .byte
    jmp line
sum:
    call place
    mov bp, si
    xor ebx, ebx
.byte:
    rol ebx, 1
    movzx eax, byte [es:di]
    add ebx, eax
    inc di
    loop .byte
    mov eax, ebx
    shr eax, 16
    call print_word
    mov ax, bx
    call print_word
line:
    mov al, 10
    out 0xe9, al
    jmp main.next
silent:
    mov bp, si
    jmp main.next
print_dword:
    rol eax, 16
    call print_halves
    rol eax, 16
print_word:
    call print_halves
    push ax
    mov al, ' '
    out 0xe9, al
    pop ax
    ret
print_halves:
    push ax
    mov al, ah
    call print_byte
    pop ax
print_byte:
    push ax
    push ax
    shr al, 4
    call .digit
    pop ax
    and al, 15
    call .digit
    pop ax
    ret
.digit:
    cmp al, 10
    sbb al, 0x69
    das
    out 0xe9, al
    ret
resume: dw 0
list:
