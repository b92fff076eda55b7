; Tests of BIOS services that need no disk, and of what the processor says of itself.

        bits    16
SCREEN          equ 0xb800

; Attribute and character written by 09h are read back by 08h and lie in the frame buffer; the
; cursor moves with 02h and 0Eh. Row 1, under the title, then shows a bar of sixteen colours.
test_text:
        mov     dx, 0x0104              ; row 1, column 4
        mov     bh, 0
        mov     ah, 0x02
        int     0x10
        mov     ax, 0x0954
        mov     bx, 0x001e
        mov     cx, 3
        int     0x10
        mov     ah, 0x08
        mov     bh, 0
        int     0x10
        movzx   eax, ax
        mov     [detail], eax
        cmp     ax, 0x1e54
        jne     .fail
        push    es
        push    word SCREEN
        pop     es
        cmp     word [es:(1 * 80 + 6) * 2], 0x1e54
        pop     es
        jne     .fail
        mov     ax, 0x0e78
        mov     bx, 7
        int     0x10
        mov     ah, 0x03
        mov     bh, 0
        int     0x10
        movzx   edx, dx
        mov     [detail], edx
        cmp     dx, 0x0105
        jne     .fail
        call    colour_bar
        clc
        ret
.fail:  stc
        ret

; Five full blocks of each colour in row 1; the cursor ends at the start of row 2.
colour_bar:
        mov     dx, 0x0100
.next:  mov     bh, 0
        mov     ah, 0x02
        int     0x10
        mov     al, dl
        aam     5                       ; AH = column / 5 = colour
        mov     bl, ah
        mov     ax, 0x09db
        mov     cx, 5
        int     0x10
        add     dl, 5
        cmp     dl, 80
        jb      .next
        mov     dx, 0x0200
        mov     ah, 0x02
        int     0x10
        ret

test_lower_memory:
        int     0x12
        movzx   eax, ax
        mov     [detail], eax
        cmp     ax, 512                 ; CF set if below
        jb      .end
        cmp     ax, 641
        cmc
.end:   ret

; Walks the map: it has memory at 0 and at 1 MiB, no empty or absurd entry, and an end.
test_memory_map:
        xor     ebx, ebx
        xor     bp, bp                  ; bit 0: memory at 0, bit 1: at 1 MiB
        mov     si, 64                  ; more entries than any map has
.next:  mov     eax, 0xe820
        mov     ecx, 20
        mov     edx, 0x534d4150         ; 'SMAP'
        mov     di, BUFFER
        push    si
        push    bp
        int     0x15
        pop     bp
        pop     si
        jc      .last                   ; some end with an error after the last entry
        mov     [detail], eax
        cmp     eax, 0x534d4150
        jne     .fail
        cmp     cl, 20
        jb      .fail
        mov     eax, [BUFFER + 8]
        or      eax, [BUFFER + 12]
        jz      .fail
        cmp     dword [BUFFER + 16], 1
        jne     .continue
        cmp     dword [BUFFER + 4], 0
        jne     .continue
        cmp     dword [BUFFER], 0
        jne     .high
        or      bp, 1
.high:  cmp     dword [BUFFER], 0x100000
        jne     .continue
        or      bp, 2
.continue:
        test    ebx, ebx
        jz      .last
        dec     si
        jnz     .next
.fail:  stc
        ret
.last:  movzx   eax, bp
        mov     [detail], eax
        cmp     bp, 3                   ; CF set if a bit is missing
        ret

; With the gate off FFFF:0510 is 0000:0500; with it on it is the byte at 100500h.
test_a20:
        push    ds
        push    word 0xffff
        pop     fs
        mov     ax, 0x2400
        int     0x15
        jc      .fail
        cli
        mov     byte [0x500], 0x5a
        mov     byte [fs:0x510], 0xa5
        mov     bl, [0x500]
        sti
        mov     ax, 0x2401
        int     0x15
        jc      .fail
        mov     byte [0x500], 0x5a
        mov     byte [fs:0x510], 0xc3
        mov     bh, [0x500]
        movzx   eax, bx
        mov     [detail], eax
        cmp     bx, 0x5aa5
        je      .end                    ; CF clear
.fail:  mov     ax, 0x2401
        int     0x15
        stc
.end:   pop     ds
        ret

; The ID flag can be toggled, leaf 0 names a vendor in letters, leaf 1 has a family of 4 or more.
test_cpuid:
        pushfd
        pop     eax
        mov     ecx, eax
        xor     eax, 1 << 21
        push    eax
        popfd
        pushfd
        pop     eax
        push    ecx
        popfd
        xor     eax, ecx
        test    eax, 1 << 21
        jz      .fail
        xor     eax, eax
        cpuid
        mov     [detail], ebx
        test    eax, eax
        jz      .fail
        cmp     bl, 'A'
        jb      .fail
        mov     eax, 1
        cpuid
        mov     [detail], eax
        shr     ax, 8
        and     al, 15
        cmp     al, 4                   ; CF set if below
        ret
.fail:  stc
        ret

; Text, ticks and disk reads still work once protected mode is left.
test_bios_again:
        mov     ah, 0
        int     0x1a
        call    test_chs_read
        jc      .end
        mov     ah, 0x0f
        int     0x10
        movzx   eax, ax
        mov     [detail], eax
        cmp     ax, 0x5003              ; 80 columns, mode 3
        je      .end
        stc
.end:   mov     byte [skipped], 0
        ret
