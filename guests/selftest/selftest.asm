; Trapline's boot program: a demonstration and a self-check of a PC.
;
; A boot sector and fifteen more sectors, loaded at 0000:7C00. It exercises what a minimal PC
; must have, prints one TAP line a test to the screen and to COM1 (115200, polled), and leaves
; through the exit port F4h with 0 (all passed) or 1. No wait is unbounded.
;
; Build: nasm -f bin -o selftest.bin selftest.asm      (build.py does it and makes the images)
;
; On the medium, in 512-byte sectors: 0-15 this program, 32-63 a known pattern, 96 scratch
; (hard disks only). Dword j of pattern sector n is (n * 128 + j) * 9E3779B1h.
;
; Memory: 7C00 program and, downward, the stack; A000 sector buffers; 10000 page directory,
; 11000 page table, 12000 IDT, 13000-1AFFF stacks of rings 0 and 3, 1C000 a page to alias.

LOAD            equ 0x7c00
PROGRAM_SECTORS equ 16
PATTERN_LBA     equ 32
PATTERN_SECTORS equ 32
PATTERN_STEP    equ 0x9e3779b1
SCRATCH_LBA     equ 96
BUFFER          equ 0xa000              ; 16 KiB: the pattern
BUFFER2         equ 0xe000              ; one sector
MARK            equ 0x454e444d          ; 'MDNE', the program's last dword
FIRST_CD        equ 0x90                ; boot drives from here on are CD-ROMs

        org     LOAD
        bits    16
        cpu     586

start:  jmp     0:.here
.here:  cli
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, LOAD
        sti
        cld
        mov     [boot_drive], dl
        cmp     dl, FIRST_CD            ; El Torito loads the whole program
        jae     .check
        mov     ax, 0x0200 + PROGRAM_SECTORS - 1
        mov     bx, LOAD + 512
        mov     cx, 2                   ; cylinder 0, sector 2
        mov     dh, 0
        int     0x13
.check: cmp     dword [end_mark], MARK
        je      main
        mov     si, load_error
.next:  lodsb
        mov     ah, 0x0e
        mov     bx, 7
        int     0x10
        test    al, al
        jnz     .next
        mov     al, 1
        jmp     leave_machine

; Ends the run with AL as the value of the exit port, or halts where there is no such port.
leave_machine:
        cli
        out     0xf4, al
.halt:  hlt
        jmp     .halt

load_error:     db "self-test: the program could not be read", 13, 10, 0
boot_drive:     db 0

        times 446 - ($ - $$) db 0       ; no partitions
        times 510 - ($ - $$) db 0
        dw      0xaa55

%include "print.asm"
%include "bios.asm"
%include "disk.asm"
%include "chips.asm"
%include "protected.asm"
%include "faults.asm"

        bits    16
main:   mov     ax, 3
        int     0x10
        call    serial_init
        mov     byte [colour], 0x0f
        mov     si, title
        call    puts
        run     test_text, "BIOS text output with colours"
        run     test_lower_memory, "INT 12h lower memory"
        run     test_memory_map, "memory map E820"
        run     test_a20, "A20 gate off and on"
        run     test_cpuid, "CPUID"
        run     test_chs_read, "INT 13h CHS read, 32 sectors"
        run     test_edd_read, "INT 13h EDD read, 32 sectors"
        run     test_write, "disk write and read back"
        run     test_ide_identify, "IDE IDENTIFY"
        run     test_ide_read, "IDE PIO read, 2 sectors"
        run     test_bios_timer, "timer interrupts through INT 1Ch"
        run     test_keyboard, "keyboard controller"
        run     test_rtc, "real-time clock"
        run     test_protected, "protected mode: GDT, IDT, TSS"
        run     test_divide, "#DE"
        run     test_undefined, "#UD"
        run     test_protection, "#GP with its error code"
        run     test_paging, "paging on, one page aliased"
        run     test_not_present, "#PF on a page not present"
        run     test_read_only, "#PF on a read-only page"
        run     test_irq, "timer interrupts through IDT and PIC"
        run     test_ring3, "ring 3, INT 80h and back"
        run     test_ring3_cli, "ring 3 may not CLI"
        run     test_ring3_page, "ring 3 may not read a supervisor page"
        run     test_unreal, "real mode again, with a 4 GiB segment"
        run     test_bios_again, "BIOS services after protected mode"

        mov     al, [passed]
        cmp     al, [total]
        mov     byte [colour], 0x0a
        je      .colour
        mov     byte [colour], 0x0c
.colour:
        mov     si, summary
        call    puts
        mov     al, [passed]
        call    put_number
        mov     si, of
        call    puts
        mov     al, [total]
        call    put_number
        mov     si, summary_end
        call    puts
        mov     al, [total]
        sub     al, [passed]
        setnz   al
        jmp     leave_machine

title:          db "Trapline self-test", 13, 10, 0
summary:        db "self-test: ", 0
of:             db " of ", 0
summary_end:    db " passed", 13, 10, 0

        times PROGRAM_SECTORS * 512 - 4 - ($ - $$) db 0
end_mark:       dd MARK
