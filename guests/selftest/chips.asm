; Tests of the timer as the BIOS shows it, of the keyboard controller and of the clock chip.

        bits    16
KBD_DATA        equ 0x60
KBD_STATUS      equ 0x64
KBD_OBF         equ 0x01
KBD_IBF         equ 0x02
CMOS_INDEX      equ 0x70
CMOS_DATA       equ 0x71
CMOS_UIP        equ 0x80
TICK_READS      equ 0x400000            ; port reads before the timer is given up
CHIP_READS      equ 0x40000

; Three timer interrupts reach a hook of INT 1Ch, and the BIOS counts at least as many.
test_bios_timer:
        cli
        mov     eax, [0x1c * 4]
        mov     [old_hook], eax
        mov     word [0x1c * 4], tick_hook
        mov     word [0x1c * 4 + 2], 0
        mov     dword [ticks], 0
        mov     ebx, [0x46c]
        sti
        mov     ecx, TICK_READS
.wait:  in      al, 0x61                ; a slow, harmless read
        cmp     dword [ticks], 3
        jae     .done
        dec     ecx
        jnz     .wait
.done:  cli
        mov     eax, [old_hook]
        mov     [0x1c * 4], eax
        mov     edx, [0x46c]
        sti
        mov     eax, [ticks]
        mov     [detail], eax
        cmp     eax, 3
        jb      .end
        sub     edx, ebx
        jz      .fail                   ; it may pass midnight: any change will do
        clc
        ret
.fail:  stc
.end:   ret

tick_hook:
        inc     dword [cs:ticks]
        iret

; AL -> controller command port, once it is ready. CF set on time-out.
kbd_command:
        push    ecx
        mov     ah, al
        mov     ecx, CHIP_READS
.wait:  in      al, KBD_STATUS
        test    al, KBD_IBF
        jz      .send
        dec     ecx
        jnz     .wait
        stc
        jmp     .end
.send:  mov     al, ah
        out     KBD_STATUS, al
        clc
.end:   pop     ecx
        ret

; AL <- controller output buffer. CF set on time-out.
kbd_read:
        push    ecx
        mov     ecx, CHIP_READS
.wait:  in      al, KBD_STATUS
        test    al, KBD_OBF
        jnz     .read
        dec     ecx
        jnz     .wait
        stc
        jmp     .end
.read:  in      al, KBD_DATA
        clc
.end:   pop     ecx
        ret

; The controller passes its self-test (AAh answers 55h). Its command byte is put back.
test_keyboard:
        cli
        mov     cx, 16
.drain: in      al, KBD_STATUS
        test    al, KBD_OBF
        jz      .empty
        in      al, KBD_DATA
        loop    .drain
.empty: mov     al, 0x20                ; read the command byte
        call    kbd_command
        jc      .end
        call    kbd_read
        jc      .end
        mov     bl, al
        mov     al, 0xaa
        call    kbd_command
        jc      .end
        call    kbd_read
        jc      .end
        movzx   eax, al
        mov     [detail], eax
        mov     al, 0x60                ; write the command byte
        call    kbd_command
        jc      .end
        mov     ecx, CHIP_READS
.wait:  in      al, KBD_STATUS
        test    al, KBD_IBF
        loopnz  .wait, ecx
        mov     al, bl
        out     KBD_DATA, al
        mov     al, 0xae                ; enable the keyboard
        call    kbd_command
        cmp     byte [detail], 0x55
        je      .end
        stc
.end:   sti
        ret

; AL = index -> AL = value.
cmos_read:
        out     CMOS_INDEX, al
        in      al, CMOS_DATA
        ret

; Outside an update, the time is BCD within its bounds, and INT 1Ah tells the same hour.
test_rtc:
        mov     ecx, CHIP_READS
.wait:  mov     al, 0x0a
        call    cmos_read
        test    al, CMOS_UIP
        jz      .ready
        dec     ecx
        jnz     .wait
        stc
        ret
.ready: mov     al, 0
        call    cmos_read
        mov     [detail], al
        cmp     al, 0x59
        ja      .fail
        mov     al, 2
        call    cmos_read
        mov     [detail + 1], al
        cmp     al, 0x59
        ja      .fail
        mov     al, 8                   ; month
        call    cmos_read
        mov     [detail + 2], al
        dec     al
        cmp     al, 0x11
        ja      .fail
        mov     ah, 0x02
        int     0x1a
        jc      .end
        mov     [detail + 3], ch
        cmp     ch, 0x23
        ja      .fail
        mov     al, ch
        and     al, 15
        cmp     al, 10                  ; CF set when a digit
        cmc
        ret
.fail:  stc
.end:   ret

old_hook:       dd 0
ticks:          dd 0
