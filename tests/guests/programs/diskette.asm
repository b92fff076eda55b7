; A: is written, read and formatted through INT 13h, [PTL]; the program came from the hard disk.
%include "common.inc"
BUFFER equ 0x9000
main:
    mov ah, 8
    xor dl, dl
    xor di, di
    int 0x13
    push ds
    pop es
    movzx eax, bl
    shl eax, 16
    mov ax, cx
    result "type-and-last"
    movzx eax, dx
    result "heads-and-drives"
    mov ah, 0
    xor dl, dl
    int 0x13
    mov di, BUFFER
    mov cx, 256
    mov ax, 0xa55a
    rep stosw
    mov ax, 0x0301
    mov cx, 0x0102                      ; cylinder 1, sector 2
    mov dx, 0x0100                      ; head 1, A:
    mov bx, BUFFER
    call again
    result "written"
    mov word [BUFFER], 0
    mov ax, 0x0201
    call again
    result "read"
    movzx eax, word [BUFFER]
    result "data"
    mov di, BUFFER                      ; address fields of cylinder 1, head 1
    mov al, 1
.field:
    mov byte [di], 1
    mov byte [di + 1], 1
    mov [di + 2], al
    mov byte [di + 3], 2
    add di, 4
    inc al
    cmp al, 18
    jbe .field
    mov ax, 0x0512
    mov cx, 0x0101
    call again
    result "formatted"
    mov ax, 0x0201
    mov cx, 0x0102
    call again
    mov eax, [BUFFER]
    result "fill"
    mov ax, 0x0201
    mov cx, 0x0113                      ; there is no sector 19
    call again
    test eax, eax
    setnz al
    movzx eax, al
    result "no-sector-19"
    ret
; INT 13h as programs call it, up to three times, since the first may tell of a changed disk; EAX = AH
again:
    mov bp, 3
.try:
    pusha
    int 0x13
    mov [result_of], ah
    popa
    jnc .ok
    dec bp
    jz .ok
    pusha
    mov ah, 0
    int 0x13
    popa
    jmp .try
.ok:
    movzx eax, byte [result_of]
    ret
result_of: db 0
finish_image
