; A protected-mode kernel of the old kind: finds the service directory in the ROM, calls it, then asks the
; PCI BIOS by far call. [PCIBIOS] §3.3, §4.
%include "common.inc"
main:
    mov ax, 0xf000
    mov fs, ax
    xor di, di
.search:
    cmp dword [fs:di], '_32_'
    je .found
    add di, 16
    jnz .search
    xor eax, eax
    result "directory-missing"
    ret
.found:
    mov eax, [fs:di + 4]
    mov [directory], eax
    xor eax, eax
    mov cx, 16
    mov si, di
.sum:
    add al, [fs:si]
    inc si
    loop .sum
    result "checksum"
    cli
    mov [real_stack], sp
    lgdt [gdt]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 8:flat
bits 32
flat:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7000
    mov eax, '$PCI'
    xor ebx, ebx
    call far [directory]
    mov [service_status], al
    mov [service_bytes], ecx
    lea eax, [ebx + edx]
    mov [service], eax
    mov eax, '$NOT'
    xor ebx, ebx
    call far [directory]
    mov [other_status], al
    mov ax, 0xb101
    call far [service]
    mov [signature], edx
    mov ax, 0xb103                      ; the IDE controller, by its class
    mov ecx, 0x010180
    xor esi, esi
    stc
    call far [service]
    setc [class_carry]
    mov [class_function], bx
    mov ax, 0xb10a
    xor edi, edi
    call far [service]
    mov [identity], ecx
    mov ax, 0xb102                      ; nobody's device
    mov cx, 0x1234
    mov dx, 0x5678
    xor esi, esi
    clc
    call far [service]
    setc [missing_carry]
    mov [missing_status], ah
    jmp 24:back
bits 16
back:
    mov ax, 32
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    jmp 0:.real
.real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, [real_stack]
    sti
    movzx eax, byte [service_status]
    result "service-status"
    mov eax, [service_bytes]
    test eax, eax
    setnz al
    movzx eax, al
    result "service-has-a-length"
    movzx eax, byte [other_status]
    result "other-service-status"
    mov eax, [signature]
    result "signature"
    movzx eax, byte [class_carry]
    result "class-carry"
    movzx eax, word [class_function]
    result "class-function"
    mov eax, [identity]
    result "identity"
    movzx eax, byte [missing_carry]
    result "missing-carry"
    movzx eax, byte [missing_status]
    result "missing-status"
    ret
gdt: dw 39
    dd table
table: dq 0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00009a000000ffff, 0x000092000000ffff
directory: dd 0
    dw 8
service: dd 0
    dw 8
real_stack: dw 0
service_bytes: dd 0
signature: dd 0
identity: dd 0
class_function: dw 0
service_status: db 0
other_status: db 0
class_carry: db 0
missing_carry: db 0
missing_status: db 0
finish_image
