; The way into protected mode and back: GDT, IDT, TSS, page tables, and catching a fault.

CODE            equ 0x08                ; selectors
DATA            equ 0x10
USER_CODE       equ 0x18 + 3
USER_DATA       equ 0x20 + 3
TASK            equ 0x28
CODE16          equ 0x30
DATA16          equ 0x38
PAGE_DIRECTORY  equ 0x10000
PAGE_TABLE      equ 0x11000
IDT             equ 0x12000
STACK           equ 0x16000             ; ring 0, where tests run
STACK_TSS       equ 0x18000             ; ring 0, where the TSS sends interrupts from ring 3
STACK_USER      equ 0x1a000
ALIASED         equ 0x1c000             ; a page that others are mapped to
PAGE_ABSENT     equ 0x300000            ; linear pages with a special mapping
PAGE_ALIAS      equ 0x301000
PAGE_READ_ONLY  equ 0x302000
PAGE_SUPERVISOR equ 0x303000
NO_FAULT        equ -1
VECTOR_BYTES    equ 9                   ; size of one exception entry

        bits    16
; Calls the 32-bit routine EBX in protected mode, interrupts off; returns its CF, or CF set
; (and the vector and EIP in [detail]) if it faulted.
protected_call:
        cli
        mov     [real_sp], sp
        lgdt    [gdt_pointer]
        lidt    [idt_pointer]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     CODE:.protected
        bits    32
.protected:
        mov     ax, DATA
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     ss, ax
        mov     esp, STACK
        mov     byte [gdt + TASK + 5], 0x89     ; available again
        call    build_tables
        mov     ax, TASK
        ltr     ax
        call    try
        setc    [failed]
        cmp     eax, NO_FAULT
        je      .back
        mov     byte [failed], 1
        shl     eax, 24
        or      eax, [fault_eip]
        mov     [detail], eax
.back:  mov     eax, cr0
        and     eax, 0x7ffeffff         ; PG, WP off
        mov     cr0, eax
        xor     eax, eax
        mov     cr3, eax
        jmp     CODE16:.narrow
        bits    16
.narrow:
        mov     ax, DATA16
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     gs, ax                  ; FS keeps its 4 GiB for test_unreal
        mov     eax, cr0
        and     al, 0xfe
        mov     cr0, eax
        jmp     0:.real
.real:  xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     gs, ax
        mov     sp, [real_sp]
        lidt    [real_idt_pointer]
        sti
        cmp     byte [failed], 1        ; CF clear if it is 1
        cmc
        ret

; Writes IDT, page directory and page table anew.
        bits    32
build_tables:
        push    ebx
        mov     edi, IDT
        mov     ebx, vectors
        mov     ecx, 32
.gate:  mov     eax, ebx
        call    .put
        add     ebx, VECTOR_BYTES
        loop    .gate
        mov     eax, irq_timer
        call    .put
        mov     ecx, 15
.irq:   mov     eax, irq_other
        call    .put
        loop    .irq
        mov     edi, IDT + 0x80 * 8
        mov     eax, system_call
        call    .put
        mov     byte [edi - 3], 0xee    ; DPL 3
        mov     edi, PAGE_DIRECTORY
        mov     eax, PAGE_TABLE + 7
        stosd
        xor     eax, eax
        mov     ecx, 1023
        rep     stosd
        mov     edi, PAGE_TABLE
        mov     eax, 7                  ; identity, user, writable
.page:  stosd
        add     eax, 0x1000
        cmp     eax, 0x400000
        jb      .page
        mov     edi, PAGE_TABLE + (PAGE_ABSENT >> 10)
        xor     eax, eax
        stosd
        mov     eax, ALIASED + 7
        stosd
        mov     al, 5
        stosd
        mov     al, 3
        stosd
        pop     ebx
        ret
.put:   mov     [edi], ax               ; a 32-bit interrupt gate to EAX
        mov     word [edi + 2], CODE
        mov     word [edi + 4], 0x8e00
        shr     eax, 16
        mov     [edi + 6], ax
        add     edi, 8
        ret

; Calls EBX; returns EAX = NO_FAULT and the routine's CF, or EAX = vector of the exception that
; ended it. May be nested.
try:    push    dword [try_esp]
        mov     [try_esp], esp
        mov     dword [fault_vector], NO_FAULT
        call    ebx
        mov     dword [fault_vector], NO_FAULT  ; of a nested one
.end:   pop     dword [try_esp]
        mov     eax, [fault_vector]
        ret

; Entries of vectors 0-31: all leave [vector, error code, EIP, CS, EFLAGS] on the stack.
vectors:
%assign vector 0
%rep 32
  %if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
        nop
        nop
  %else
        push    byte 0
  %endif
        push    byte vector
        jmp     near exception
  %assign vector vector + 1
%endrep
%if $ - vectors != 32 * VECTOR_BYTES
  %error "an exception entry has another size"
%endif

exception:
        pop     dword [fault_vector]
        pop     dword [fault_error]
        pop     dword [fault_eip]
        pop     dword [fault_cs]
        mov     eax, cr2
        mov     [fault_cr2], eax
; Leaves whatever runs inside `try`.
leave_try:
        mov     ax, DATA
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     esp, [try_esp]
        clc
        jmp     try.end

irq_timer:
        push    eax
        inc     dword [ticks]
        mov     al, 0x20
        out     0x20, al
        pop     eax
irq_other:
        iretd                           ; masked or spurious: no end of interrupt

; INT 80h. EAX = 1: EBX := 2 * EBX + 1, or 0 if the call did not come from ring 3 by way of the
; TSS. EAX = 0: ends the program with EBX as its result.
system_call:
        test    eax, eax
        jz      .exit
        lea     ebx, [ebx * 2 + 1]
        cmp     dword [esp + 4], USER_CODE
        jne     .wrong
        cmp     esp, STACK_TSS - 20
        je      .end
.wrong: xor     ebx, ebx
.end:   iretd
.exit:  mov     [user_result], ebx
        jmp     leave_try

; Runs EBX in ring 3. To be called through `try`.
enter_user:
        mov     ebx, [user_entry]
        mov     eax, USER_DATA
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        push    eax
        push    dword STACK_USER
        push    dword 2                 ; EFLAGS: IOPL 0, interrupts off
        push    dword USER_CODE
        push    ebx
        iretd

paging_on:
        mov     eax, PAGE_DIRECTORY
        mov     cr3, eax
        mov     eax, cr0
        or      eax, 0x80010000         ; PG, WP
        mov     cr0, eax
        jmp     .flush
.flush: ret

        align   8, db 0
gdt:    dq      0
        dq      0x00cf9a000000ffff      ; CODE
        dq      0x00cf92000000ffff      ; DATA
        dq      0x00cffa000000ffff      ; USER_CODE
        dq      0x00cff2000000ffff      ; USER_DATA
        dw      103, tss, 0x8900, 0     ; TASK
        dq      0x00009a000000ffff      ; CODE16
        dq      0x000092000000ffff      ; DATA16
gdt_end:

tss:    dd      0, STACK_TSS, DATA
        times   22 dd 0
        dw      0, 104                  ; no I/O bitmap

gdt_pointer:    dw gdt_end - gdt - 1
                dd gdt
idt_pointer:    dw 0x81 * 8 - 1
                dd IDT
real_idt_pointer: dw 0x3ff
                dd 0
real_sp:        dw 0
failed:         db 0
                align 4, db 0
try_esp:        dd 0
fault_vector:   dd 0
fault_error:    dd 0
fault_eip:      dd 0
fault_cs:       dd 0
fault_cr2:      dd 0
user_entry:     dd 0
user_result:    dd 0
