; Tests in protected mode: exceptions, paging, interrupts, ring 3.

IRQ_READS       equ 0x100000            ; port reads before the timer is given up
TICKS           equ 10
PIT_1KHZ        equ 1193

; test NAME, ROUTINE: the real-mode face of a 32-bit test.
%macro protected_test 2
        bits    16
%1:     mov     ebx, %2
        jmp     protected_call
%endmacro

        protected_test test_protected, pm_modes
        protected_test test_divide, pm_divide
        protected_test test_undefined, pm_undefined
        protected_test test_protection, pm_protection
        protected_test test_paging, pm_paging
        protected_test test_not_present, pm_not_present
        protected_test test_read_only, pm_read_only
        protected_test test_irq, pm_irq
        protected_test test_ring3, pm_ring3
        protected_test test_ring3_cli, pm_ring3_cli
        protected_test test_ring3_page, pm_ring3_page

; FS, loaded with a 4 GiB segment in protected mode, still reaches 1 MiB in real mode, where
; FFFF:0010 is the same byte.
test_unreal:
        mov     ebx, pm_nothing
        call    protected_call
        jc      .end
        mov     esi, 0x100000
        mov     dword [fs:esi], 0x6c616572
        push    word 0xffff
        pop     gs
        mov     eax, [gs:0x10]
        mov     [detail], eax
        cmp     eax, 0x6c616572
        je      .end
        stc
.end:   ret

        bits    32
pm_nothing:
        clc
        ret

; PE is set, the stack is 32 bits wide, TR and CS hold what was loaded.
pm_modes:
        mov     eax, cr0
        mov     [detail], eax
        test    al, 1
        jz      failure
        str     ax
        cmp     ax, TASK
        jne     failure
        mov     ax, cs
        cmp     ax, CODE
        jne     failure
        cmp     esp, STACK - 64
        jb      failure
        test    byte [gdt + TASK + 5], 2        ; LTR marks the descriptor busy
        jz      failure
        clc
        ret

failure:
        stc
        ret

; Runs EBX, which must end with exception AL, error code EDX, at ESI. CF set if not.
expect: push    eax
        call    try
        pop     ecx
        mov     [detail], eax
        cmp     al, cl
        jne     failure
        mov     eax, [fault_error]
        mov     [detail], eax
        cmp     eax, edx
        jne     failure
        mov     eax, [fault_eip]
        mov     [detail], eax
        cmp     eax, esi
        jne     failure
        clc
        ret

; expect_fault ROUTINE, VECTOR, ERROR CODE: the routine has the faulting instruction at .at.
%macro expect_fault 3
        mov     ebx, %1
        mov     esi, %1.at
        mov     al, %2
        mov     edx, %3
        call    expect
        jc      failure
%endmacro

; CR2 holds EAX, else CF is set.
expect_cr2:
        mov     ecx, [fault_cr2]
        mov     [detail], ecx
        cmp     ecx, eax
        jne     failure
        clc
        ret

pm_divide:
        expect_fault divide, 0, 0
        ret
divide: xor     ecx, ecx
        mov     eax, 1
        xor     edx, edx
.at:    div     ecx
        ret

pm_undefined:
        expect_fault undefined, 6, 0
        ret
undefined:
.at:    ud2
        ret

; A selector beyond the table, and the TSS as a data segment: the error code is the selector.
pm_protection:
        expect_fault beyond, 13, 0xf8
        expect_fault no_data, 13, TASK
        ret
beyond: mov     eax, 0xf8
.at:    mov     gs, ax
        ret
no_data:
        mov     eax, TASK
.at:    mov     gs, ax
        ret

; What is written through one linear page is read through the other two.
pm_paging:
        call    paging_on
        mov     eax, cr0
        mov     [detail], eax
        test    eax, eax
        jns     failure
        mov     dword [PAGE_ALIAS + 8], 0x50414745
        mov     eax, [ALIASED + 8]
        mov     [detail], eax
        cmp     eax, 0x50414745
        jne     failure
        cmp     [PAGE_READ_ONLY + 8], eax
        jne     failure
        test    byte [PAGE_TABLE + (PAGE_ALIAS >> 10)], 0x40    ; dirty
        jz      failure
        test    byte [PAGE_TABLE + (PAGE_READ_ONLY >> 10)], 0x40
        jnz     failure
        clc
        ret

