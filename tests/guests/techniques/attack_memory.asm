; Writes wherever it can reach: all 4 GiB of linear space by 4-MiB pages whose frames go up to 2^40, by PAE frames
; around 2^39 and beyond 2^40, over the top of the linear space, and below the base of a segment. What holds
; this guest itself it maps as it is and leaves alone.
%include "pm.inc"
%ifndef STEP
%define STEP 0x200000
%endif
%macro attempt_skip 1+
    mov dword [resume], %%after
    %1
%%after:
%endmacro
DIRECTORY equ 0x100000
POINTERS equ 0x101000
DIRECTORIES equ 0x102000                ; four
TABLE equ 0x106000
WRAPPING equ SPARE
body:
    hook 14, skip
    hook 13, skip
    mov eax, cr4
    or eax, 0x10
    mov cr4, eax
    mov dword [.turns], 3
.turn:
    mov edi, DIRECTORY                  ; frame bits 39:32 change with each turn and entry
    mov dword [edi], 0x87
    mov ecx, 1
.large:
    mov eax, ecx
    imul eax, [.turns]
    and eax, 0xff
    shl eax, 13
    mov edx, ecx
    shl edx, 22
    or eax, edx
    or eax, 0x87
    test cl, 3
    jnz .far_frame
    and eax, 0xffc00fff                 ; and some on RAM and below 4 GiB
    or eax, 0x80 << 13                  ; 2^39
.far_frame:
    mov [edi + ecx * 4], eax
    inc ecx
    cmp ecx, 1024
    jb .large
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov ebx, 0x400000
.touch:
    call scribble
    add ebx, 0x3ff000
    call scribble
    sub ebx, 0x3ff000
    add ebx, 2 * STEP
    jnc .touch
    call over_the_top
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    dec dword [.turns]
    jnz .turn
    say "large"
    ; PAE: frames at 2^39 and its neighbours, 2^40, 2^51, with NX, reserved or not
    mov edi, POINTERS
    mov ecx, 0x6000 / 4
    xor eax, eax
    rep stosd
    mov dword [POINTERS], DIRECTORIES | 1
    mov dword [POINTERS + 8], (DIRECTORIES + 0x1000) | 1
    mov dword [POINTERS + 16], (DIRECTORIES + 0x2000) | 1
    mov dword [POINTERS + 24], (DIRECTORIES + 0x3000) | 1
    mov dword [DIRECTORIES], 0x87
    mov ecx, 1
.pae:
    mov eax, ecx
    shl eax, 21
    or eax, 0x87
    mov [DIRECTORIES + ecx * 8], eax
    mov eax, ecx
    and eax, 15
    mov eax, [.highs + eax * 4]
    mov [DIRECTORIES + ecx * 8 + 4], eax
    inc ecx
    cmp ecx, 2048
    jb .pae
    mov dword [DIRECTORIES + 8], TABLE | 7
    mov dword [DIRECTORIES + 12], 0
    mov edi, TABLE
    xor ecx, ecx
.small:
    mov eax, ecx
    shl eax, 12
    or eax, 7
    mov [TABLE + ecx * 8], eax
    mov dword [TABLE + ecx * 8 + 4], 0x80 ; 2^39 and on: the monitor's own pages
    inc ecx
    cmp ecx, 512
    jb .small
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x800
    wrmsr
    mov eax, POINTERS
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov ebx, 0x200000
.touch_pages:
    call scribble
    add ebx, 0x1000
    cmp ebx, 0x400000
    jb .touch_pages
.touch_pae:
    call scribble
    add ebx, 0x1ff000
    call scribble
    sub ebx, 0x1ff000
    add ebx, STEP
    jnc .touch_pae
    call over_the_top
    mov dword [POINTERS + 24 + 4], 0x80 ; a directory in the monitor's memory, and CR3 anywhere
    mov eax, cr3
    mov cr3, eax
    mov ebx, 0xc0000000
    call scribble
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    say "pae"
    ; no paging: every 4 MiB but the first 16
    mov ebx, 0x1000000
.touch_real:
    call scribble
    add ebx, 2 * STEP
    jnc .touch_real
    call over_the_top
    ; the segment's base makes offsets wrap
    mov dword [gdt + WRAPPING], 0xffff
    mov dword [gdt + WRAPPING + 4], 0xffcf92ff
    mov ax, WRAPPING
    mov gs, ax
    mov dword [gs:0x00ffffff], eax      ; FFFFFFFFh + ...
    mov eax, [gs:0x00fffffe]
    mov dword [gs:0xfffffffc], eax
    say "unpaged"
    ret
.turns: dd 0
.highs: dd 0, 0x7f, 0x80, 0x81, 0xff, 0x100, 0x80000, 0x80000080, 1, 2, 0x40, 0x180, 0xfffff, 0x80, 0x80, 0x82
; EBX: an address; four kinds of access; a fault skips the instruction
scribble:
    attempt_skip mov dword [ebx], 0xbadc0de5
    attempt_skip mov eax, [ebx]
    attempt_skip add [ebx + 0xff8], eax
    attempt_skip xchg [ebx + 2], al
    ret
over_the_top:
    mov ebx, 0xffffffff
    attempt_skip mov eax, [ebx]
    attempt_skip mov [ebx], eax
    attempt_skip mov ax, [ebx]
    attempt_skip mov [ebx], ax
    attempt_skip fnsave [ebx - 20]
    fninit
    ret
; an event of an `attempt_skip`: on behind it
skip:
    mov eax, [resume]
    mov [ebp + EIP], eax
    stc
    ret
finish_image
