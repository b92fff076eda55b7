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
    ret
