; Disk tests: INT 13h by CHS and by EDD packets, write and read back, and a polling IDE driver.

        bits    16
FIRST_HD        equ 0x80
IDE             equ 0x1f0               ; primary channel, command block
IDE_CONTROL     equ 0x3f6
IDE_BSY         equ 0x80
IDE_DRQ         equ 0x08
IDE_ERR         equ 0x01
CMD_READ        equ 0x20
CMD_IDENTIFY    equ 0xec
IDE_READS       equ 0x80000             ; status reads before a wait is given up

; CF set if there is no hard disk, and the test marked as skipped.
need_hard_disk:
        pusha
        push    es
        mov     ah, 0x15
        mov     dl, FIRST_HD
        mov     al, 0xff
        mov     cx, 0xffff
        int     0x13
        pop     es
        jc      .none
        cmp     ah, 3
        je      .end
.none:  mov     byte [skipped], 1
        stc
.end:   popa
        ret

; EAX = LBA -> CX, DH as INT 13h takes them for the first hard disk. CF set on error.
lba_to_chs:
        push    es
        push    di
        push    bx
        push    eax
        mov     ah, 0x08
        mov     dl, FIRST_HD
        int     0x13                    ; DH = last head, CL = sectors a track
        pop     eax
        jc      .end
        and     ecx, 63
        movzx   ebx, dh
        inc     bx
        xor     edx, edx
        div     ecx
        inc     dx
        push    dx                      ; sector
        xor     edx, edx
        div     ebx                     ; EAX = cylinder, DX = head
        mov     dh, dl
        pop     cx
        shl     ah, 6
        or      cl, ah
        mov     ch, al
        clc
.end:   pop     bx
        pop     di
        pop     es
        ret

; Fills the buffer with a value that is not the pattern.
spoil_buffer:
        pusha
        mov     di, BUFFER
        mov     cx, PATTERN_SECTORS * 256
        mov     ax, 0xdead
        rep     stosw
        popa
        ret

; Compares ECX dwords at SI with the pattern from EAX = its first sector. CF set if they differ.
check_pattern:
        shl     eax, 7
        imul    eax, PATTERN_STEP
.next:  cmp     [si], eax
        jne     .differ
        add     si, 4
        add     eax, PATTERN_STEP
        dec     ecx
        jnz     .next
        clc
        ret
.differ:
        mov     eax, [si]
        mov     [detail], eax
        stc
        ret

check_buffer:
        mov     si, BUFFER
        mov     ecx, PATTERN_SECTORS * 128
        mov     eax, PATTERN_LBA
        jmp     check_pattern

; Sector by sector, across a track where the geometry has short ones.
test_chs_read:
        call    need_hard_disk
        jc      .skip
        call    spoil_buffer
        mov     bx, BUFFER
        mov     eax, PATTERN_LBA
.next:  push    eax
        call    lba_to_chs
        mov     ax, 0x0201
        mov     dl, FIRST_HD
        jc      .fail
        int     0x13
        jc      .fail
        pop     eax
        add     bx, 512
        inc     eax
        cmp     eax, PATTERN_LBA + PATTERN_SECTORS
        jb      .next
        jmp     check_buffer
.fail:  mov     [detail + 1], ah
        pop     eax
        stc
        ret
.skip:  clc
        ret

; From the boot medium: a hard disk in sectors of 512 bytes, a CD in blocks of 2048 from the place
; of the boot image, which function 4B01h tells.
test_edd_read:
        call    spoil_buffer
        mov     dl, [boot_drive]
        cmp     dl, FIRST_CD
        jae     .cd
        mov     ah, 0x41
        mov     bx, 0x55aa
        int     0x13
        jc      .fail
        cmp     bx, 0xaa55
        jne     .fail
        mov     cx, PATTERN_SECTORS
        mov     eax, PATTERN_LBA
        jmp     .read
.cd:    mov     ax, 0x4b01
        mov     si, cd_packet
        int     0x13
        jc      .fail
        mov     cx, PATTERN_SECTORS / 4
        mov     eax, [cd_packet + 4]    ; first block of the boot image
        add     eax, PATTERN_LBA / 4
.read:  mov     bx, BUFFER
        mov     dl, [boot_drive]
        mov     dh, 0x42
        call    edd_transfer
        jc      .fail
        jmp     check_buffer
.fail:  movzx   eax, ah
        mov     [detail], eax
        stc
        ret

; Function DH on drive DL: CX blocks at EAX, memory at 0:BX. Returns what INT 13h does.
edd_transfer:
        mov     [packet + 2], cx
        mov     [packet + 4], bx
        mov     [packet + 8], eax
        mov     si, packet
        mov     ah, dh
        mov     al, 0                   ; no verify
        int     0x13
        ret

