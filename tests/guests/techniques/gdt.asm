; The GDT as kernels treat it: descriptors changed while loaded, the table moved, its page mapped to another
; frame, an entry rewritten at every switch as thread-local storage is, limits cut, and the page made read-only.
%include "pm.inc"
FIRST equ SPARE
SECOND equ SPARE + 8
TLS equ SPARE + 16
NEW_GDT equ 0x4000
DIRECTORY equ 0x100000
PAGE_TABLE equ 0x101000
OTHER_FRAME equ 0x102000
%macro base 2                           ; descriptor at ADDRESS, base below 16 MiB in EBX
    mov [%1 + 2], bx
    mov eax, %2
    shr eax, 16
    mov [%1 + 4], al
%endmacro
body:
    mov esi, .descriptors
    mov edi, gdt + SPARE
    mov ecx, 6
    rep movsd
    mov dword [0x5010], 0xaaaa5010
    mov dword [0x5110], 0xaaaa5110
    mov dword [0x5210], 0xaaaa5210
    mov ax, FIRST
    mov fs, ax
    mov eax, [fs:0x10]
    say "first"
    mov word [gdt + FIRST + 2], 0x5100
    mov eax, [fs:0x10]
    say "hidden-part-stays"
    mov ax, FIRST
    mov fs, ax
    mov eax, [fs:0x10]
    say "loaded-again"
    mov byte [gdt + FIRST + 5], 0x12
    mov ax, FIRST
    attempt mov fs, ax
    mov byte [gdt + FIRST + 5], 0x89    ; now a TSS
    mov ax, FIRST
    attempt mov fs, ax
    mov byte [gdt + FIRST + 5], 0xf2
    mov ax, FIRST
    attempt mov fs, ax
    mov ax, FIRST | 3
    attempt mov gs, ax
    mov ax, FIRST
    attempt mov ss, ax                  ; DPL 3
    mov byte [gdt + FIRST + 5], 0x90    ; read-only
    mov ax, FIRST
    attempt mov fs, ax
    mov ax, FIRST
    attempt mov ss, ax
    mov eax, [gdt + FIRST + 4]
    say "accessed"
    mov edi, NEW_GDT                    ; the table moved; the old one spoilt
    mov esi, gdt
    mov ecx, GDT_BYTES / 4
    rep movsd
    mov word [NEW_GDT + SECOND + 2], 0x5200
    lgdt [.new_gdtr]
    mov ax, SECOND
    mov fs, ax
    mov eax, [fs:0x10]
    say "moved"
    mov word [gdt + SECOND + 2], 0x5000
    mov ax, SECOND
    mov fs, ax
    mov eax, [fs:0x10]
    say "old-table-forgotten"
    sgdt [.stored]
    mov eax, [.stored + 2]
    say "base"
    movzx eax, word [.stored]
    say "limit"
    lgdt [.short_gdtr]
    mov ax, SECOND
    attempt mov fs, ax                  ; beyond the limit
    mov ax, DATA0
    attempt mov fs, ax
    lar ebx, [.second_selector]
    setz al
    movzx eax, al
    say "lar-beyond"
    lgdt [.new_gdtr]
    mov ecx, 300                        ; thread-local storage: rewritten and loaded at each switch
    xor edx, edx
    mov ebx, 0x200000
.switch:
    mov [ebx], ecx
    base NEW_GDT + TLS, ebx
    mov ax, TLS
    mov gs, ax
    add edx, [gs:0]
    add ebx, 16
    loop .switch
    mov eax, edx
    say "switches"
    mov ecx, 50                         ; and from ring 3, whose segment it is
    mov byte [NEW_GDT + TLS + 5], 0xf2
    mov ebx, 0x200000
    xor edx, edx
.user_switch:
    push ecx
    base NEW_GDT + TLS, ebx
    mov [.sum], edx
    user .ring3
    mov edx, [.sum]
    mov ebx, [.place]
    pop ecx
    loop .user_switch
    mov eax, edx
    say "user-switches"
    ; paging: the table's page is mapped to another frame, and back
    mov edi, DIRECTORY
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov dword [DIRECTORY], PAGE_TABLE | 7
    mov edi, PAGE_TABLE
    mov eax, 7
    mov ecx, 1024
.entry:
    stosd
    add eax, 0x1000
    loop .entry
    mov esi, NEW_GDT & ~0xfff
    mov edi, OTHER_FRAME
    mov ecx, 1024
    rep movsd
    mov word [OTHER_FRAME + (NEW_GDT & 0xfff) + SECOND + 2], 0x5100
    mov eax, DIRECTORY
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov ax, SECOND
    mov fs, ax
    mov eax, [fs:0x10]
    say "paged"
    mov dword [PAGE_TABLE + (NEW_GDT >> 12) * 4], OTHER_FRAME | 7
    invlpg [NEW_GDT]
    mov ax, SECOND
    mov fs, ax
    mov eax, [fs:0x10]
    say "remapped"
    mov dword [PAGE_TABLE + (NEW_GDT >> 12) * 4], NEW_GDT & ~0xfff | 7
    mov eax, cr3
    mov cr3, eax
    mov ax, SECOND
    mov fs, ax
    mov eax, [fs:0x10]
    say "mapped-back"
    mov word [0x300000 + (NEW_GDT & 0xfff) + SECOND + 2], 0x5000 ; nothing there
    mov dword [PAGE_TABLE + 0x300 * 4], NEW_GDT & ~0xfff | 7 ; written through an alias
    invlpg [0x300000]
    mov word [0x300000 + (NEW_GDT & 0xfff) + SECOND + 2], 0x5000
    mov ax, SECOND
    mov fs, ax
    mov eax, [fs:0x10]
    say "through-an-alias"
    mov eax, cr0
    or eax, 0x10000
    mov cr0, eax
    and dword [PAGE_TABLE + (NEW_GDT >> 12) * 4], ~2 ; read-only, WP set
    invlpg [NEW_GDT]
    attempt mov byte [NEW_GDT + SECOND + 5], 0xf2
    mov ax, SECOND
    mov fs, ax
    mov eax, [fs:0x10]
    say "read-only"
    and dword [PAGE_TABLE + (NEW_GDT >> 12) * 4], ~1
    invlpg [NEW_GDT]
    mov ax, SECOND
    mov eax, cr2
    or dword [PAGE_TABLE + (NEW_GDT >> 12) * 4], 3
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    lgdt [gdtr]
    mov ax, DATA0
    mov fs, ax
    ret
.ring3:
    push DATA3
    pop ds
    mov ax, TLS | 3
    mov gs, ax
    mov eax, [gs:0]
    add [.sum], eax
    mov eax, [.place]
    int 0x30
.sum: dd 0
.place: dd 0x200010
.second_selector: dd SECOND
.stored: dw 0
    dd 0
.new_gdtr: dw GDT_BYTES - 1
    dd NEW_GDT
.short_gdtr: dw SPARE - 1
    dd NEW_GDT
.descriptors:
    descriptor 0x5000, 0x4000ff, 0x92
    descriptor 0x5100, 0x4000ff, 0x93
    descriptor 0x200000, 0x4000ff, 0x93
finish_image
