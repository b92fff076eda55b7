; A boot sector of small loops in 32-bit protected mode, for timing one PC against another.
; COM1 gets 'A' where the first loop starts, 'B' where the second starts, ... and '.' at the end.
; qemu_loops.py names the loops and stamps the time of each letter.

        bits 16
        org 0x7c00

COM1    equ 0x3f8
BUFFER  equ 0x100000            ; two buffers of 64 KiB: source here, destination behind it
LENGTH  equ 0x10000

%macro repeat 1                 ; opens a loop run %1 times; EBX counts, `again` closes it
        mov ebx, %1
%%top:
%define loop_top %%top
%endmacro

%macro again 0
        dec ebx
        jnz loop_top
%endmacro

start:  cli
        xor ax, ax
        mov ds, ax
        lgdt [gdt_pointer]
        in al, 0x92             ; A20 on
        or al, 2
        out 0x92, al
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp 8:protected

        align 8
gdt:    dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
        dw $ - gdt - 1
        dd gdt

        bits 32
protected:
        mov ax, 16
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x90000        ; not the page of the code: stores there are slow on any translator
        cld

        call mark               ; A: a tight loop
        repeat 200000000
        again

        call mark               ; B: integer arithmetic in registers
        repeat 200000000
        add eax, ebx
        rol eax, 3
        lea edx, [eax + ebx * 4]
        xor edx, esi
        sub esi, edx
        again

        call mark               ; C: a copy loop of loads and stores
        repeat 8000
        xor edx, edx
.copy:  mov eax, [BUFFER + edx]
        mov [BUFFER + LENGTH + edx], eax
        add edx, 4
        cmp edx, LENGTH
        jb .copy
        again

        call mark               ; D: REP MOVSD
        repeat 6000
        mov esi, BUFFER
        mov edi, BUFFER + LENGTH
        mov ecx, LENGTH / 4
        rep movsd
        again

        call mark               ; E: REP MOVSB
        repeat 1500
        mov esi, BUFFER
        mov edi, BUFFER + LENGTH
        mov ecx, LENGTH
        rep movsb
        again

        call mark               ; F: CALL and RET
        repeat 40000000
        call return
        again

        call mark               ; G: PUSH and POP
        repeat 60000000
        push eax
        push edx
        pop eax
        pop edx
        again

        call mark               ; H: reads of a port that does nothing: COM1's scratch register
        mov edx, COM1 + 7
        repeat 100000
        in al, dx
        again

        mov byte [letter], '.'
        call mark
        cli
        hlt

mark:   mov al, [letter]
        mov edx, COM1
        out dx, al
        inc byte [letter]
return: ret

letter: db 'A'

        times 510 - ($ - $$) db 0
        dw 0xaa55
