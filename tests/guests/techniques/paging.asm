; Paging as guests use it, [SDM3] chapter 4: entries that become present without a flush, less is allowed with
; INVLPG, CR3 reloads, global and 4-MiB pages, CR0.WP, accessed and dirty bits, tables written while in use.
%include "pm.inc"
DIRECTORY equ 0x100000
TABLE equ 0x101000                      ; 0 to 4 MiB
TABLE_2 equ 0x102000                    ; 4 to 8 MiB
DIRECTORY_2 equ 0x103000
TABLE_3 equ 0x104000                    ; 8 to 12 MiB
FRAME equ 0x200000
%define PTE(linear) dword [TABLE_2 + (((linear) >> 12) & 1023) * 4]
A equ 0x400000
B equ 0x401000
C equ 0x402000
D equ 0x403000
body:
    mov edi, DIRECTORY
    xor eax, eax
    mov ecx, 5 * 1024
    rep stosd
    mov dword [DIRECTORY], TABLE | 7
    mov dword [DIRECTORY + 4], TABLE_2 | 7
    mov edi, TABLE
    mov eax, 7
    mov ecx, 1024
.entry:
    stosd
    add eax, 0x1000
    loop .entry
    mov edi, FRAME
    mov ecx, 16
.frame:
    mov eax, edi
    or eax, 0xf0000000
    mov [edi], eax
    add edi, 0x1000
    loop .frame
    mov eax, cr4
    or eax, 0x10                        ; PSE
    mov cr4, eax
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    say "cr0"
    mov eax, cr3
    say "cr3"
    ; not present to present needs no flush
    attempt mov eax, [A]
    mov PTE(A), FRAME | 7
    mov eax, [A]
    say "present"
    mov eax, PTE(A)
    say "accessed"
    mov [A], eax
    mov eax, PTE(A)
    say "dirty"
    mov eax, [DIRECTORY + 4]
    say "directory-accessed"
    ; another frame, then INVLPG
    mov PTE(A), FRAME + 0x1000 | 7
    invlpg [A]
    mov eax, [A]
    say "remapped"
    and PTE(A), ~0x60
    invlpg [A]
    mov eax, [A]
    mov eax, PTE(A)
    say "accessed-again"
    ; read-only: WP decides for ring 0
    and PTE(A), ~2
    invlpg [A]
    attempt mov dword [A], 0x1111
    mov eax, PTE(A)
    say "written-in-ring-0"
    mov eax, cr0
    or eax, 0x10000
    mov cr0, eax
    attempt mov dword [A], 0x2222
    user .write_a
    mov eax, cr0
    and eax, ~0x10000
    mov cr0, eax
    attempt mov dword [A], 0x3333
    user .write_a
    user .read_a
    mov eax, [A]
    say "a"
    ; supervisor pages
    mov PTE(B), FRAME + 0x2000 | 3
    mov eax, [B]
    user .read_b
    or PTE(B), 4                        ; more is allowed: no flush
    user .read_b
    and dword [DIRECTORY + 4], ~4
    mov eax, cr3
    mov cr3, eax
    user .read_b
    or dword [DIRECTORY + 4], 4
    user .fetch
    ; several changes and one CR3 load
    mov PTE(A), FRAME + 0x4000 | 7
    mov PTE(B), FRAME + 0x5000 | 7
    mov PTE(C), 0
    mov eax, cr3
    mov cr3, eax
    mov eax, [A]
    xor eax, [B]
    say "after-cr3"
    attempt mov eax, [C]
    ; an access over two pages, the second missing
    mov PTE(C), FRAME + 0x6000 | 7
    mov PTE(D), 0
    invlpg [D]
    attempt mov dword [D - 2], 0x12345678
    mov eax, [FRAME + 0x6ffc]
    say "nothing-written"
    mov PTE(D), FRAME + 0x7000 | 7
    attempt mov dword [D - 2], 0x12345678
    mov eax, [D]
    say "over-two-pages"
    ; two directories: an address space each
    mov esi, DIRECTORY
    mov edi, DIRECTORY_2
    mov ecx, 1024
    rep movsd
    mov dword [DIRECTORY_2 + 4], TABLE_3 | 7
    mov dword [TABLE_3 + ((A >> 12) & 1023) * 4], FRAME + 0x8000 | 7
    mov ecx, 100
    xor edx, edx
