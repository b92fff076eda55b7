; A program with drivers of its own, all by interrupts: timer, speaker, clock, serial port, disk, and floppy
; controller with its DMA channel. The BIOS only loads it. What the chips owe it:
; [8254] mode 0 raises OUT once; channel 2 counts in mode 3 while its gate is up; read-back gives OUT and the mode
; [PIIX] port 61h: bits 0 and 1 are the gate and the speaker's data, 5 is OUT 2, 4 toggles with every refresh
; [MC146818] rate 6 is 1024 Hz; reading register C (PF and IRQF are C0h) ends the request
; [16550D] table "Interrupt control": 2 is THR empty, 4 received data; looped back, what is sent is received
; [ATA-6] §9.5, §9.6 PIO data-in: an interrupt for each sector there is to take; PIO data-out: none for the first, one when
;   each has been taken; reading Status ends it; nIEN holds INTRQ back
; [82077AA] after a reset SENSE INTERRUPT STATUS gives C0h-C3h for the four drives polled, after RECALIBRATE and SEEK
;   20h (seek end) and the cylinder, with nothing to tell 80h; a result phase names the sector that would be next
; [8237A] at terminal count the channel's count is FFFFh, its address past the last byte (within 64 KiB: 0000h at the
;   end of a page), its bit in the status set until read
; [8259A] a request whose input falls before the acknowledge is none; should INTA find none, it yields level 7
;   with its ISR bit clear, on the slave with the cascade in service on the master
%define SECTORS 16
%include "common.inc"
DMA_BUFFER equ 0x9000                   ; 512 bytes at the end of which nothing may change
EDGE equ 0x1fe00                        ; a buffer that ends with its 64 KiB
DISK_BUFFER equ 0xa000
LBA equ 100                             ; a sector of the disk behind the program
%macro outb 2
    mov al, %2
%if %1 < 256
    out %1, al
%else
    mov dx, %1
    out dx, al
%endif
%endmacro
%macro counted 2                        ; variable, name: and zero it
    mov eax, [%1]
    result %2
    mov dword [%1], 0
%endmacro
%macro hook 2                           ; vector, handler
    mov word [%1 * 4], %2
    mov [%1 * 4 + 2], cs
%endmacro
main:
    cli
    hook 0x08, on_timer
    hook 0x0c, on_serial
    hook 0x0e, on_floppy
    hook 0x0f, on_spurious
    hook 0x70, on_clock
    hook 0x76, on_disk
    hook 0x77, on_spurious_slave
    outb 0x21, 0xfb                     ; only what a driver asks for
    outb 0xa1, 0xff
    call timer
    call speaker
    call clock
    call serial
    call disk
    call floppy
    call spurious
    ret

; --- the 8254

timer:
    outb 0x43, 0x30                     ; channel 0, mode 0: once after 5966 periods, 5 ms
    outb 0x40, 0x4e
    outb 0x40, 0x17
    outb 0x21, 0xfa
    mov ebx, ticks
    call await
    call let_it_come
    counted ticks, "one-shot"
    outb 0x43, 0xc2                     ; read back: status of channel 0
    in al, 0x40
    and eax, 0xbf                       ; OUT, both bytes, mode 0, binary; whether the count is loaded is not asked
    result "one-shot-status"
    outb 0x43, 0x34                     ; rate generator again, 11932: 10 ms
    outb 0x40, 0x9c
    outb 0x40, 0x2e
    mov ecx, 3
.tick:
    mov dword [ticks], 0
    mov ebx, ticks
    call await
    loop .tick, ecx
    outb 0x21, 0xfb
    mov eax, [ticks]
    result "last-of-3"
    mov dword [ticks], 0
    ret

; --- channel 2 and port 61h

speaker:
    in al, 0x61
    and al, 0xfc
    out 0x61, al                        ; the gate is low: mode 3 keeps OUT high
    outb 0x43, 0xb6
    outb 0x42, 0x9c
    outb 0x42, 0x2e
    in al, 0x61
    and eax, 0x23
    result "gate-low"
    outb 0x43, 0xe8                     ; read back the status of channel 2
    in al, 0x42
    and eax, 0xbf
    result "channel-2-status"
    in al, 0x61
    or al, 3
    out 0x61, al
    in al, 0x61
    and eax, 3
    result "gate-and-data"
    xor ebx, ebx                        ; OUT both ways
    mov ecx, 100000
