; The header of a program file (kernel/proc.c reads it), and the way into and out of main().

        bits 32
        global start, system_call
        extern main, program_data, program_file, program_memory

EXIT    equ 0

        section .header progbits alloc exec nowrite align=16
        db   "SNX1"
        dd   start, program_data, program_file, program_memory

        section .text
start:  call main
        push 0
        push 0
        push eax
        push EXIT
        call system_call

; int system_call(number, a, b, c)
system_call:
        push ebx
        mov  eax, [esp + 8]
        mov  ebx, [esp + 12]
        mov  ecx, [esp + 16]
        mov  edx, [esp + 20]
        int  0x80
        pop  ebx
        ret

        section .note.GNU-stack noalloc noexec nowrite progbits
