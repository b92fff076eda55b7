; SYSENTER and SYSEXIT, SYSCALL and SYSRET outside long mode.
%include "pm.inc"
S_CODE equ SPARE                        ; code, stack, and for ring 3 the same again
%macro msr 2
    mov ecx, %1
    mov eax, %2
    xor edx, edx
    wrmsr
%endmacro
body:
    mov esi, gdt + CODE0                ; the four that SYSENTER wants in a row
    mov edi, gdt + S_CODE
    mov ecx, 8
    rep movsd
    user .enter                         ; no selector yet: #GP(0)
    user .syscall                       ; not enabled: #UD
    msr 0x174, S_CODE
    msr 0x175, 0x6300
    msr 0x176, .entered
    mov ecx, 0x174
    rdmsr
    say "cs"
    mov ecx, 0x176
    rdmsr
    say "eip-set"
    mov dword [user_flags], 0x246
    user .enter
    mov dword [.calls], 0
    user .many
    mov eax, [.calls]
    say "calls"
    mov eax, [.flags_seen]
    say "flags-in-kernel"
    mov eax, [.cs_seen]
    say "selectors-in-kernel"
    mov ecx, USER_STACK
    mov edx, .left
    attempt sysenter                    ; from ring 0, to ring 0
.back:
    mov ecx, 0x174
    xor eax, eax
    xor edx, edx
    wrmsr
    attempt sysexit
    msr 0x174, S_CODE
    user .exit_in_ring3
    mov ecx, 0xc0000080
    rdmsr
    say "efer"
    or eax, 1
    attempt wrmsr
    mov ecx, 0xc0000080
    rdmsr
    say "efer-sce"
    test eax, 1
    jz .no_syscall
    mov ecx, 0xc0000081
    mov eax, .syscalled
    mov edx, ((S_CODE + 16) | 3) << 16 | S_CODE
    wrmsr
    user .syscall
    mov eax, [.flags_seen]
    say "flags-in-kernel"
.no_syscall:
    ret
.enter:
    user_data
    mov ecx, esp
    mov edx, .left
    mov eax, 0x1001
    sysenter
    int 0x30
.left:
    mov eax, esp
    int 0x31
    mov ax, cs
    shl eax, 16
    mov ax, ss
    int 0x31
    pushfd
    pop eax
    int 0x31
    int 0x30
.many:
    user_data
    mov dword [.left_count], 500
.once:
    mov ecx, esp
    mov edx, .next
    mov eax, 1
    sysenter
.next:
    dec dword [.left_count]
    jnz .once
    int 0x30
.left_count: dd 0
.calls: dd 0
.flags_seen: dd 0
.cs_seen: dd 0
.entered:
    add [.calls], eax
    pushfd
    pop dword [.flags_seen]
    mov ax, cs
    shl eax, 16
    mov ax, ss
    mov [.cs_seen], eax
    mov eax, esp
    cmp dword [saved_esp], 0
    sti
    sysexit
.exit_in_ring3:
    user_data
    sysexit
.syscall:
    user_data
    mov eax, 0x2002
    mov ecx, 0x3003
    syscall
    int 0x31                            ; EAX as the kernel left it
    mov ax, cs
    shl eax, 16
    mov ax, ss
    int 0x31
    pushfd
    pop eax
    int 0x31
    int 0x30
.syscalled:
    mov [.calls], esp
    mov esp, 0x6300
    pushfd
    pop dword [.flags_seen]
    mov ax, cs
    shl eax, 16
    mov ax, ss
    mov esp, [.calls]
    sysret
finish_image
