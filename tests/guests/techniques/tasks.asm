; Hardware task switches, task gates and call gates, [SDM3] chapters 5.8 and 7; as a kernel of 1990 has them.
%include "pm.inc"
TASK_2 equ SPARE
TASK_3 equ SPARE + 8
GATE_0 equ SPARE + 16                   ; call gates: within the ring
GATE_3 equ SPARE + 24                   ; inward, two parameters
TASK_GATE equ SPARE + 32
BUSY equ SPARE + 40
CONFORMING equ SPARE + 48
TSS_2 equ 0x2800
TSS_3 equ 0x2900
%macro fill_tss 4                       ; TSS, EIP, ESP, flags
    mov dword [%1 + 0x1c], 0
    mov dword [%1 + 0x20], %2
    mov dword [%1 + 0x24], %4
    mov dword [%1 + 0x38], %3
    mov dword [%1 + 0x48], DATA0
    mov dword [%1 + 0x4c], CODE0
    mov dword [%1 + 0x50], DATA0
    mov dword [%1 + 0x54], DATA0
    mov dword [%1 + 0x58], DATA0
    mov dword [%1 + 0x5c], DATA0
    mov dword [%1 + 4], 0x4f00
    mov dword [%1 + 8], DATA0
    mov word [%1 + 0x66], 0xffff
%endmacro
body:
    mov esi, .descriptors
    mov edi, gdt + SPARE
    mov ecx, 14
    rep movsd
    mov word [gdt + GATE_0], .in_ring_0
    mov word [gdt + GATE_3], .inward
    str ax
    movzx eax, ax
    say "task"
    mov eax, [gdt + TASK + 4]
    say "busy"
    call GATE_0:0
    say "gate-0"
    user .through_gate
    user .gate_refused
    user .conforming
    fill_tss TSS_2, .task_2, 0x4b00, 2
    call TASK_2:0
    say "called-task"
    str ax
    movzx eax, ax
    say "task-again"
    mov eax, [gdt + TASK_2 + 4]
    say "no-longer-busy"
    pushfd
    pop eax
    and eax, 0x4000
    say "nt"
    mov eax, cr0
    and eax, 8
    say "ts"
    clts
    call TASK_2:0                       ; goes on where it left off
    say "called-again"
    fill_tss TSS_3, .task_3, 0x4a00, 2
    jmp TASK_3:0
.back_in_1:
    say "jumped-back"
    mov eax, [TSS + 0x20]
    sub eax, .back_in_1
    say "saved-eip"
    attempt jmp BUSY:0
    attempt call TASK:0                 ; busy: it is the current one
    attempt jmp DATA0:0
    mov word [gdt + TASK_GATE + 2], TASK_2
    fill_tss TSS_2, .task_by_gate, 0x4b00, 2
    call TASK_GATE:0
    say "by-task-gate"
    ; an exception by a task gate: its own stack and an error code
    fill_tss TSS_2, .task_gp, 0x4b00, 2
    mov eax, [IDT + 13 * 8]
    mov ebx, [IDT + 13 * 8 + 4]
    mov dword [IDT + 13 * 8], TASK_2 << 16
    mov dword [IDT + 13 * 8 + 4], 0xe500
    push eax
    push ebx
    mov ax, 0xfff8
    mov dword [.after_gp], .went_on
    mov fs, ax
    say "not-reached"
