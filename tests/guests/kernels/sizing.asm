; A kernel with paging on that sizes the frame buffer's BAR, [PCI2.2] §6.2.5.1: all ones and back, which
; takes the frame buffer out of the address space and puts it back. Then it reads a page that is not
; there: [SDM3] §6.15, that is one page fault, vector 14, with CR2 at the page. Flat binary, 32 bits, at 1 MiB.
bits 32
org 0x100000
DIRECTORY equ 0x200000
TABLE equ 0x201000
ABSENT equ 0x123000
BAR0 equ 0x80001010                     ; device 2, the display
    mov esp, 0x90000
    lgdt [gdt_pointer]
    jmp 8:flat
flat:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov edi, idt
    mov ecx, 16
.gate:                                  ; every exception answers with its number, below
    lea eax, [handlers + ecx * 8 - 8]
    mov [edi + ecx * 8 - 8], ax
    mov word [edi + ecx * 8 - 6], 8
    mov word [edi + ecx * 8 - 4], 0x8e00
    shr eax, 16
    mov [edi + ecx * 8 - 2], ax
    loop .gate
    lidt [idt_pointer]
    mov edi, DIRECTORY
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov dword [DIRECTORY], TABLE + 3
    mov edi, TABLE                      ; the first 4 MiB as they are, but for one page
    mov eax, 3
    mov ecx, 1024
.page:
    stosd
    add eax, 0x1000
    loop .page
    mov dword [TABLE + ABSENT / 1024], 0
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov dx, 0xcf8
    mov eax, BAR0
    out dx, eax
    mov dx, 0xcfc
    in eax, dx
    mov esi, eax
    mov eax, -1
    out dx, eax
    in eax, dx
    mov eax, esi
    out dx, eax
    mov ebp, 1000                       ; time for the monitor to follow
.wait:
    in al, 0x80
    dec ebp
    jnz .wait
    mov al, [ABSENT]
answer:                                 ; EAX: the vector
    mov ecx, cr2
    cmp ecx, ABSENT
    je .told
    mov al, 0xff
.told:
    mov dx, 0xf4
    out dx, al
    cli
    hlt
    align 8
handlers:
%assign vector 0
%rep 16
    mov eax, vector
    jmp short exception
    nop
%assign vector vector + 1
%endrep
exception:
    jmp answer
    align 8
idt: times 16 dq 0
idt_pointer: dw 16 * 8 - 1
    dd idt
gdt: dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer: dw 23
    dd gdt