.square:
    in al, 0x61
    and al, 0x20
    shr al, 5
    movzx edx, al
    bts ebx, edx
    cmp bl, 3
    loopne .square, ecx
    mov eax, ebx
    result "square-wave"
    xor ebx, ebx                        ; [82371AB] port 61h bit 4 toggles with every refresh
    mov ecx, 100000
.refresh:
    in al, 0x61
    and al, 0x10
    shr al, 4
    movzx edx, al
    bts ebx, edx
    cmp bl, 3
    loopne .refresh, ecx
    mov eax, ebx
    result "refresh"
    outb 0x43, 0xd8                     ; latch the count of channel 2: it is within what was loaded
    in al, 0x42
    mov bl, al
    in al, 0x42
    mov bh, al
    dec bx
    cmp bx, 11932
    setb al
    movzx eax, al
    result "count-within"
    in al, 0x61
    and al, 0xfc
    out 0x61, al
    in al, 0x61
    and eax, 3
    result "speaker-off"
    ret

; --- the clock chip: IRQ 8 through the slave

clock:
    outb 0x70, 0x0a
    in al, 0x71
    and al, 0xf0
    or al, 6
    mov ah, al
    outb 0x70, 0x0a
    mov al, ah
    out 0x71, al
    outb 0x70, 0x0c
    in al, 0x71
    outb 0x70, 0x0b
    in al, 0x71
    mov [mode], al
    or al, 0x40
    mov ah, al
    outb 0x70, 0x0b
    mov al, ah
    out 0x71, al
    outb 0xa1, 0xfe
    mov ecx, 8
.period:
    mov dword [periods], 0
    mov ebx, periods
    call await
    loop .period, ecx
    outb 0x70, 0x0b
    mov al, [mode]
    out 0x71, al
    outb 0xa1, 0xff
    mov eax, [periods]
    result "eighth-period"
    movzx eax, byte [register_c]
    and al, 0xc0
    result "register-c"
    outb 0x20, 0x0b                     ; neither 8259 has anything in service
    in al, 0x20
    mov ah, al
    outb 0xa0, 0x0b
    mov bl, ah
    in al, 0xa0
    mov ah, bl
    movzx eax, ax
    result "in-service"
    ret

; --- the UART

serial:
    outb 0x3fb, 0x80
    outb 0x3f8, 1
    outb 0x3f9, 0
    outb 0x3fb, 3
    outb 0x3fa, 0                       ; no FIFO: an interrupt a byte
    outb 0x3fc, 0x1f                    ; loopback
    mov dx, 0x3f8
    in al, dx
    mov dx, 0x3fa
    in al, dx
    outb 0x21, 0xeb
    mov byte [to_send], 5
    outb 0x3f9, 3                       ; received data, THR empty
    mov ebx, left_to_receive
.wait:
    call let_it_come
    cmp byte [received_bytes], 5
    jb .again
    jmp .done
.again:
    inc word [tries]
    cmp word [tries], 200
    jb .wait
.done:
    call let_it_come
    outb 0x3f9, 0
    outb 0x3fc, 0x0b
    outb 0x21, 0xfb
    movzx eax, byte [received_bytes]
    result "received"
    mov eax, [received]
    result "loopback"
    mov eax, [empty_interrupts]         ; one as it is allowed, and one after each byte
    result "thr-empty"
    movzx eax, byte [other_causes]
    result "other-causes"
    ret

; --- the disk: IRQ 14

disk:
    outb 0x21, 0xfb
    outb 0xa1, 0xbf
    outb 0x3f6, 0
    mov dword [disks], 0
    mov al, 0xec
    call command
    call expect
    counted disks, "identify-interrupts"
    movzx eax, byte [disk_status]
    and al, 0x89
    result "identify-status"
    call fetch
    mov eax, [DISK_BUFFER + 60 * 2]
    result "sectors"
    mov di, DISK_BUFFER                 ; two sectors of a pattern
    mov cx, 512
    mov ax, 0x1234
