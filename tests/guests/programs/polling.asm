; A program that never lets an interrupt in: it asks the chips. [8254] mode 0 raises OUT at the terminal
; count; [8259A] an unmasked or masked request stands in IRR; [MC146818] UIP falls when the second is over.
%include "common.inc"
main:
    cli
    mov al, 0xff                        ; every line masked: requests are seen all the same
    out 0x21, al
    in al, 0x61                         ; channel 2: gate on, speaker off
    and al, 0xfc
    or al, 1
    out 0x61, al
    mov al, 0xb0                        ; mode 0, both bytes: 11932 periods are 10 ms
    out 0x43, al
    mov al, 0x9c
    out 0x42, al
    mov al, 0x2e
    out 0x42, al
    in al, 0x61
    and eax, 0x20
    result "out2-before"
    xor ecx, ecx
.out2:
    in al, 0x61
    test al, 0x20
    loopz .out2, ecx
    in al, 0x61
    and eax, 0x20
    result "out2-after"
    mov al, 0                           ; latch channel 0 twice
    out 0x43, al
    in al, 0x40
    mov bl, al
    in al, 0x40
    mov bh, al
    mov cx, 50
.spin:
    in al, 0x80
    loop .spin
    mov al, 0
    out 0x43, al
    in al, 0x40
    mov dl, al
    in al, 0x40
    mov dh, al
    sub bx, dx                          ; counted down by some, perhaps past 0
    setnz al
    movzx eax, al
    result "count-moves"
    call second                         ; from one second of the clock to the next
    call drop_request
    xor ebp, ebp
.ticking:
    mov ecx, 4000                       ; some ten microseconds, so as not to ask too often
.pause:
    dec ecx
    jnz .pause
    mov al, 0x0a                        ; IRR
    out 0x20, al
    in al, 0x20
    test al, 1
    jz .no_tick
    inc ebp
    call drop_request
.no_tick:
    mov al, 0
    out 0x70, al
    in al, 0x71
    cmp al, [last]
    je .ticking
    lea eax, [ebp - 17]                 ; 18.2 a second: 18 or 19, the phase decides
    cmp eax, 3
    setb al
    movzx eax, al
    result "ticks-a-second"
    mov dx, 0x3fd                       ; [16550D] nothing received, room to send
    in al, dx
    and eax, 0x61
    result "uart-idle"
    ret
second:
    mov al, 0
    out 0x70, al
    in al, 0x71
    mov [last], al
.same:
    mov ecx, 4000
.pause:
    dec ecx
    jnz .pause
    mov al, 0
    out 0x70, al
    in al, 0x71
    cmp al, [last]
    je .same
    mov [last], al
    ret
drop_request:                           ; take IRQ 0 as a polled processor does: OCW3 poll, then EOI
    mov al, 0xfe
    out 0x21, al
    mov al, 0x0c
    out 0x20, al
    in al, 0x20
    mov al, 0x20
    out 0x20, al
    mov al, 0xff
    out 0x21, al
    ret
last: db 0
finish_image
