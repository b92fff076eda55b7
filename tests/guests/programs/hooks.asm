; A program of the DOS kind: takes INT 8, INT 9 and INT 1Ch, chains to the BIOS where it has to,
; and counts. [PTL] INT 8 calls INT 1Ch at every tick; INT 9 reads port 60h, INT 16h gives the key.
%include "common.inc"
TICKS equ 9
main:
    cli
    mov eax, [8 * 4]
    mov [old_tick], eax
    mov eax, [9 * 4]
    mov [old_key], eax
    mov word [8 * 4], on_tick
    mov [8 * 4 + 2], cs
    mov word [9 * 4], on_key
    mov [9 * 4 + 2], cs
    mov word [0x1c * 4], on_user_tick
    mov [0x1c * 4 + 2], cs
    mov eax, [0x46c]
    mov [before], eax
    sti
.wait:
    hlt
    mov eax, [0x46c]
    sub eax, [before]
    cmp eax, TICKS
    jb .wait
    cli
    mov eax, [0x46c]
    sub eax, [before]
    sub eax, [ticks]
    result "ticks-less-int8"
    mov eax, [ticks]
    sub eax, [user_ticks]
    result "int8-less-int1c"
    mov eax, [in_service]
    result "in-service"                 ; IRQ 0 is, inside INT 1Ch
    sti
    xor eax, eax
    result "type"                       ; the test strikes a key now
    mov ah, 0
    int 0x16
    movzx eax, ax
    result "key"
.released:
    cmp byte [codes], 2
    jb .released
    cli
    movzx eax, word [seen]
    result "codes"
    mov ah, 1                           ; the ring is empty again
    int 0x16
    setz al
    movzx eax, al
    result "empty"
    mov eax, [old_tick]
    mov [8 * 4], eax
    mov eax, [old_key]
    mov [9 * 4], eax
    sti
    ret
on_tick:
    inc dword [cs:ticks]
    jmp far [cs:old_tick]
on_user_tick:
    inc dword [cs:user_ticks]
    push ax
    mov al, 0x0b
    out 0x20, al
    in al, 0x20
    mov [cs:in_service], al
    mov al, 0x0a
    out 0x20, al
    pop ax
    iret
on_key:
    push ax
    push bx
    in al, 0x60
    movzx bx, byte [cs:codes]
    mov [cs:seen + bx], al
    inc byte [cs:codes]
    pop bx
    pop ax
    jmp far [cs:old_key]
old_tick: dd 0
old_key: dd 0
before: dd 0
ticks: dd 0
user_ticks: dd 0
in_service: dd 0
codes: dw 0
seen: times 16 db 0
finish_image
