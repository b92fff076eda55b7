; A program in the manner of xv6, on a machine with APICs: looks for the MP table, walks it, masks the
; 8259s, and takes the timer, the serial port, the keyboard and the disk through the APICs. [MPS] 1.4;
; [SDM3] chapter 10; [82093AA]. It runs in real mode, with FS flat for the registers ([SDM3] §9.9.2), so that
; handlers are real-mode ones. Each wait is for a change or BOUND ticks of the 8254, whichever comes first.
%include "common.inc"
LAPIC equ 0xfee00000
IOAPIC equ 0xfec00000
TIMER equ 0x50                          ; vectors
KEY equ 0x51
COM equ 0x54
DISK equ 0x5e
LOW_IPI equ 0x61
HIGH_IPI equ 0x72
ERROR equ 0x80
SPURIOUS equ 0xff
PERIOD equ 2000000                      ; of the timer: 2 ms at 1 GHz, CPUID leaf 15h
SELF equ 0x40000
%macro lapic 2                          ; write a register
    mov dword [fs:dword LAPIC + %1], %2
%endmacro
%macro vector 2
    mov word [%1 * 4], %2
    mov [%1 * 4 + 2], cs
%endmacro
main:
    cli
    lgdt [gdt]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp $ + 2
    mov bx, 8
    mov fs, bx
    and al, 0xfe
    mov cr0, eax
    jmp $ + 2
    xor bx, bx
    mov fs, bx
    call find_table
    call identify
    mov al, 0xff                        ; mask the 8259s, and their INTR
    out 0x21, al
    out 0xa1, al
    lapic 0x350, 0x10000
    vector TIMER, on_timer
    vector KEY, on_key
    vector COM, on_serial
    vector DISK, on_disk
    vector LOW_IPI, on_low
    vector HIGH_IPI, on_high
    vector ERROR, on_error
    vector SPURIOUS, on_spurious
    lapic 0xf0, 0x100 | SPURIOUS
    lapic 0x80, 0
    call timer
    call serial
    call disk
    call priorities
    call errors
    call keyboard
    call sleep
    mov eax, [spurious]
    result "spurious"
    ret

; [MPS] §4: the pointer is on a 16-byte boundary of the F-segment; its bytes and the table's add up to 0
find_table:
    mov esi, 0xf0000
.next:
    cmp dword [fs:esi], '_MP_'
    je .found
    add esi, 16
    cmp esi, 0x100000
    jb .next
    mov eax, 1
    result "no-pointer"
    ret
.found:
    mov ecx, 16
    call sum
    result "pointer-sum"
    mov esi, [fs:esi + 4]
    movzx ecx, word [fs:esi + 4]
    call sum
    result "table-sum"
    mov eax, [fs:esi + 36]
    result "local-apic"
    movzx ecx, word [fs:esi + 34]
    add esi, 44
.entry:
    movzx ebx, byte [fs:esi]
    cmp bl, 4
    ja .done
    inc dword [entries + ebx * 4]
    cmp bl, 2
    jne .not_io
    movzx eax, byte [fs:esi + 1]
    mov [io_id], eax
    mov eax, [fs:esi + 4]
    mov [io_address], eax
.not_io:
    cmp bl, 1                           ; remember the number of the ISA bus
    jne .not_bus
    cmp word [fs:esi + 2], 'IS'
    jne .not_bus
    mov al, [fs:esi + 1]
    mov [isa], al
.not_bus:
    cmp dword [fs:esi], 3               ; INT, as the bus has it
    jne .not_isa
    mov al, [fs:esi + 4]
    cmp al, [isa]
    jne .not_isa
    movzx edi, byte [fs:esi + 5]
    mov al, [fs:esi + 7]
    mov [pins + edi], al
.not_isa:
    add esi, 8
    test bl, bl
    jnz .counted
    add esi, 12                         ; a processor's entry has 20 bytes
.counted:
    loop .entry, ecx
.done:
    mov eax, [entries]
    result "processors"
    mov eax, [entries + 8]
    result "io-apics"
    mov eax, [io_address]
    result "io-apic"
    mov eax, [pins + 1]                 ; keyboard, and IRQs 3 and 4
    and eax, 0xff0000ff
    result "pins-1-4"
    movzx eax, byte [pins + 14]
    result "pin-14"
    ret

