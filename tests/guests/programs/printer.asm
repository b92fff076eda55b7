; A program that prints: INT 17h character by character, then the screen by INT 5. [PTL] INT 17h: AH bit 7
; not busy, bit 4 selected; INT 5 leaves 0 at 0050:0000.
%include "common.inc"
main:
    movzx eax, word [0x408]
    result "port"
    mov ah, 1
    xor dx, dx
    int 0x17
    mov si, text
.next:
    lodsb
    test al, al
    jz .done
    mov ah, 0
    xor dx, dx
    int 0x17
    test ah, 0x29
    jz .next
.done:
    mov ah, 2
    xor dx, dx
    int 0x17
    movzx eax, ah
    and al, 0x38                        ; out of paper, selected, error
    result "selected"
    int 5
    movzx eax, byte [0x500]
    result "print-screen"
    ret
text: db "PRINTED BY INT 17H", 13, 10, 0
finish_image
