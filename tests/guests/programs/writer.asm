; Writes numbered sectors all over the disk for ever, and tells by COM1 what it has flushed. A flat binary.
; Step n writes 1 to 16 sectors from a place that a generator of random numbers gives; each sector is n and its
; own address over and over, or zeros when n ends in 7 (of 8). After every fourth step FLUSH CACHE, and when
; that has ended, n in eight hexadecimal digits and a newline. tests/guests/test_power_cut.py computes the same.
; With SCSI defined the disk is at id 0 of an AIC-7870: WRITE(10) and SYNCHRONIZE CACHE instead.
; [ATA-6] 8.12 FLUSH CACHE: command completion when the cache is on the media; 8.62 WRITE SECTOR(S)
bits 16
org 0x7c00
%define BUFFER 0x9000
    jmp main
    times 4-($-$$) db 0
seed dd 0                               ; both filled in by the test
sectors dd 0
main:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov es, ax
%ifdef SCSI
    call scsi_start
%else
    mov dx, 0x3f6                       ; no interrupts from the drive
    mov al, 2
    out dx, al
%endif
next:
    inc dword [number]
    imul eax, [seed], 1664525
    add eax, 1013904223
    mov [seed], eax
    mov ebx, eax
    shr ebx, 28
    inc bl
    mov [left], bl
    and eax, 0x0fffffff
    shr eax, 4
    xor edx, edx
    mov ecx, [sectors]
    sub ecx, 16
    div ecx
    mov [lba], edx
%ifdef SCSI
    mov eax, edx
    bswap eax
    mov [cdb + 2], eax
    mov [cdb + 8], bl
    mov di, BUFFER
.sector:
    call fill
    inc dword [lba]
    dec byte [left]
    jnz .sector
    movzx ecx, byte [cdb + 8]
    shl ecx, 9
    mov byte [cdb], 0x2a                ; WRITE(10)
    call scsi_command
    test byte [number], 3
    jnz next
    mov byte [cdb], 0x35                ; SYNCHRONIZE CACHE(10), of everything
    mov dword [cdb + 2], 0
    mov byte [cdb + 8], 0
    xor ecx, ecx
    call scsi_command
%else
    call wait_ready
    mov dx, 0x1f2
    mov al, bl
    out dx, al
    mov eax, [lba]
    mov cx, 3
.address:
    inc dx
    out dx, al
    shr eax, 8
    loop .address
    inc dx
    or al, 0xe0
    out dx, al
    inc dx
    mov al, 0x30
    out dx, al
.sector:
    mov di, BUFFER
    call fill
.data:
    mov dx, 0x1f7
    in al, dx
    test al, 0x21
    jnz failed
    and al, 0x88
    cmp al, 0x08
    jne .data
    mov si, BUFFER
    mov cx, 256
    mov dx, 0x1f0
    rep outsw
    inc dword [lba]
    dec byte [left]
    jnz .sector
    test byte [number], 3
    jnz next
    call wait_ready
    mov dx, 0x1f7
    mov al, 0xe7
    out dx, al
    call wait_ready
%endif
    call report
    jmp next

; The sector at DI, which moves on.
fill:
    mov cx, 64
    mov eax, [number]
    mov ebx, [lba]
    mov edx, eax
    and dl, 7
    cmp dl, 7
    jne .fill
    xor eax, eax
    xor ebx, ebx
.fill:
    stosd
    xchg eax, ebx
    stosd
    xchg eax, ebx
    loop .fill
    ret

%ifdef SCSI
%include "scsi.inc"
%else
wait_ready:
    mov dx, 0x1f7
.look:
    in al, dx
    test al, 0x80
    jnz .look
    test al, 0x21                       ; ERR or DF
    jnz failed
    ret
%endif

report:
    mov ebx, [number]
    mov cx, 8
.digit:
    rol ebx, 4
    mov al, bl
    and al, 15
    cmp al, 10
    sbb al, 0x69
    das
    call put
    loop .digit
    mov al, 10
put:
    mov ah, al
    mov dx, 0x3fd
.busy:
    in al, dx
    test al, 0x20
    jz .busy
    mov dx, 0x3f8
    mov al, ah
    out dx, al
    ret

failed:
    mov al, '!'
    call put
    mov al, 1
    mov dx, 0xf4
    out dx, al
    hlt

number dd 0
lba dd 0
left db 0
