; Transfers of control within ring 0, and the target of the call gate: each tells what CS or EFLAGS
; came of it. C cannot say these.

        bits 32
        global far_jump, far_call, far_return, iret_flags, reload_ss, pop_ss, call_gate_entry
%ifdef PARA
        extern shared
%endif

%ifdef PARA
RING    equ 1                           ; the monitor's: kernel/para/machine.h
%else
RING    equ 0
%endif
CODE    equ 0x08 | RING
DATA    equ 0x10 | RING

        section .text
; u32 far_jump(void): CS after a far jump.
far_jump:
        jmp  CODE:.here
.here:  xor  eax, eax
        mov  ax, cs
        ret

; u32 far_call(void): the CS that a far call pushes.
far_call:
        call CODE:.target
        ret
.target:
        mov  eax, [esp + 4]
        and  eax, 0xffff
        retf

; u32 far_return(void): CS after RETF.
far_return:
        push CODE
        push .here
        retf
.here:  xor  eax, eax
        mov  ax, cs
        ret

; u32 iret_flags(u32 flags): EFLAGS after an IRET that was to load `flags`.
iret_flags:
        push dword [esp + 4]
        push 0x08
        push .here
%ifdef PARA
        push eax
        mov  eax, 23
        int  0x82
.here:  xor  eax, eax
        test byte [shared + 1], 1       ; upcall_mask
        jnz  .off
        or   eax, 0x200
.off:   ret
%else
        iret
.here:  pushf
        pop  eax
        ret
%endif

; u32 reload_ss(void), pop_ss(void): SS after MOV and POP of a selector with RPL 0.
reload_ss:
        mov  eax, DATA
        mov  ss, ax
        xor  eax, eax
        mov  ax, ss
        ret
pop_ss: push DATA
        pop  ss
        xor  eax, eax
        mov  ax, ss
        ret

; Called by ring 3 through the gate: CS here, and the caller's CS in the upper half.
call_gate_entry:
        mov  eax, [esp + 4]
        shl  eax, 16
        mov  ax, cs
%ifdef PARA
        and  al, ~RING                  ; which descriptor, whatever the ring
%endif
        retf

        section .note.GNU-stack noalloc noexec nowrite progbits