.pattern:
    mov [di], ax
    add ax, 0x0101
    add di, 2
    loop .pattern
    mov byte [blocks], 2
    mov al, 0x30
    call command
    call not_busy
    mov eax, [disks]                    ; the first block is asked for by DRQ alone
    result "write-first"
    mov si, DISK_BUFFER
    call put
    call expect
    counted disks, "write-second"
    call put
    call expect
    counted disks, "write-end"
    movzx eax, byte [disk_status]
    and al, 0x89
    result "write-status"
    mov di, DISK_BUFFER
    mov cx, 512
    xor ax, ax
    rep stosw
    mov byte [blocks], 2
    mov al, 0x20
    call command
    call expect
    counted disks, "read-first"
    call fetch
    call expect
    counted disks, "read-second"
    mov di, DISK_BUFFER + 512
    call fetch.to
    call let_it_come
    counted disks, "read-after"
    xor eax, eax                        ; 1234h, and 0101h more for each word
    mov si, DISK_BUFFER
    mov cx, 512
    mov bx, 0x1234
.compare:
    cmp [si], bx
    je .same
    inc eax
.same:
    add bx, 0x0101
    add si, 2
    loop .compare
    result "words-that-differ"
    outb 0x3f6, 2                       ; nIEN
    mov byte [blocks], 1
    mov al, 0x40                        ; READ VERIFY
    call command
    call not_busy
    call let_it_come
    counted disks, "nien"
    outb 0x3f6, 0                       ; what stayed pending is told now
    call let_it_come
    counted disks, "nien-ended"
    outb 0xa1, 0xff
    ret
command:                                ; AL, of [blocks] sectors at LBA
    push ax
    outb 0x1f6, 0xe0
    call not_busy
    outb 0x1f2, [blocks]
    outb 0x1f3, LBA
    outb 0x1f4, 0
    outb 0x1f5, 0
    pop ax
    mov dx, 0x1f7
    out dx, al
    mov di, DISK_BUFFER
    ret
not_busy:                               ; by the alternate status, which ends no interrupt
    mov ecx, 1000000
    mov dx, 0x3f6
.wait:
    in al, dx
    test al, 0x80
    loopnz .wait, ecx
    ret
expect:
    mov ebx, disks
    jmp await
fetch:
    mov di, DISK_BUFFER
.to:
    mov dx, 0x1f0
    mov cx, 256
    rep insw
    ret
put:
    mov dx, 0x1f0
    mov cx, 256
    rep outsw
    ret

; --- the floppy controller: IRQ 6, DMA channel 2

floppy:
    outb 0x21, 0xbb
    mov dword [floppies], 0
    outb 0x3f2, 0                       ; reset
    mov cx, 20
.reset:
    in al, 0x80
    loop .reset
    outb 0x3f2, 0x1c                    ; drive 0, motor, DMA and interrupts
    call floppy_done
    counted floppies, "reset-interrupts"
    xor ebx, ebx
    mov cx, 4
.drive:
    push ebx
    push cx
    call sense
    pop cx
    pop ebx
    shl ebx, 8
    mov bl, [answer]
    loop .drive
    mov eax, ebx
    result "polled-drives"
    outb 0x3f7, 0                       ; 500 kb/s
    mov si, .specify
    call send
    mov si, .recalibrate
    call send
    call floppy_done
    call sense
    movzx eax, word [answer]
    result "recalibrated"
    mov si, .seek
    call send
    call floppy_done
    call sense
    movzx eax, word [answer]
    result "sought"
    counted floppies, "seek-interrupts"
    call sense                          ; nothing is left to tell: an invalid command
    movzx eax, byte [answer]
    result "nothing-to-sense"
    mov di, DMA_BUFFER
    mov cx, 512
    mov al, 0x41
.fill:
    mov [di], al
    add al, 3
    inc di
    loop .fill
    mov dword [di], 0x5aa5c33c
    mov eax, DMA_BUFFER
    mov ebx, 511
    mov cl, 0x4a                        ; single, up, memory to device, channel 2
    call program_dma
    mov si, .write
    call send
    call floppy_done
    call results
    mov eax, [answer]
    and eax, 0xffffff
    result "write-status-1-3"
    mov eax, [answer + 3]               ; cylinder, head, sector, size
    result "write-ended-at"
    call dma_state
    result "dma-after-write"
    in al, 0x08
    and eax, 4                          ; terminal count of channel 2; reading it clears it
    result "terminal-count"
    in al, 0x08
    and eax, 4
    result "terminal-count-again"
    mov ax, EDGE >> 4                   ; read it to the end of a 64 KiB page
    mov es, ax
    xor di, di
    mov cx, 0x104
    mov ax, 0xeeee
    rep stosw
    xor ax, ax
    mov es, ax
    mov eax, EDGE
    mov ebx, 511
    mov cl, 0x46                        ; device to memory
    call program_dma
    mov si, .read
    call send
    call floppy_done
    call results
    mov eax, [answer]
    and eax, 0xffffff
    result "floppy-read-status"
    mov ax, EDGE >> 4
    mov es, ax
    mov si, DMA_BUFFER
    xor di, di
    mov cx, 512
    xor eax, eax