.went_on:
    pop dword [IDT + 13 * 8 + 4]
    pop dword [IDT + 13 * 8]
    mov eax, [.error]
    say "error-code"
    mov eax, [.frame]
    say "link"
    ; an interrupt by a task gate, from ring 3
    fill_tss TSS_2, .task_int, 0x4b00, 2
    mov dword [IDT + 0x50 * 8], TASK_2 << 16
    mov dword [IDT + 0x50 * 8 + 4], 0xe500
    user .int_task
    ; to a task in ring 3
    fill_tss TSS_3, .task_ring3, 0x5b00, 0x3002
    mov dword [TSS_3 + 0x48], DATA3
    mov dword [TSS_3 + 0x4c], CODE3
    mov dword [TSS_3 + 0x50], DATA3
    mov dword [TSS_3 + 0x54], DATA3
    mov dword [TSS_3 + 0x58], 0
    mov dword [TSS_3 + 0x5c], DATA3
    mov dword [TSS_3 + 4], STACK
    mov byte [gdt + TASK_3 + 5], 0x89
    mov dword [resume], .from_task
    mov [saved_esp], esp
    jmp TASK_3:0
.from_task:
    str ax
    movzx eax, ax
    say "task-3"
    mov byte [gdt + TASK + 5], 0x89
    mov ax, TASK
    ltr ax
    ; to a task in VM86 mode
    fill_tss TSS_3, .task_vm86, 0x5b00, 0x20002
    mov dword [TSS_3 + 0x48], 0x100
    mov dword [TSS_3 + 0x4c], 0
    mov dword [TSS_3 + 0x50], 0
    mov dword [TSS_3 + 0x54], 0x200
    mov byte [gdt + TASK_3 + 5], 0x89
    mov dword [resume], .from_vm86
    jmp TASK_3:0
.from_vm86:
    mov byte [gdt + TASK + 5], 0x89
    mov ax, TASK
    ltr ax
    ret
.in_ring_0:
    mov ax, cs
    movzx eax, ax
    retf
.task_2:
    pushfd
    pop eax
    say "flags-in-task"
    movzx eax, word [TSS_2]
    say "back-link"
    mov eax, 0x1122
    iret
    mov eax, 0x3344
    say "second-time"
    iret
.task_3:
    str ax
    movzx eax, ax
    say "in-task-3"
    jmp TASK:0
.task_by_gate:
    mov eax, 0x5566
    iret
.task_gp:
    pop dword [.error]
    movzx eax, word [TSS_2]
    mov [.frame], eax
    mov eax, [.after_gp]
    mov [TSS + 0x20], eax
    iret
.task_int:
    mov eax, [TSS + 0x4c]
    say "interrupted-cs"
    inc dword [TSS + 0x28]              ; its EAX
    iret
.int_task:
    user_data
    mov eax, 41
    int 0x50
    int 0x31
    int 0x30
.task_ring3:
    str ax
    movzx eax, ax
    int 0x31
    cli                                 ; IOPL 3
    pushfd
    pop eax
    int 0x31
    sti
    cli
    int 0x30
.through_gate:
    user_data
    push 0x77770001
    push 0x88880002
    call GATE_3 + 3:0
    int 0x31
    mov eax, esp
    int 0x31
    int 0x30
.inward:
    mov ax, cs
    shl eax, 16
    mov ax, ss
    say "in-gate"
    mov eax, [esp + 8]
    say "parameter-2"
    mov eax, [esp + 12]
    say "parameter-1"
    mov eax, [esp + 16]
    say "outer-esp"
    mov eax, esp
    say "inner-esp"
    mov eax, 0xaced
    retf 8
.gate_refused:
    user_data
    call GATE_0:0
    int 0x30
.conforming:
    user_data
    call CONFORMING:.in_conforming
    int 0x31
    int 0x30
.in_conforming:
    mov ax, cs
    movzx eax, ax
    retf
.after_gp: dd 0
.error: dd 0
.frame: dd 0
bits 16
.task_vm86:
    mov ax, es
    shl eax, 16
    mov ax, ds
    hlt
bits 32
.descriptors:
    descriptor TSS_2, 0x67, 0x89
    descriptor TSS_3, 0x67, 0x89
    dw 0, CODE0, 0x8c00, 0
    dw 0, CODE0, 0xec02, 0
    dw 0, 0, 0x8500, 0
    descriptor TSS_2, 0x67, 0x8b
    descriptor 0, 0xcfffff, 0x9e
finish_image
