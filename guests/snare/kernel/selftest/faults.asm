; Instructions that fault in ring 0, each a function; an address of interest is the function's own.

        bits 32
        global f_divide, f_debug, f_breakpoint, f_overflow, f_bounds, f_undefined, f_no_fpu
        global f_absent, f_stack, f_outside_gdt, f_write_code, f_outside_idt, f_empty_gate, f_null_jump
        global f_user_code_jump

        section .text
f_divide:
        xor  ecx, ecx
        xor  edx, edx
        div  ecx
        ret
f_debug:
        pushf
        or   dword [esp], 0x100         ; TF
        popf
        nop
        ret
f_breakpoint:
        int3
        ret
f_overflow:
        mov  eax, 0x7fffffff
        inc  eax
        into
        ret
f_bounds:
        mov  eax, 5
        bound eax, [bounds]
        ret
f_undefined:
        ud2
f_no_fpu:
        fnop                            ; with CR0.TS set
        ret
f_absent:
        mov  eax, 0x30
        mov  gs, ax
        ret
f_stack:
        mov  eax, 0x30
        mov  ss, ax
        ret
f_outside_gdt:
        mov  eax, 0xf8
        mov  gs, ax
        ret
f_outside_idt:
        int  0xf0
        ret
f_empty_gate:
        int  0x40
        ret
f_null_jump:
        jmp  0:0
f_user_code_jump:
        jmp  0x1b:0
f_write_code:
        mov  eax, 0x08
        mov  ss, ax                     ; code is no stack
        ret

        section .rodata
bounds: dd 0, 1

        section .note.GNU-stack noalloc noexec nowrite progbits
