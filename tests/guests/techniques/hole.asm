; The 2 MiB at 60000000h, where nothing is mapped and a translation cache likes to have its data: ring 3 gets its page
; faults in all of it, ring 0 behind the first 129 pages.
%include "pm.inc"
DIRECTORY equ 0x100000
HOLE equ 0x60000000
DATA_BYTES equ 129 * 0x1000
body:
    mov edi, DIRECTORY
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov dword [DIRECTORY], 0x87
    mov eax, cr4
    or eax, 0x10
    mov cr4, eax
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov eax, 0x1234
    attempt mov eax, [HOLE + DATA_BYTES]
    attempt mov [HOLE + DATA_BYTES], eax
    attempt mov [HOLE + 0x1ffffc], eax
    attempt mov eax, [HOLE - 4]
    attempt mov eax, [HOLE + 0x200000]
    user .reads
    user .writes
    user .reads_table
    user .jumps
    mov eax, cr2
    say "last"
    ret
.reads:
    user_data
    mov eax, [HOLE]
.writes:
    user_data
    mov [HOLE + 4], eax
.reads_table:
    user_data
    mov eax, [HOLE + 0x1000]
.jumps:
    mov eax, HOLE
    jmp eax
finish_image
