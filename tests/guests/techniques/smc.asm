; Code that modifies and checks itself: in its own page, through another linear address, from ring 3, by REP
; MOVS; sensitive instructions that come and go; a page of them read byte by byte; jumps into the middle of one.
%include "pm.inc"
DIRECTORY equ 0x100000
TABLE equ 0x101000
PLACE equ 0x60000
ALIAS equ 0x340000
ALIAS_2 equ 0x741000
%macro checksum 0
    mov esi, sensitive
    mov ecx, sensitive.end - sensitive
    call sum
%endmacro
body:
    checksum
    say "checksum"
    call sensitive
    say "flags-and-selectors"
    checksum
    say "checksum-after-running"
    mov esi, sensitive                  ; the bytes themselves, once patched
    movzx eax, byte [sensitive.pushf]
    say "pushf-byte"
    ; an immediate in its own page, rewritten at each turn, a PUSHF beside it
    mov ecx, 200
    xor edx, edx
.turn:
    mov [.immediate + 1], ecx
.immediate:
    mov eax, 0x11111111
    add edx, eax
    pushfd
    pop eax
    and eax, 0x200
    add edx, eax
    loop .turn
    mov eax, edx
    say "immediates"
    ; an instruction that becomes sensitive, and innocuous again
    mov ecx, 20
    xor edx, edx
.becomes:
    mov byte [.changing], 0x90
    mov byte [.changing + 1], 0x90
    call .run_changing
    mov byte [.changing], 0x9c          ; PUSHF; POP EAX
    mov byte [.changing + 1], 0x58
    call .run_changing
    mov word [.changing], 0xe08c        ; MOV EAX, FS
    call .run_changing
    mov word [.changing], 0xc88c        ; MOV EAX, CS
    call .run_changing
    mov word [.changing], 0xd08c        ; MOV EAX, SS
    call .run_changing
    loop .becomes
    mov eax, edx
    say "becomes"
    ; copied elsewhere, run, overwritten by REP MOVS, run again
    mov ecx, 30
    xor edx, edx
.copies:
    push ecx
    mov esi, variant_1
    test cl, 1
    jz .first
    mov esi, variant_2
.first:
    mov edi, PLACE
    mov ecx, 16
    rep movsb
    call PLACE
    add edx, eax
    pop ecx
    loop .copies
    mov eax, edx
    say "copies"
    ; one instruction of itself overwritten: the very next one
    mov byte [.next], 0x40              ; INC EAX
    mov eax, 5
    mov byte [.next], 0x48              ; DEC EAX
.next:
    nop
    pushfd
    pop ebx
    say "next"
    ; jumps into the middle of instructions: B8 9C .. holds a PUSHF, and is an immediate too
    mov ecx, 8
    xor edx, edx
.middles:
    call middle
    add edx, eax
    call middle + 1
    and eax, 0xffff
    add edx, eax
    call middle
    add edx, eax
    loop .middles
    mov eax, edx
    say "middles"
    ; the same under paging, written through an alias
    mov edi, DIRECTORY
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov dword [DIRECTORY], TABLE | 7
    mov dword [DIRECTORY + 4], TABLE | 7
    mov edi, TABLE
    mov eax, 7
    mov ecx, 1024
.entry:
    stosd
    add eax, 0x1000
    loop .entry
    mov dword [TABLE + (ALIAS >> 12) * 4], PLACE | 7
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov ecx, 30
    xor edx, edx
.aliases:
    push ecx
    mov esi, variant_1
    test cl, 1
    jz .second
    mov esi, variant_2
.second:
    mov edi, ALIAS
    test cl, 2
    jz .this_alias
    mov edi, ALIAS + 0x400000           ; a second table, the same page
.this_alias:
    mov ecx, 16
    rep movsb
    call PLACE
    add edx, eax
    mov eax, ALIAS
    call eax
    add edx, eax
    pop ecx
    loop .aliases
    mov eax, edx
    say "aliases"
    ; an alias mapped after the code has run
    mov esi, variant_1
    mov edi, PLACE
    mov ecx, 16
    rep movsb
    call PLACE
    mov edx, eax
    mov dword [TABLE + 0x341 * 4], PLACE | 7
    mov byte [0x341000 + variant_1.value + 1 - variant_1], 0x77
    call PLACE
    add eax, edx
    say "late-alias"
    ; its page remapped under its feet to a frame with other code
    mov esi, variant_2
    mov edi, PLACE + 0x1000
    mov ecx, 16
    rep movsb
    xor edx, edx
    mov ecx, 10
.remap:
    xor dword [TABLE + (ALIAS >> 12) * 4], 0x1000
    invlpg [ALIAS]
    mov eax, ALIAS
    call eax
    lea edx, [edx * 2 + eax]
    loop .remap
    mov eax, edx
    say "remapped"
    ; ring 3 writes the code of both
    user .ring3
    call PLACE
    say "written-in-ring-3"
    mov dword [user_flags], 0x3002
    user .ring3_flags
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    checksum
    say "checksum-at-the-end"
    ret
.run_changing:
    mov eax, 7
.changing:
    nop
    nop
    and eax, 0xffff
    lea edx, [edx + edx * 2]
    add edx, eax
    ret
.ring3:
    user_data
    mov ecx, 20
    xor ebx, ebx
.user_turn:
    mov [.user_immediate + 1], ecx
.user_immediate:
    mov eax, 0
    add ebx, eax
    loop .user_turn
    mov eax, ebx
    int 0x31
    mov esi, variant_1
    mov edi, PLACE
    mov ecx, 16
    rep movsb
    call PLACE
    int 0x31
    mov byte [PLACE + variant_1.value + 1 - variant_1], 0x33
    int 0x30
.ring3_flags:
    user_data
    pushfd
    pop eax
    int 0x31
    cli
    pushfd
    pop eax
    int 0x31
    mov byte [.user_cli], 0xfb
.user_cli:
    nop
    pushfd
    pop eax
    int 0x31
    cli
    int 0x30
sum:
    xor eax, eax
.byte:
    rol eax, 1
    add al, [esi]
    inc esi
    loop .byte
    ret
sensitive:
    xor eax, eax
.pushf:
    pushfd
    pop eax
    and eax, 0x3200
    mov bx, cs
    add ax, bx
    push ss
    pop ebx
    add eax, ebx
    sgdt [.stored]
    add eax, [.stored + 2]
    sldt bx
    add ax, bx
    str bx
    add ax, bx
    smsw bx
    and bx, 1
    add ax, bx
    push cs
    pop ebx
    add eax, ebx
    push eax
    popfd
    pushfd
    pop ebx
    and ebx, 0x3cd5
    add eax, ebx
    push dword 2
    popfd
    ret
.stored: dw 0
    dd 0
.end:
variant_1:
    pushfd
    pop ebx
.value:
    mov eax, 0x11
    ret
    times 16-($-variant_1) nop
variant_2:
    mov bx, cs
    mov eax, 0x22
    ret
    times 16-($-variant_2) nop
middle:
    mov eax, 0x0000589c                 ; from the second byte: PUSHF; POP EAX; ADD [EAX], AL twice
    jmp .out
.out:
    ret
finish_image
