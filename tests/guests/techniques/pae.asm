; PAE paging and NX, [SDM3] §4.4: EFER.NXE, execution refused, 2-MiB pages, frames beyond 4 GiB, reserved bits.
%include "pm.inc"
POINTERS equ 0x100000
DIRECTORY equ 0x101000
TABLE equ 0x102000
DIRECTORY_3 equ 0x103000                ; 3 GiB
FRAME equ 0x200000
A equ 0x400000
%define PTE(linear) dword [TABLE + (((linear) >> 12) & 511) * 8]
%define HIGH(linear) dword [TABLE + (((linear) >> 12) & 511) * 8 + 4]
body:
    mov edi, POINTERS
    xor eax, eax
    mov ecx, 4 * 1024
    rep stosd
    mov dword [POINTERS], DIRECTORY | 1
    mov dword [POINTERS + 24], DIRECTORY_3 | 1
    mov dword [DIRECTORY], 0x87         ; 2-MiB pages: the guest, and FRAME
    mov dword [DIRECTORY + 8], 0x200087
    mov dword [DIRECTORY + 16], TABLE | 7
    mov dword [DIRECTORY_3], 0x200087
    mov byte [FRAME], 0xc3              ; RET
    mov byte [FRAME + 0x1000], 0xc3
    mov dword [FRAME + 4], 0x600d600d
    mov dword [FRAME + 0x1004], 0x1001
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, POINTERS
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov eax, [0xc0000004]
    say "3-gib"
    mov PTE(A), FRAME | 7
    mov eax, [A + 4]
    say "small"
    mov eax, PTE(A)
    say "entry"
    call A
    say "called"
    mov HIGH(A), 0x80000000             ; reserved while NXE is clear
    invlpg [A]
    attempt mov eax, [A + 4]
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x800
    wrmsr
    rdmsr
    and eax, 0x800
    say "nxe"
    mov eax, [A + 4]
    say "nx-read"
    attempt call A
    user .fetch
    mov HIGH(A), 0
    invlpg [A]
    call A
    say "allowed-again"
    or dword [DIRECTORY + 20], 0x80000000 ; NX on the directory entry
    mov eax, cr3
    mov cr3, eax
    attempt call A
    and dword [DIRECTORY + 20], 0x7fffffff
    mov eax, cr3
    mov cr3, eax
    mov dword [DIRECTORY_3 + 4], 0x80000000 ; NX on a 2-MiB page
    mov eax, cr3
    mov cr3, eax
    mov eax, 0xc0000000
    attempt call eax
    mov dword [DIRECTORY_3 + 4], 0
    invlpg [0xc0123000]
    mov eax, 0xc0000000
    call eax
    mov eax, [DIRECTORY_3]
    say "large-entry"
    mov eax, [0xc0001004]
    mov dword [DIRECTORY_3], 0x400087   ; moved: by INVLPG of one address of it
    mov dword [0x200000 + 0x1004], 0x2002
    invlpg [0xc0100000]
    mov eax, [0xc0001004]
    cmp eax, 0x2002
    setne al
    movzx eax, al
    say "large-moved"
    mov dword [DIRECTORY_3], 0x202087   ; reserved: bit 13 of a 2-MiB page
    invlpg [0xc0000000]
    attempt mov eax, [0xc0000000]
    mov PTE(A), 0x1007                  ; a frame beyond 4 GiB: nothing there
    mov HIGH(A), 1
    invlpg [A]
    mov dword [A], 0x12121212
    mov eax, [A]
    say "beyond-4-gib"
    mov HIGH(A), 0x100                  ; bit 40: reserved, MAXPHYADDR is 40
    invlpg [A]
    attempt mov eax, [A]
    mov HIGH(A), 0
    mov PTE(A), FRAME | 7
    invlpg [A]
    mov eax, [A + 4]
    say "back"
    mov dword [POINTERS + 24], 0        ; a whole GiB away
    mov eax, cr3
    mov cr3, eax
    attempt mov eax, [0xc0000000]
    attempt mov eax, [0x80000000]
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    ret
.fetch:
    user_data
    mov eax, A
    jmp eax
finish_image
