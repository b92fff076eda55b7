; A mouse driver of the DOS kind, on top of the BIOS. [PTL] INT 15h C2h: the handler is called far with four
; words on the stack (status, X, Y, 0) and leaves them there; [PS2] "Mouse": reset answers AAh, 00h.
%include "common.inc"
main:
    mov ax, 0xc205
    mov bh, 3
    int 0x15
    call status
    result "initialized"
    mov ax, 0xc201
    int 0x15
    movzx eax, bx
    result "reset"
    mov ax, 0xc202
    mov bh, 5                           ; 100 a second
    int 0x15
    call status
    result "rate"
    mov ax, 0xc203
    mov bh, 3
    int 0x15
    call status
    result "resolution"
    mov ax, 0xc204
    mov bh, 0xff
    int 0x15
    movzx eax, bh
    result "type"
    mov ax, 0xc207
    mov bx, handler
    int 0x15
    call status
    result "handler"
    mov ax, 0xc200
    mov bh, 1
    int 0x15
    call status
    result "enabled"
    xor eax, eax
    result "move"                       ; the test moves the mouse now
.wait:
    hlt
    cmp byte [calls], 1
    jb .wait
    movzx eax, byte [calls]
    result "calls"
    movzx eax, word [buttons]
    result "packet"
    movzx eax, word [right]
    result "right"
    movzx eax, word [up]
    result "up"
    mov ax, 0xc200
    mov bh, 0
    int 0x15
    call status
    result "disabled"
    mov ax, 0xc206
    mov bh, 0
    int 0x15
    movzx eax, bl
    shl eax, 8
    mov al, cl
    shl eax, 8
    mov al, dl
    result "status"
    ret
status:
    setc al
    xchg al, ah
    movzx eax, ax
    ret
handler:
    push bp
    mov bp, sp
    push ax
    mov ax, [bp + 12]
    mov [cs:buttons], ax
    mov ax, [bp + 10]
    mov [cs:right], ax
    mov ax, [bp + 8]
    mov [cs:up], ax
    inc byte [cs:calls]
    pop ax
    pop bp
    retf
buttons: dw 0
right: dw 0
up: dw 0
calls: db 0
finish_image
