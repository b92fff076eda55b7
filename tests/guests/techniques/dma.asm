; A bus master writes code: sectors that are read by IDE DMA over code that has run, and run in its place. What
; they hold is sensitive, so that under translation the page has been replaced or translated each time.
%include "pm.inc"
PLACE equ 0x61000
PRD equ 0x62000
IDE_BAR4 equ 0x80000920                 ; bus 0, device 1, function 1: [PIIX] §2.5
%macro put 2                            ; a byte to a port
    mov dx, %1
    mov al, %2
    out dx, al
%endmacro
body:
    mov edi, IDE_BAR4 - 0x1c            ; the command register: bus master on
    call config_address
    in eax, dx
    or eax, 5
    out dx, eax
    mov edi, IDE_BAR4
    call config_address
    in eax, dx
    and eax, 0xfff0
    mov [bus_master], eax
    mov dword [PRD], PLACE
    mov dword [PRD + 4], 0x80000000 | 512
    mov ecx, 8
    xor edi, edi
.turn:
    mov ebx, (first - $$) / 512
    call read_sector
    call run                            ; twice: the second time from what the monitor made of it
    call run
    mov ebx, (second - $$) / 512
    call read_sector
    call run
    call run
    loop .turn
    mov eax, edi
    say "sum"
    movzx eax, byte [PLACE]
    say "byte"
    movzx eax, byte [PLACE + 511]
    say "last-byte"
    ret

run:
    mov eax, PLACE
    call eax
    rol edi, 3
    add edi, eax
    ret

config_address:
    mov eax, edi
    mov dx, 0xcf8
    out dx, eax
    mov dx, 0xcfc
    ret

read_sector:                            ; EBX: LBA
    mov dx, 0x1f7
.busy:
    in al, dx
    test al, 0x88
    jnz .busy
    put 0x1f6, 0xe0
    put 0x1f2, 1
    put 0x1f3, bl
    put 0x1f4, bh
    put 0x1f5, 0
    mov edx, [bus_master]
    mov al, 8                           ; to memory, [PIIX] §2.8
    out dx, al
    add edx, 2
    mov al, 6
    out dx, al
    add edx, 2
    mov eax, PRD
    out dx, eax
    put 0x1f7, 0xc8                     ; READ DMA
    mov edx, [bus_master]
    mov al, 9
    out dx, al
    add edx, 2
.wait:
    in al, dx
    test al, 4
    jz .wait
    sub edx, 2
    mov al, 0
    out dx, al
    mov dx, 0x1f7
    in al, dx
    ret

bus_master: dd 0
align 512
first:
    pushfd
    pop eax
    and eax, 0x200
    or eax, 0x11110000
    ret
    times 511 - ($ - first) db 0x90
    db 0x11
second:
    mov eax, cs
    push ss
    pop edx
    add eax, edx
    or eax, 0x22220000
    ret
    times 511 - ($ - second) db 0x90
    db 0x22
finish_image
