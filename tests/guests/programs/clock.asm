; The clock chip through the BIOS: an event wait, a plain wait, an alarm. [PTL] INT 15h 83h and 86h,
; INT 1Ah 02h, 06h and 07h. Times are measured in ticks of 54.9 ms.
%include "common.inc"
main:
    mov byte [flag], 0
    mov ax, 0x8300                      ; half a second: 9 ticks
    mov cx, 7
    mov dx, 0xa120
    mov bx, flag
    mov esi, [0x46c]
    int 0x15
    setc al
    movzx eax, al
    result "event-refused"
    mov ax, 0x8300
    mov cx, 7
    mov dx, 0xa120
    mov bx, flag
    int 0x15
    setc al
    movzx eax, al
    result "second-event-refused"
.event:
    hlt
    test byte [flag], 0x80
    jz .event
    mov eax, [0x46c]
    sub eax, esi
    call about_nine
    result "event-time"
    mov esi, [0x46c]
    mov ah, 0x86
    mov cx, 7
    mov dx, 0xa120
    int 0x15
    mov eax, [0x46c]
    sub eax, esi
    call about_nine
    result "wait-time"
    mov word [0x4a * 4], on_alarm
    mov [0x4a * 4 + 2], cs
    mov ah, 2
    int 0x1a
    mov al, dh                          ; two seconds from now, which may be in the next minute
    call add_second
    call add_second
    mov dh, al
    mov ah, 6
    int 0x1a
    setc al
    movzx eax, al
    result "alarm-refused"
    mov ah, 6
    int 0x1a
    setc al
    movzx eax, al
    result "second-alarm-refused"
    mov edi, [0x46c]
    add edi, 19 * 4                     ; and no longer than four
.alarm:
    hlt
    cmp byte [alarms], 0
    jne .rung
    cmp [0x46c], edi
    jb .alarm
.rung:
    movzx eax, byte [alarms]
    result "alarms"
    mov ah, 7
    int 0x1a
    mov al, 0x0b
    out 0x70, al
    in al, 0x71
    and eax, 0x60
    result "clock-interrupts-left"
    ret
; EAX = 1 if EAX is 8 to 11
about_nine:
    sub eax, 8
    cmp eax, 4
    setb al
    movzx eax, al
    ret
; Add a second to the BCD seconds AL and carry into the minutes CL (and the hours CH, until 23:59)
add_second:
    add al, 1
    daa
    cmp al, 0x60
    jb .done
    xor al, al
    xchg al, cl
    add al, 1
    daa
    xchg al, cl
    cmp cl, 0x60
    jb .done
    xor cl, cl
    xchg al, ch
    add al, 1
    daa
    xchg al, ch
.done:
    ret
on_alarm:
    inc byte [cs:alarms]
    iret
flag: db 0
alarms: db 0
finish_image