sum:                                    ; of ECX bytes at FS:ESI, into EAX
    push ecx
    push esi
    xor eax, eax
.byte:
    add al, [fs:esi]
    inc esi
    loop .byte, ecx
    pop esi
    pop ecx
    ret

identify:
    mov eax, 1
    cpuid
    shr edx, 9
    mov eax, edx
    and eax, 1
    result "cpuid"
    mov ecx, 0x1b
    rdmsr
    result "base"
    mov eax, [fs:dword LAPIC + 0x30]
    result "version"
    mov eax, 1
    call read_io
    result "io-version"
    xor eax, eax
    call read_io
    shr eax, 24
    sub eax, [io_id]
    result "id-less-tables"
    mov eax, [fs:dword LAPIC + 0x350]   ; virtual wire mode, [MPS] §3.6.2.2
    and eax, 0x10700
    result "lint0"
    mov eax, [fs:dword LAPIC + 0x360]
    and eax, 0x10700
    result "lint1"
    ret

read_io:                                ; register EAX, into EAX
    mov [fs:dword IOAPIC], eax
    mov eax, [fs:dword IOAPIC + 0x10]
    ret

redirect:                               ; ISA interrupt BL by entry EAX, to this processor
    movzx ebx, bl
    movzx ebx, byte [pins + ebx]
    lea ebx, [ebx * 2 + 0x11]
    mov [fs:dword IOAPIC], ebx
    mov dword [fs:dword IOAPIC + 0x10], 0
    dec ebx
    mov [fs:dword IOAPIC], ebx
    mov [fs:dword IOAPIC + 0x10], eax
    ret

; [SDM3] §10.5.4: a periodic timer starts over by itself
timer:
    lapic 0x3e0, 0xb
    lapic 0x320, 0x20000 | TIMER
    rdtsc
    mov [began], eax
    lapic 0x380, PERIOD
.wait:
    sti
    hlt
    cli
    cmp dword [ticks], 5
    jb .wait
    lapic 0x320, 0x10000 | TIMER
    rdtsc
    sub eax, [began]
    xor edx, edx
    mov ecx, PERIOD
    div ecx
    result "periods-a-5-ticks"
    mov eax, [ticks]
    result "ticks"
    lapic 0x380, 0
    mov eax, [fs:dword LAPIC + 0x120]   ; ISR of vectors 40h-5Fh
    result "in-service"
    ret

; IRQ 4 by its pin: an empty transmitter interrupts as soon as it is allowed to
serial:
    mov eax, COM
    mov bl, 4
    call redirect
    mov dx, 0x3fc
    mov al, 8
    out dx, al
    mov dx, 0x3f9
    mov al, 2
    out dx, al
    call let_it_come
    mov eax, [serials]
    result "serial-interrupts"
    mov eax, [serial_cause]
    result "serial-cause"
    ret

; IRQ 14: IDENTIFY DEVICE asks for attention once its data is there
disk:
    mov eax, DISK
    mov bl, 14
    call redirect
    mov dx, 0x3f6
    xor al, al
    out dx, al
    mov dx, 0x1f6
    mov al, 0xa0
    out dx, al
    inc dx
    mov al, 0xec
    out dx, al
    mov ecx, 100000
.wait:
    call let_it_come
    cmp dword [disks], 0
    loope .wait, ecx
    mov eax, [disks]
    result "disk-interrupts"
    mov eax, [disk_status]
    result "disk-status"
    mov dx, 0x1f0
    mov ecx, 256
.drain:
    in ax, dx
    loop .drain, ecx
    ret

; [SDM3] §10.8.3: what is of a class not above the task priority waits; then the higher class comes first
priorities:
    lapic 0x80, 0x70
    lapic 0x300, SELF | LOW_IPI
    lapic 0x300, SELF | HIGH_IPI
    call let_it_come
    movzx eax, word [order]
    result "held"
    mov eax, [fs:dword LAPIC + 0x230]   ; IRR of vectors 60h-7Fh
    result "waiting"
    lapic 0x80, 0
    call let_it_come
    movzx eax, word [order]
    result "order"
    mov eax, [fs:dword LAPIC + 0x230]
    result "left"
    ret