packet:         db 16, 0
                dw 0, 0, 0
                dq 0
cd_packet:      db 19
                times 18 db 0

; A scratch sector written by EDD takes a value it did not have and reads back by CHS.
test_write:
        call    need_hard_disk
        jc      .skip
        mov     eax, SCRATCH_LBA
        mov     cx, 1
        mov     bx, BUFFER2
        mov     dx, 0x4200 + FIRST_HD
        call    edd_transfer
        jc      .fail
        mov     eax, [BUFFER2]
        inc     eax                     ; not what is there now
        push    eax
        mov     di, BUFFER2
        mov     cx, 128
.fill:  stosd
        add     eax, PATTERN_STEP
        loop    .fill
        mov     eax, SCRATCH_LBA
        mov     cx, 1
        mov     bx, BUFFER2
        mov     dx, 0x4300 + FIRST_HD
        call    edd_transfer
        pop     edi
        jc      .fail
        call    spoil_buffer
        mov     eax, SCRATCH_LBA
        call    lba_to_chs
        jc      .fail
        mov     ax, 0x0201
        mov     bx, BUFFER
        mov     dl, FIRST_HD
        int     0x13
        jc      .fail
        mov     si, BUFFER
        mov     eax, edi
        mov     ecx, 128
        jmp     check_pattern.next
.fail:  movzx   eax, ah
        mov     [detail], eax
        stc
        ret
.skip:  clc
        ret

; Waits until BSY is clear, then until DRQ is set. CF set if it does not come or ERR is set.
ide_wait:
        push    ecx
        mov     ecx, IDE_READS
        mov     dx, IDE + 7
.wait:  in      al, dx
        test    al, IDE_BSY
        jnz     .again
        test    al, IDE_ERR
        jnz     .fail
        test    al, IDE_DRQ
        jnz     .end                    ; CF clear
.again: dec     ecx
        jnz     .wait
.fail:  movzx   eax, al
        mov     [detail], eax
        stc
.end:   pop     ecx
        ret

; AH = command, BL = sector count, CX = LBA, to the primary master with its interrupt off.
ide_command:
        mov     dx, IDE_CONTROL
        mov     al, 2                   ; nIEN
        out     dx, al
        mov     dx, IDE + 6
        mov     al, 0xe0                ; LBA, device 0
        out     dx, al
        push    cx
        mov     cx, 5
        mov     dx, IDE_CONTROL
.delay: in      al, dx                  ; 400 ns to select
        loop    .delay
        pop     cx
        mov     dx, IDE + 2
        mov     al, bl
        out     dx, al
        inc     dx
        mov     al, cl
        out     dx, al
        inc     dx
        mov     al, ch
        out     dx, al
        inc     dx
        mov     al, 0
        out     dx, al
        mov     dx, IDE + 7
        mov     al, ah
        out     dx, al
        ret

; One sector of PIO to ES:DI.
ide_read_data:
        call    ide_wait
        jc      .end
        mov     cx, 256
        mov     dx, IDE
        rep     insw
        clc
.end:   ret

; Acknowledges the drive and gives it its interrupt back; keeps CF.
ide_finish:
        pushf
        mov     dx, IDE + 7
        in      al, dx
        mov     dx, IDE_CONTROL
        mov     al, 0
        out     dx, al
        popf
        ret

; The drive knows LBA and holds at least the pattern; word 0 says it is not ATAPI.
test_ide_identify:
        call    need_hard_disk
        jc      .skip
        mov     ah, CMD_IDENTIFY
        mov     bl, 0
        xor     cx, cx
        call    ide_command
        mov     di, BUFFER
        call    ide_read_data
        jc      ide_finish
        call    ide_finish
        mov     eax, [BUFFER + 120]     ; words 60-61: sectors by LBA
        mov     [detail], eax
        cmp     eax, SCRATCH_LBA + 1
        jb      .end
        test    byte [BUFFER + 99], 2   ; word 49 bit 9: LBA
        jz      .fail
        test    byte [BUFFER + 1], 0x80 ; word 0 bit 15: ATAPI
        jz      .end
.fail:  stc
.end:   ret
.skip:  clc
        ret

test_ide_read:
        call    need_hard_disk
        jc      .skip
        call    spoil_buffer
        mov     ah, CMD_READ
        mov     bl, 2
        mov     cx, PATTERN_LBA
        call    ide_command
        mov     di, BUFFER
        call    ide_read_data
        jc      ide_finish
        call    ide_read_data
        jc      ide_finish
        call    ide_finish
        mov     si, BUFFER
        mov     ecx, 256
        mov     eax, PATTERN_LBA
        jmp     check_pattern
.skip:  clc
        ret
