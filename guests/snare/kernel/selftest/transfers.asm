; Transfers of control within ring 0, and the target of the call gate: each tells what CS or EFLAGS
; came of it. C cannot say these.

        bits 32
        global far_jump, far_call, far_return, iret_flags, reload_ss, pop_ss, call_gate_entry

CODE    equ 0x08
DATA    equ 0x10

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
        push CODE
        push .here
        iret
.here:  pushf
        pop  eax
        ret

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
        retf

        section .note.GNU-stack noalloc noexec nowrite progbits
