; Exhausts what a monitor keeps by page: linear pages all over 4 GiB, one frame behind thousands of them, frames that
; are not there, global ones; code with sensitive instructions in every page of memory, called and overwritten.
%include "pm.inc"
DIRECTORY equ 0x100000
TABLE equ 0x101000                      ; for all but the first 4 MiB
PAGES equ 0x200000
body:
    mov edi, DIRECTORY
    mov eax, TABLE | 7
    mov ecx, 1023                       ; the cache needs a place; attack_memory leaves it none
    rep stosd
    mov dword [DIRECTORY], 0x87
    mov edi, TABLE
    mov eax, 0x0ff00107
    mov ecx, 1024
.entry:
    stosd
    add eax, 0x1000
    loop .entry
    mov eax, cr4
    or eax, 0x90
    mov cr4, eax
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov ebx, 0x400000
.sparse:                                ; a page in each 2 MiB, twice
    mov eax, [ebx]
    mov [ebx], ebx
    add ebx, 0x200000
    cmp ebx, 0xffc00000
    jne .sparse
    mov ebx, 0x400000
.dense:
    mov eax, [ebx]
    add ebx, 0x1000
    cmp ebx, 0x1800000
    jb .dense
    mov ecx, 1024                       ; one frame everywhere
.one_frame:
    mov dword [TABLE + ecx * 4 - 4], 0x300007
    loop .one_frame
    mov eax, cr4
    and eax, ~0x80
    mov cr4, eax
    mov ebx, 0x400000
.aliases:
    inc dword [ebx + 8]
    invlpg [ebx]
    inc dword [ebx + 8]
    add ebx, 0x1000
    cmp ebx, 0xc00000
    jb .aliases
    mov eax, [0x300008]
    say "aliases"
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    ; code in every page
    xor edx, edx
    mov ebp, 2
.turn:
    mov ebx, PAGES
.code:
    mov dword [ebx], 0x00b8589c         ; PUSHF; POP EAX; MOV EAX, ...
    mov [ebx + 3], ebx
    mov dword [ebx + 7], 0xc3c88c90     ; NOP; MOV EAX, CS; RET
    call ebx
    add edx, eax
    add ebx, 0x1000
    cmp ebx, 0x600000
    jb .code
    dec ebp
    jnz .turn
    mov eax, edx
    say "code"
    ret
finish_image
