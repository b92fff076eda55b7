; Instructions that were executed before, met again where they are something else: right behind an INT that has
; the number of the fault they cause, replaced by others, under single steps, in ring 3, across a page.
; Then code segments that only far transfers have loaded: the first load as data marks them accessed.
%include "pm.inc"
PAGE equ 0x40000
body:
    mov ecx, 5
.warm:
    cli
    sti
    loop .warm

    mov esi, [IDT + 13 * 8]             ; a gate of its own: INT 13 has no error code
    mov edi, [IDT + 13 * 8 + 4]
    mov eax, on_int_13
    mov [IDT + 13 * 8], ax
    mov dword [calls], 0
    mov ecx, 3
.int:
    int 13
    cli
    loop .int
    mov [IDT + 13 * 8], esi
    mov [IDT + 13 * 8 + 4], edi
    mov eax, [calls]
    say "int-13"

    xor ebx, ebx
    mov ecx, 9
.again:
.place:
    cli
    cmp ecx, 7
    jne .not_yet
    mov byte [.place], 0x43             ; INC EBX
.not_yet:
    cmp ecx, 4
    jne .no_longer
    mov byte [.place], 0xfb             ; STI
.no_longer:
    loop .again
    mov eax, ebx
    say "replaced"

    hook 1, on_step
    mov dword [steps], 0
    push dword 0x102
    popfd
    cli
    cli
    mov eax, cr0
    cli
    push dword 2
    popfd
    mov eax, [steps]
    say "steps"

    mov word [PAGE + 0xffe], 0x200f     ; MOV EAX, CR0 in two pages, three times, and once in one
    mov word [PAGE + 0x1000], 0xc3c0
    mov ecx, 3
.across:
    xor eax, eax
    call PAGE + 0xffe
    loop .across
    and eax, 1
    say "two-pages"
    mov eax, cr0
    and eax, 1
    say "one-page"

    attempt db 0x66, 0xfa
    user .ring3
    mov dword [user_flags], 0x3002
    user .iopl_3
    mov eax, [reached]
    say "reached"

    mov eax, [gdt + CODE16 + 4]
    say "unmarked"
    mov ax, CODE16
    mov fs, ax
    mov eax, [gdt + CODE16 + 4]
    say "marked"
    push cs                             ; within ring 0 nothing needs a monitor, wherever its ring is shown
    push .back
    retf
.back:
    user .marks
    mov eax, [gdt + CODE3 - 3 + 4]
    say "marked-in-ring-3"
    ret
.marks:
    push cs
    pop fs
    int 0x30
.ring3:
    cli
    mov dword [reached], 1
    int 0x30
.iopl_3:
    user_data
    cli
    sti
    cli
    mov dword [reached], 3
    int 0x30
on_int_13:
    inc dword [calls]
    iret
on_step:
    inc dword [steps]
    stc
    ret
calls: dd 0
steps: dd 0
reached: dd 0
finish_image
