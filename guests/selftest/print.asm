; Output: every character goes to the screen through INT 10h and to COM1, polled.

        bits    16
COM1            equ 0x3f8
LSR_THRE        equ 0x20
WAIT_READS      equ 0x8000              ; port reads before a serial wait is given up

; run ROUTINE, TITLE: calls the test, which returns CF set on failure, and prints its line.
%macro run 2
        call    %1
        call    report
        db      %2, 0
%endmacro

serial_init:
        mov     dx, COM1 + 1
        xor     al, al
        out     dx, al                  ; no interrupts
        mov     dx, COM1 + 3
        mov     al, 0x80                ; DLAB
        out     dx, al
        mov     dx, COM1
        mov     al, 1                   ; 115200
        out     dx, al
        inc     dx
        mov     al, 0
        out     dx, al
        mov     dx, COM1 + 3
        mov     al, 3                   ; 8N1
        out     dx, al
        mov     dx, COM1 + 4
        mov     al, 3                   ; DTR, RTS
        out     dx, al
        ret

; AL -> COM1. A port that never gets ready loses the character.
serial_put:
        pusha
        mov     ah, al
        mov     cx, WAIT_READS
        mov     dx, COM1 + 5
.wait:  in      al, dx
        test    al, LSR_THRE
        loopz   .wait
        mov     al, ah
        mov     dx, COM1
        out     dx, al
        popa
        ret

; AL -> screen in [colour], and COM1.
putc:   pusha
        call    serial_put
        cmp     al, ' '
        jb      .control
        push    ax
        mov     ah, 0x09                ; character and attribute, cursor stays
        mov     bh, 0
        mov     bl, [colour]
        mov     cx, 1
        int     0x10
        pop     ax
.control:
        mov     ah, 0x0e
        mov     bx, 7
        int     0x10
        popa
        ret

; DS:SI -> zero-terminated string. SI ends after the zero.
puts:   lodsb
        test    al, al
        jz      .end
        call    putc
        jmp     puts
.end:   ret

; AL in decimal.
put_number:
        push    ax
        aam                             ; AH = tens, AL = units
        test    ah, ah
        jz      .units
        xchg    al, ah
        call    .digit
        xchg    al, ah
.units: call    .digit
        pop     ax
        ret
.digit: add     al, '0'
        call    putc
        sub     al, '0'
        ret

; EAX in eight hexadecimal digits.
put_hex:
        mov     cx, 8
.next:  rol     eax, 4
        push    ax
        and     al, 15
        cmp     al, 10
        sbb     al, 0x69
        das                             ; the classic nibble to ASCII
        call    putc
        pop     ax
        loop    .next
        ret

; Prints the line of the test that just returned: CF its verdict, the title after the call.
; A test sets [skipped] where the machine lacks what it needs, [detail] to help on failure.
report: pop     si
        mov     byte [colour], 0x0a
        setnc   al
        movzx   ax, al
        add     [passed], al
        inc     byte [total]
        test    al, al
        jnz     .ok
        mov     byte [colour], 0x0c
        push    si
        mov     si, not_text
        call    puts
        pop     si
.ok:    push    ax
        push    si
        mov     si, ok_text
        call    puts
        mov     byte [colour], 0x07
        mov     al, [total]
        call    put_number
        mov     si, dash
        call    puts
        pop     si
        call    puts
        pop     ax
        push    si
        test    al, al
        jnz     .skip
        mov     si, detail_text
        call    puts
        mov     eax, [detail]
        call    put_hex
.skip:  cmp     byte [skipped], 0
        je      .end
        mov     si, skip_text
        call    puts
.end:   mov     si, newline
        call    puts
        mov     byte [skipped], 0
        mov     dword [detail], 0
        ret                             ; to after the title, which SI pushed

not_text:       db "not ", 0
ok_text:        db "ok ", 0
dash:           db " - ", 0
detail_text:    db ": found ", 0
skip_text:      db " # skip: no hard disk", 0
newline:        db 13, 10, 0
colour:         db 7
passed:         db 0
total:          db 0
skipped:        db 0
detail:         dd 0
