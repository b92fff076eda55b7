; Every way into the kernel: 256 entries of the IDT would be too many, these 51 are enough.
;
; Each stub leaves vector and error code (0 if the processor pushes none) and joins trap_entry,
; which completes `struct frame` (trap.h) and calls trap(). trap_return is the one way out.

        bits 32
        global trap_entry, trap_return, trap_stubs
        extern trap

KERNEL_DATA equ 0x10

        section .text
trap_entry:
        pusha
        push ds
        push es
        push fs
        push gs
        mov  eax, KERNEL_DATA
        mov  ds, eax
        mov  es, eax
        cld
        push esp
        call trap
        add  esp, 4
trap_return:
        pop  gs
        pop  fs
        pop  es
        pop  ds
        popa
        add  esp, 8                     ; vector, error code
%ifdef PARA
        push eax                        ; the monitor pops it last
        mov  eax, 23
        int  0x82
%else
        iret
%endif

%macro stub 1
stub_%1:
  %if %1 = 8 || (%1 >= 10 && %1 <= 14) || %1 = 17
  %else
        push 0
  %endif
        push %1
        jmp  trap_entry
%endmacro

%assign vector 0
%rep 48
        stub vector
  %assign vector vector + 1
%endrep
        stub 128                        ; system calls
        stub 129                        ; the self-test's own interrupt

        section .rodata
trap_stubs:                             ; in the order of trap.c's table
%assign vector 0
%rep 48
        dd stub_%+vector
  %assign vector vector + 1
%endrep
        dd stub_128, stub_129

        section .note.GNU-stack noalloc noexec nowrite progbits
