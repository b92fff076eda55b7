; Address line 20 gated and let through under code that has run, and under code that is written by the other address.
%include "pm.inc"
%macro gate 1
    in al, 0x92
%if %1
    or al, 2
%else
    and al, 0xfd
%endif
    and al, 0xfe
    out 0x92, al
%endmacro
body:
    mov byte [0x118000], 0xb8
    mov dword [0x118001], 2
    mov byte [0x118005], 0xc3
    mov byte [0x18000], 0xb8
    mov dword [0x18001], 1
    mov byte [0x18005], 0xc3
    gate 0
    mov ebx, 0x118000
    call ebx
    say "off-1"
    gate 1
    mov ebx, 0x118000
    call ebx
    say "on-2"
    gate 0
    mov ebx, 0x18000
    call ebx
    say "off-1"
    mov byte [0x118001], 7
    mov ebx, 0x18000
    call ebx
    say "alias-7"
    gate 1
    mov edi, 0x51000                    ; the same with paging on
    mov eax, 0x67                       ; dirty: no entry needs a second look before a write
    mov ecx, 1024
.entry:
    stosd
    add eax, 0x1000
    loop .entry
    mov dword [0x50000], 0x51007
    mov eax, 0x50000
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    mov dword [0x18100], 1
    mov dword [0x118100], 2
    gate 0
    mov eax, [0x118100]
    say "paged-off-1"
    gate 1
    mov eax, [0x118100]
    say "paged-on-2"
    gate 0
    mov ebx, [0x119000]                 ; met first while the line is gated
    gate 1
    mov dword [0x119000], 3
    mov eax, [0x19000]
    say "paged-below"
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    ret
