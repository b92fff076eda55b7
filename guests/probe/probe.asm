; The probe's ROM: it brings the processor to one privilege level, runs the bytes it finds at 7000h, and
; records how that ended. vmm/probe/layout.py writes the tables and parameters into RAM before each run.
;
; From reset in real mode into 32-bit protected mode with paging, all memory below 4 MiB mapped as it is;
; IRET into the level wanted. Every exception, INT 81h (the code under test is done) and what else ends it
; comes to `collect`, which copies the stack to RECORD and writes the exit port. INT 82h and the call gate
; are tests' own: they give CS in EAX and return.

ROM     equ 0xff000             ; where the 4 KiB lie below 1 MiB
GDTR    equ 0x610
IDTR    equ 0x618
REGS    equ 0x640               ; EAX EBX ECX EDX ESI EDI, DS, ESP of the frame to IRET from
RECORD  equ 0x800
DIRECTORY equ 0x4000
STACK   equ 0x6800
EXIT_PORT equ 0xf4
STUB    equ 16                  ; bytes a handler

        bits 32
        org ROM

%assign vector 0
%rep 32
        align STUB
%if vector = 8 || (vector >= 10 && vector <= 14) || vector = 17
        push dword vector
%else
        push dword 0
        push dword vector
%endif
        jmp collect
%assign vector vector + 1
%endrep
        align STUB
        push dword 0            ; 32: INT 81h
        push dword 0x81
        jmp collect
        align STUB
        mov eax, [esp + 4]      ; 33: INT 82h
        iretd
        align STUB
        mov eax, cs             ; 34: the call gate
        retf
        align STUB

collect:
        pushad
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        cld
        mov esi, esp
        mov edi, RECORD
        mov ecx, 20
        rep movsd
        mov al, 1
        out EXIT_PORT, al
.stay:  cli
        hlt
        jmp .stay

        bits 16
start:  cli
        xor ax, ax
        mov ds, ax
        o32 lgdt [GDTR]
        o32 lidt [IDTR]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 0x08:protected

        bits 32
protected:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, STACK
        mov eax, DIRECTORY
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80010000      ; PG, WP
        mov cr0, eax
        jmp .paged
.paged: mov ax, 0x28
        ltr ax
        mov esp, [REGS + 28]
        mov eax, [REGS + 24]
        mov ds, ax
        mov es, ax
        mov ebx, [REGS + 4]
        mov ecx, [REGS + 8]
        mov edx, [REGS + 12]
        mov esi, [REGS + 16]
        mov edi, [REGS + 20]
        xor ebp, ebp
        mov eax, [REGS]
        iretd

        times 0xff0 - ($ - $$) db 0xf4
        bits 16
        jmp 0xf000:0xf000 + start - $$
        times 0x1000 - ($ - $$) db 0