.compare:
    cmpsb
    je .same
    inc eax
.same:
    loop .compare
    result "bytes-that-differ"
    mov eax, [es:512]                   ; the next page
    result "beyond-64k"
    xor ax, ax
    mov es, ax
    mov eax, [DMA_BUFFER + 512]
    result "behind-the-buffer"
    call dma_state
    result "dma-after-read"
    counted floppies, "transfer-interrupts"
    mov si, .missing                    ; sector 19 of 18: ST0 40h, ST1 04h no data
    mov eax, DMA_BUFFER
    mov ebx, 511
    mov cl, 0x46
    call program_dma
    call send
    call floppy_done
    call results
    movzx eax, word [answer]
    and ax, 0x04c0
    result "no-such-sector"
    outb 0x3f2, 0x0c
    outb 0x0a, 6
    outb 0x21, 0xfb
    ret
.specify: db 3, 0x03, 0xaf, 0x02
.recalibrate: db 2, 0x07, 0
.seek: db 3, 0x0f, 4, 1
.write: db 9, 0x45, 4, 1, 1, 2, 2, 18, 0x1b, 0xff
.read: db 9, 0x46, 4, 1, 1, 2, 2, 18, 0x1b, 0xff
.missing: db 9, 0x46, 4, 1, 1, 19, 2, 19, 0x1b, 0xff
floppy_done:
    mov ebx, floppy_flag
    call await
    mov dword [floppy_flag], 0
    ret
send:                                   ; the counted bytes at SI
    lodsb
    movzx bp, al
.byte:
    mov bl, 0x80                        ; RQM, towards the controller
    call ready
    lodsb
    mov dx, 0x3f5
    out dx, al
    dec bp
    jnz .byte
    ret
ready:                                  ; MSR's RQM and DIO as BL
    mov dx, 0x3f4
    mov ecx, 1000000
.wait:
    in al, dx
    and al, 0xc0
    cmp al, bl
    loopne .wait, ecx
    ret
sense:
    mov si, sense_command
    call send
    mov word [answer], 0
results:                                ; while the controller is busy and has bytes
    mov di, answer
.byte:
    mov dx, 0x3f4
    mov ecx, 1000000
.wait:
    in al, dx
    test al, 0x80
    loopz .wait, ecx
    and al, 0x50
    cmp al, 0x50
    jne .end
    inc dx
    in al, dx
    stosb
    cmp di, answer + 7
    jb .byte
.end:
    ret
sense_command: db 1, 0x08
program_dma:                            ; EAX address, BX count less 1, CL mode
    mov edx, eax
    outb 0x0a, 6
    out 0x0c, al
    mov al, cl
    out 0x0b, al
    mov al, dl
    out 0x04, al
    mov al, dh
    out 0x04, al
    shr edx, 16
    mov al, dl
    out 0x81, al
    out 0x0c, al
    mov al, bl
    out 0x05, al
    mov al, bh
    out 0x05, al
    outb 0x0a, 2
    ret
dma_state:                              ; EAX: count and address of channel 2
    out 0x0c, al
    in al, 0x05
    mov bl, al
    in al, 0x05
    mov bh, al
    shl ebx, 16
    in al, 0x04
    mov bl, al
    in al, 0x04
    mov bh, al
    mov eax, ebx
    ret

; --- requests that are gone before the processor takes them: there is none then, neither their own nor a
; level 7. (A processor that had sampled INTR already would get level 7; whether one has is its own affair, so
; the handlers for that are called as it would call them.)

spurious:
    outb 0x21, 0x6b                     ; 2, 4 and 7; 14 and 15
    outb 0xa1, 0x3f
    outb 0x3fc, 0x0b
    outb 0x3f9, 2                       ; THR is empty
    call requests
    result "serial-requests"
    outb 0x3f9, 0
    call requests
    result "serial-withdrawn"
    outb 0x3f6, 0
    mov al, 0x40                        ; READ VERIFY
    call command
    call not_busy
    mov ecx, 3000