pm_not_present:
        call    paging_on
        expect_fault read_absent, 14, 0
        mov     eax, PAGE_ABSENT + 0x123
        call    expect_cr2
        jc      failure
        expect_fault write_absent, 14, 2
        mov     eax, PAGE_ABSENT + 0x456
        jmp     expect_cr2
read_absent:
.at:    mov     eax, [PAGE_ABSENT + 0x123]
        ret
write_absent:
.at:    mov     [PAGE_ABSENT + 0x456], eax
        ret

pm_read_only:
        call    paging_on
        expect_fault write_read_only, 14, 3
        mov     eax, PAGE_READ_ONLY + 0x40
        jmp     expect_cr2
write_read_only:
.at:    inc     dword [PAGE_READ_ONLY + 0x40]
        ret

; The timer at 1 kHz interrupts through vector 20h, as the PIC is told; then all is as it was.
pm_irq: in      al, 0x21
        mov     ah, al
        in      al, 0xa1
        push    eax
        mov     bx, 0x2820
        call    pic_setup
        mov     al, 0xfe                ; the timer alone
        out     0x21, al
        mov     al, 0xff
        out     0xa1, al
        mov     cx, PIT_1KHZ
        call    pit_setup
        mov     dword [ticks], 0
        mov     ecx, IRQ_READS
        sti
.wait:  in      al, 0x61
        cmp     dword [ticks], TICKS
        jae     .done
        dec     ecx
        jnz     .wait
.done:  cli
        mov     cx, 0                   ; 65536: 18.2 Hz
        call    pit_setup
        mov     bx, 0x7008
        call    pic_setup
        pop     eax
        out     0xa1, al
        mov     al, ah
        out     0x21, al
        mov     eax, [ticks]
        mov     [detail], eax
        cmp     eax, TICKS              ; CF set if too few
        ret

; BL = first vector of the master PIC, BH = of the slave.
pic_setup:
        mov     al, 0x11                ; edge, cascade, ICW4 follows
        out     0x20, al
        out     0xa0, al
        mov     al, bl
        out     0x21, al
        mov     al, bh
        out     0xa1, al
        mov     al, 4
        out     0x21, al
        mov     al, 2
        out     0xa1, al
        mov     al, 1
        out     0x21, al
        out     0xa1, al
        ret

; Channel 0 in mode 2 with count CX.
pit_setup:
        mov     al, 0x34
        out     0x43, al
        mov     al, cl
        out     0x40, al
        mov     al, ch
        out     0x40, al
        ret

; A program in ring 3 calls INT 80h twice, the second time to end.
pm_ring3:
        call    paging_on
        mov     dword [user_entry], user_call
        mov     ebx, enter_user
        call    try
        mov     [detail], eax
        cmp     eax, NO_FAULT
        jne     failure
        mov     eax, [user_result]
        mov     [detail], eax
        cmp     eax, 0x1234 * 2 + 1 + USER_CODE
        jne     failure
        clc
        ret
user_call:
        mov     eax, 1
        mov     ebx, 0x1234
        int     0x80
        mov     ax, cs
        movzx   eax, ax
        add     ebx, eax
        xor     eax, eax
        int     0x80

; expect_user_fault ROUTINE, VECTOR, ERROR CODE: the same from ring 3, which CS must show.
%macro expect_user_fault 3
        call    paging_on
        mov     dword [user_entry], %1
        mov     ebx, enter_user
        mov     esi, %1.at
        mov     al, %2
        mov     edx, %3
        call    expect
        jc      failure
        cmp     word [fault_cs], USER_CODE
        jne     failure
%endmacro

pm_ring3_cli:
        expect_user_fault user_cli, 13, 0
        clc
        ret
user_cli:
.at:    cli
        jmp     user_call

pm_ring3_page:
        expect_user_fault user_read, 14, 5
        mov     eax, PAGE_SUPERVISOR
        jmp     expect_cr2
user_read:
.at:    mov     eax, [PAGE_SUPERVISOR]
        jmp     user_call
