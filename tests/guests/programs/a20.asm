; The gate of address line 20 by its three keys: INT 15h, port 92h, the keyboard controller's output port.
; Closed, FFFF:0510 is 0000:0500, [PS2] "System Control Port A"; open, it is 100500h.
%include "common.inc"
main:
    mov ax, 0xffff
    mov fs, ax
    mov ax, 0x2400
    int 0x15
    call same
    result "int15-off"
    mov ax, 0x2402
    int 0x15
    movzx eax, al
    result "status-off"
    mov ax, 0x2401
    int 0x15
    call same
    result "int15-on"
    mov ax, 0x2402
    int 0x15
    movzx eax, al
    result "status-on"
    in al, 0x92
    and al, 0xfc
    out 0x92, al
    call same
    result "port92-off"
    in al, 0x92
    or al, 2
    and al, 0xfe
    out 0x92, al
    call same
    result "port92-on"
    cli
    mov bl, 0xdd                        ; the output port with bit 1 clear
    call output_port
    call same
    result "i8042-off"
    call wraps
    result "code-wraps"
    mov bl, 0xdf
    call output_port
    call same
    result "i8042-on"
    sti
    ret
; EAX = 1 if FFFF:0510 is 0000:0500
same:
    mov dword [0x500], 0x11111111
    mov dword [fs:0x510], 0x22222222
    cmp dword [0x500], 0x22222222
    sete al
    movzx eax, al
    ret
; EAX = what code says that is called above 1 MiB and found below
wraps:
    mov dword [0x500], 0xcbbeefb8       ; mov ax, BEEFh; retf
    xor eax, eax
    call 0xffff:0x0510
    movzx eax, ax
    ret
output_port:
    call ready
    mov al, 0xd1
    out 0x64, al
    call ready
    mov al, bl
    out 0x60, al
    call ready
    ret
ready:
    in al, 0x64
    test al, 2
    jnz ready
    ret
finish_image