.spaces:
    mov eax, DIRECTORY_2
    mov cr3, eax
    add edx, [A]
    mov [A + 4], ecx
    mov eax, DIRECTORY
    mov cr3, eax
    sub edx, [A]
    add edx, [FRAME + 0x8004]
    loop .spaces
    mov eax, edx
    say "spaces"
    ; global pages survive a CR3 load
    mov eax, cr4
    or eax, 0x80
    mov cr4, eax
    mov PTE(A), FRAME + 0x9000 | 0x107
    mov PTE(B), FRAME + 0xa000 | 7
    invlpg [A]
    mov eax, [A]
    mov eax, [B]
    mov PTE(A), FRAME + 0xb000 | 0x107
    mov PTE(B), FRAME + 0xc000 | 7
    mov eax, cr3
    mov cr3, eax
    mov eax, [B]
    say "local-forgotten"
    invlpg [A]
    mov eax, [A]
    say "global-by-invlpg"
    mov PTE(A), FRAME + 0x9000 | 0x107
    mov eax, cr4
    and eax, ~0x80
    mov cr4, eax
    mov eax, [A]
    say "global-by-cr4"
    ; 4-MiB pages
    mov dword [DIRECTORY + 8], 0x000000 | 0x87
    mov eax, [0x800000 + FRAME]
    say "large"
    mov dword [0x800000 + FRAME + 4], 0x4444
    mov eax, [FRAME + 4]
    say "large-written"
    mov eax, [DIRECTORY + 8]
    say "large-entry"
    mov eax, [0x800000 + FRAME + 0x1000]
    mov dword [DIRECTORY + 8], 0x400000 | 0x87
    invlpg [0xa00000]                   ; one address of it for all
    mov eax, [0x800000 + FRAME]
    say "large-moved"
    mov eax, [0x800000 + FRAME + 0x1000]
    say "large-moved-elsewhere"
    mov dword [DIRECTORY + 8], TABLE_2 | 7 ; and small again
    invlpg [0x800000]
    mov eax, [0x801000]
    say "small-again"
    mov dword [DIRECTORY + 8], 0x200000 | 0x87 ; reserved bit 21
    invlpg [0x800000]
    attempt mov eax, [0x800000]
    mov dword [DIRECTORY + 8], 0x000000 | 0x187 ; beyond RAM by PSE-36
    or dword [DIRECTORY + 8], 0x2000
    invlpg [0x800000]
    attempt mov eax, [0x800000]
    attempt mov dword [0x800000 + FRAME], 0x5555
    mov eax, [FRAME]
    say "pse-36-is-elsewhere"
    mov eax, cr4
    and eax, ~0x10
    mov cr4, eax
    mov dword [DIRECTORY + 8], TABLE_2 | 0x87 ; PS is ignored without PSE
    attempt mov eax, [0x801000]
    say "no-pse"
    ; tables mapped into themselves, written while in use
    mov dword [DIRECTORY + 12], DIRECTORY | 7
    mov eax, cr3
    mov cr3, eax
    mov eax, [0xc03000 + 4]             ; the directory, as the page of itself
    and eax, ~0xfff
    say "self-map"
    mov dword [0xc01000 + 4 * 9], FRAME + 0xd000 | 7
    mov eax, [0x409000]
    say "by-self-map"
    mov ecx, 64
    xor edx, edx
.walk:
    mov eax, ecx
    and eax, 15
    shl eax, 12
    add eax, FRAME | 7
    mov [0xc01000 + 4 * 9], eax
    invlpg [0x409000]
    add edx, [0x409000]
    mov [0x409008], ecx
    loop .walk
    mov eax, edx
    say "walk"
    mov eax, [0xc01000 + 4 * 9]
    say "walk-dirty"
    ; the top of the linear space
    mov dword [DIRECTORY + 4 * 1023], TABLE_3 | 7
    mov dword [TABLE_3 + 4 * 1023], FRAME + 0xe000 | 7
    mov dword [FRAME + 0xeffc], 0x89abcdef
    mov eax, [0xfffffffc]
    say "top"
    mov [0xffffffff], al
    mov eax, [0xfffffffc]
    say "top-written"
    ; a handler that pages in, for the instruction to be tried again
    mov PTE(A), 0
    invlpg [A]
    hook 14, .page_in
    mov eax, 1
    xadd [A + 0x10], eax
    mov eax, [FRAME + 0xf010]
    say "paged-in"
    mov esi, FRAME + 0x8000
    mov edi, A - 0x10
    mov PTE(A), 0
    mov dword [TABLE + 4 * 0x3ff], FRAME + 0x1000 | 7
    invlpg [A]
    mov ecx, 8
    rep movsd                           ; the fault comes in the middle
    mov eax, [A + 0xc]
    say "string"
    mov eax, [.faults]
    say "faults"
    hook 14, 0
    ; paging off and on again
    mov ecx, 20
.off:
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    mov dword [A], 0x77777777
    or eax, 0x80000000
    mov cr0, eax
    loop .off
    mov eax, [A]
    say "on-again"
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    mov eax, [A]
    say "off"
    ret
.page_in:
    inc dword [.faults]
    mov PTE(A), FRAME + 0xf000 | 7
    mov ax, DATA0
    stc
    ret
.faults: dd 0
.write_a:
    user_data
    mov dword [A], 0x6666
    int 0x30
.read_a:
    user_data
    mov eax, [A]
    int 0x31
    int 0x30
.read_b:
    user_data
    mov eax, [B]
    int 0x31
    int 0x30
.fetch:
    user_data
    mov eax, C + 0x5000
    jmp eax
finish_image