.wait:
    in al, 0x80
    loop .wait, ecx
    call requests
    result "disk-requests"
    mov dx, 0x1f7
    in al, dx
    call requests
    result "disk-withdrawn"
    call let_it_come
    mov eax, [disks]
    result "late-disk"
    mov eax, [spurious_7]
    result "late-spurious"
    outb 0x20, 0x0c                     ; a poll finds nothing either
    in al, 0x20
    and eax, 0x80
    result "poll-of-nothing"
    int 0x0f
    int 0x77
    mov eax, [spurious_7]
    result "spurious-7"
    mov eax, [spurious_15]
    result "spurious-15"
    outb 0x20, 0x0b
    in al, 0x20
    movzx eax, al
    result "left-in-service"
    ret
requests:                               ; EAX: IRR of the slave, IRR of the master, of those let through
    outb 0x20, 0x0a
    in al, 0x20
    and al, 0x94
    mov bl, al
    outb 0xa0, 0x0a
    in al, 0xa0
    and al, 0xc0
    mov ah, al
    mov al, bl
    movzx eax, ax
    ret

await:                                  ; until the dword at EBX is not 0, or some seconds have gone
    push ecx
    mov ecx, 3000
.wait:
    cmp dword [ebx], 0
    jne .come
    push ecx
    call let_it_come
    pop ecx
    loop .wait, ecx
.come:
    pop ecx
    ret
let_it_come:
    push ecx
    mov ecx, 2000
    sti
.again:
    nop
    loop .again, ecx
    cli
    pop ecx
    ret

; --- handlers

on_timer:
    push ax
    inc dword [cs:ticks]
    outb 0x20, 0x20
    pop ax
    iret
on_clock:
    push ax
    inc dword [cs:periods]
    outb 0x70, 0x0c
    in al, 0x71
    mov [cs:register_c], al
    outb 0xa0, 0x20
    outb 0x20, 0x20
    pop ax
    iret
on_disk:
    push ax
    push dx
    inc dword [cs:disks]
    mov dx, 0x1f7
    in al, dx
    mov [cs:disk_status], al
    outb 0xa0, 0x20
    outb 0x20, 0x20
    pop dx
    pop ax
    iret
on_floppy:
    push ax
    inc dword [cs:floppies]
    inc dword [cs:floppy_flag]
    outb 0x20, 0x20
    pop ax
    iret
on_serial:
    push ax
    push bx
    push dx
.next:
    mov dx, 0x3fa
    in al, dx
    test al, 1
    jnz .none
    and al, 6
    cmp al, 2
    je .empty
    cmp al, 4
    je .data
    inc byte [cs:other_causes]
    jmp .none
.data:
    mov dx, 0x3f8
    in al, dx
    movzx bx, byte [cs:received_bytes]
    and bx, 7
    mov [cs:received + bx], al
    inc byte [cs:received_bytes]
    jmp .next
.empty:
    inc dword [cs:empty_interrupts]
    cmp byte [cs:to_send], 0
    je .next
    mov al, 'f'
    sub al, [cs:to_send]
    dec byte [cs:to_send]
    mov dx, 0x3f8
    out dx, al
    jmp .next
.none:
    outb 0x20, 0x20
    pop dx
    pop bx
    pop ax
    iret
on_spurious:
    push ax
    outb 0x20, 0x0b
    in al, 0x20
    test al, 0x80
    jnz .real
    inc dword [cs:spurious_7]
    pop ax
    iret
.real:
    outb 0x20, 0x20
    pop ax
    iret
on_spurious_slave:
    push ax
    outb 0xa0, 0x0b
    in al, 0xa0
    test al, 0x80
    jnz .real
    inc dword [cs:spurious_15]
    jmp .master                         ; for which the cascade is in service all the same
.real:
    outb 0xa0, 0x20
.master:
    outb 0x20, 0x20
    pop ax
    iret
align 4
ticks: dd 0
periods: dd 0
disks: dd 0
floppies: dd 0
floppy_flag: dd 0
empty_interrupts: dd 0
spurious_7: dd 0
spurious_15: dd 0
received: times 8 db 0
left_to_receive: dd 0
answer: times 8 db 0
tries: dw 0
mode: db 0
register_c: db 0
disk_status: db 0
to_send: db 0
received_bytes: db 0
other_causes: db 0
blocks: db 1
finish_image
