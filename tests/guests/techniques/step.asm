; Single steps over privileged, sensitive and plain instructions; the shadow of STI and of loads of SS; HLT woken
; by an interrupt, and what IF lets through.
%include "pm.inc"
%macro stepped 2+                       ; name, instructions: how many #DB, and where they point
    call clear_steps
    push dword 0x102
    popfd
    %2
    push dword 2
    popfd
    call print_steps
%endmacro
body:
    hook 1, on_step
    hook 0x32, tick_tests.int_32
    stepped nothing, nop
    stepped plain, add eax, 1
    stepped cli_sti, cli
    call two
    call sensitive
    call privileged
    call segments
    call faults
    call strings
    call iret_into_step
    user .ring3

    call tick_tests
    ret
.ring3:
    user_data
    push dword 0x102
    popfd
    nop
    pushfd
    pop eax
    mov ebx, cs

    mov ecx, 3
    loop $
    int 0x32                            ; TF is off in the handler
    sldt ax
    smsw bx
    nop
    push dword 2
    popfd
    int 0x30
clear_steps:
    mov dword [steps], 0
    mov dword [places], 0
    ret
print_steps:
    mov eax, [steps]
    say "steps"
    mov eax, [places]
    say "places"
    ret
on_step:
    inc dword [steps]
    mov eax, [ebp + EIP]
    sub eax, body
    mov ecx, [places]
    rol ecx, 3
    xor ecx, eax
    mov [places], ecx
    mov eax, dr6
    and eax, 0xe00f
    cmp eax, 0x4000
    je .single
    call log_event
    mov eax, dr6
    say "dr6"
.single:
    mov eax, 0xffff0ff0
    mov dr6, eax
    stc
    ret
two:
    call clear_steps
    push dword 0x102
    popfd
    cli
    sti
    cli
    nop
    push dword 2
    popfd
    jmp print_steps
sensitive:
    call clear_steps
    push dword 0x102
    popfd
    pushfd
    pop eax
    push cs
    pop ebx
    sgdt [place]
    sidt [place]
    sldt bx
    str bx
    smsw bx
    mov bx, cs
    mov bx, ss
    mov ebx, cs
    lar ebx, [code_selector]
    lsl ebx, [code_selector]
    verr [code_selector]
    push dword 2
    popfd
    say "flags-while-stepping"
    jmp print_steps
code_selector: dd CODE0
privileged:
    call clear_steps
    push dword 0x102
    popfd
    mov eax, cr0
    mov cr0, eax
    mov eax, cr3
    mov cr3, eax
    mov eax, cr4
    mov cr4, eax
    clts
    lmsw ax
    invlpg [0]
    lgdt [gdtr]
    lidt [idtr]
    mov eax, dr7
    mov al, 0xff
    out 0x80, al
    in al, 0x61
    xor ecx, ecx
    mov ecx, 0x174
    rdmsr
    wrmsr
    push dword 2
    popfd
    jmp print_steps
segments:
    call clear_steps
    push dword 0x102
    popfd
    mov ax, DATA0
    mov ds, ax
    mov es, ax
    push ds
    pop fs
    call CODE0:.there
.there:
    add esp, 8
    jmp CODE0:.here
.here:
    push cs
    push .back
    retf
.back:
    push dword 2
    popfd
    jmp print_steps
faults:
    call clear_steps
    mov dword [resume], 0
    push dword 0x102
    popfd
    nop
    attempt mov ax, [cs:0x7c00]
    mov ax, 0xfff8
    attempt mov fs, ax
    push dword 2
    popfd
    jmp print_steps
strings:
    call clear_steps
    mov esi, body
    mov edi, 0x5000
    mov ecx, 5
    push dword 0x102
    popfd
    rep movsb
    mov ecx, 3
    mov edx, 0x80
    mov esi, body
    rep outsb
    push dword 2
    popfd
    jmp print_steps
iret_into_step:
    call clear_steps
    push dword 0x102
    push cs
    push .stepped
    iret
.stepped:
    nop
    nop
    push dword 2
    popfd
    jmp print_steps
steps: dd 0
places: dd 0
place: dd 0, 0
; -- interrupts
tick_tests:
    call set_up_timer
    hook 0x20, .tick
    mov dword [.count], 0
    mov dword [.eip], 0
.wait_request:
    mov al, 0x0a
    out 0x20, al
    in al, 0x20
    test al, 1
    jz .wait_request
    mov eax, [.count]                   ; IF is clear: none came
    say "held"
    sti
    mov ebx, [.count]                   ; the shadow: not yet
    nop
    nop
    cli
    mov eax, ebx
    say "in-the-shadow"
    mov eax, [.eip]
    sub eax, .wait_request
    say "after-the-shadow"
    mov dword [.count], 0
    sti
    hlt
    cli
    mov eax, [.count]
    say "woken"
    mov dword [.count], 0
    mov ecx, 5
.sleeps:
    sti
    hlt
    loop .sleeps
    cli
    mov eax, [.count]
    say "woken-5-times"
    mov dword [.count], 0
.wait_again:
    mov al, 0x0a
    out 0x20, al
    in al, 0x20
    test al, 1
    jz .wait_again
    push dword 0x202
    popfd                               ; POPF has no shadow
    mov ebx, [.count]
    cli
    mov eax, ebx
    say "popf"
    mov dword [.count], 0
.wait_third:
    mov al, 0x0a
    out 0x20, al
    in al, 0x20
    test al, 1
    jz .wait_third
    push dword 0x202
    push cs
    push .returned
    iret
.returned:
    mov ebx, [.count]
    cli
    mov eax, ebx
    say "iret"
    mov dword [.count], 0
.wait_fourth:
    mov al, 0x0a
    out 0x20, al
    in al, 0x20
    test al, 1
    jz .wait_fourth
    sti
    mov ax, DATA0                       ; the shadow of STI is one instruction, that of MOV SS begins anew
    mov ss, ax
    mov ebx, [.count]
    cli
    mov eax, ebx
    say "sti-then-mov-ss"
    mov dword [.count], 0
    mov dword [user_flags], 0x202       ; ring 3 with IF set cannot clear it
    mov dword [most_ticks], 2
    hook 0x20, on_tick
    user .loop
    mov dword [user_flags], 2           ; and with IF clear nothing comes: the guest counts down
    user .countdown
    mov eax, [ticks]
    say "none-in-ring-3"
    mov dword [user_flags], 0x3002
    user .halting
    ret
.loop:
    jmp .loop
.countdown:
    user_data
    mov ecx, 20000
    loop $
    pushfd
    pop eax
    int 0x31
    int 0x30
.halting:
    user_data
    sti
    hlt
.tick:
    mov al, 0x20
    out 0x20, al
    inc dword [.count]
    mov eax, [ebp + EIP]
    mov [.eip], eax
    stc
    ret
.int_32:
    stc
    ret
.count: dd 0
.eip: dd 0
finish_image