; [SDM3] §10.5.3: a register that is not there
errors:
    lapic 0x370, ERROR
    mov eax, [fs:dword LAPIC + 0x3f0]
    call let_it_come
    mov eax, [error_count]
    result "errors"
    mov eax, [error_status]
    result "error-status"
    ret

keyboard:
    in al, 0x60
    mov eax, KEY
    mov bl, 1
    call redirect
    xor eax, eax
    result "type"                       ; the test strikes a key now
.wait:
    sti
    hlt
    cli
    cmp byte [code_count], 2
    jb .wait
    movzx eax, word [codes]
    result "codes"
    mov eax, 0x10000
    mov bl, 1
    call redirect
    ret

; The 8254 by the 8259 again, through LINT0 as ExtINT, which no task priority holds up. Meanwhile the timer's
; interrupt is held up, and what is held up does not end HLT.
sleep:
    mov dword [ticks], 0
    lapic 0x80, 0xf0
    lapic 0x320, TIMER
    mov al, 0xfe
    out 0x21, al
    lapic 0x350, 0x700
    mov ebp, [0x46c]
    mov dword [halts], 0
.first:
    sti                                 ; from one tick of the 8254
    hlt
    cli
    cmp ebp, [0x46c]
    je .first
    mov ebp, [0x46c]
    lapic 0x380, PERIOD
.second:
    sti                                 ; to the next
    hlt
    cli
    inc dword [halts]
    cmp ebp, [0x46c]
    je .second
    mov eax, [halts]
    result "halts"
    mov eax, [ticks]
    result "held-ticks"
    lapic 0x80, 0
    call let_it_come
    mov eax, [ticks]
    result "released-ticks"
    ret

let_it_come:                            ; an interrupt that asks is taken within this
    push ecx
    mov ecx, 20000
    sti
.again:
    loop .again, ecx
    cli
    pop ecx
    ret

%macro handler 1-*
    push eax
    push dx
    %rep %0
    %1
    %rotate 1
    %endrep
    lapic 0xb0, 0
    pop dx
    pop eax
    iret
%endmacro
on_timer:
    handler {inc dword [cs:ticks]}
on_serial:
    handler {inc dword [cs:serials]}, {mov dx, 0x3fa}, {in al, dx}, {and al, 15}, {mov [cs:serial_cause], al}, \
        {mov dx, 0x3f9}, {mov al, 0}, {out dx, al}
on_disk:
    handler {inc dword [cs:disks]}, {mov dx, 0x1f7}, {in al, dx}, {mov [cs:disk_status], al}
on_low:
    handler {shl word [cs:order], 8}, {or byte [cs:order], LOW_IPI}
on_high:
    handler {shl word [cs:order], 8}, {or byte [cs:order], HIGH_IPI}
on_error:
    handler {inc dword [cs:error_count]}, {mov dword [fs:dword LAPIC + 0x280], 0}, \
        {mov eax, [fs:dword LAPIC + 0x280]}, {mov [cs:error_status], eax}
on_key:
    push bx
    push ax
    in al, 0x60
    movzx bx, byte [cs:code_count]
    and bx, 1
    mov [cs:codes + bx], al
    inc byte [cs:code_count]
    lapic 0xb0, 0
    pop ax
    pop bx
    iret
on_spurious:                            ; no EOI, [SDM3] §10.9
    inc dword [cs:spurious]
    iret
align 4
gdt:
    dw 15
    dd gdt
    dw 0
    dw 0xffff, 0, 0x9200, 0xcf
entries: times 5 dd 0
io_id: dd 0
io_address: dd 0
began: dd 0
ticks: dd 0
serials: dd 0
serial_cause: dd 0
disks: dd 0
disk_status: dd 0
error_count: dd 0
error_status: dd 0
spurious: dd 0
halts: dd 0
order: dw 0
codes: dw 0
code_count: db 0
isa: db 0
pins: times 16 db 0
finish_image
