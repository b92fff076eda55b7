; A Multiboot kernel by address fields that looks at what [MB1] §3.2 and §3.3 promise it, and asks for
; graphics. `result "name"` prints the name, a space and EAX to port E9h.
bits 32
org 0x200000
FLAGS equ 0x00010007                    ; page borders, memory, video, addresses
start:
    dd 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
    dd start, start, file_end, bss_end, entry
    dd 0, 800, 600, 32
print_result:
    pushfd
    pushad
    mov esi, [esp + 36]                 ; the return address is the string
    mov dx, 0xe9
    cld
.character:
    lodsb
    test al, al
    jz .number
    out dx, al
    jmp .character
.number:
    mov [esp + 36], esi
    mov al, ' '
    out dx, al
    mov ebx, [esp + 28]
    mov ecx, 8
.digit:
    rol ebx, 4
    mov al, bl
    and al, 15
    cmp al, 10
    sbb al, 0x69
    das
    out dx, al
    loop .digit
    mov al, 10
    out dx, al
    popad
    popfd
    ret
%macro result 1
    call print_result
    db %1, 0
%endmacro
entry:
    mov esp, stack_top
    pushfd
    result "magic"
    pop eax
    and eax, 0x20200                    ; IF and VM
    result "flags"
    mov eax, cr0
    and eax, 0x80000001
    result "control"                    ; protection without paging
    mov ax, ds
    movzx eax, ax
    lsl edx, eax
    mov eax, edx
    result "data-limit"
    mov ax, cs
    movzx eax, ax
    lsl edx, eax
    mov eax, edx
    result "code-limit"
    mov dword [0x300000], 1             ; A20: these two are one cell without it
    mov dword [0x200000 + bss - start + 0x100000], 2
    mov eax, [0x300000]
    result "a20"
    mov ecx, (bss_end - bss) / 4
    mov edi, bss
    xor eax, eax
.clear:
    or eax, [edi]
    add edi, 4
    loop .clear
    result "bss"
    mov eax, [ebx]
    and eax, 0x184f
    result "information"
    mov eax, [ebx + 4]
    cmp eax, 600
    mov eax, 0
    setae al
    result "lower"
    mov eax, [ebx + 8]
    result "upper"
    mov esi, [ebx + 16]
    mov eax, [esi + 14]                 ; behind "multiboot.bin "
    result "command-line"
    mov eax, [ebx + 20]
    result "modules"
    mov esi, [ebx + 24]
    mov eax, [esi]
    and eax, 0xfff
    result "module-border"
    mov edi, [esi]
    mov eax, [edi]
    result "module-data"
    mov edi, [esi + 8]
    mov eax, [edi + 9]                  ; behind "mod.bin a"
    and eax, 0xffffff
    result "module-text"
    mov eax, [esi + 16 + 4]
    sub eax, [esi + 16]
    result "second-module"
    mov eax, [ebx + 100]
    result "width"
    mov eax, [ebx + 104]
    result "height"
    movzx eax, word [ebx + 108]
    result "depth-and-type"
    mov edi, [ebx + 88]
    mov dword [edi + 12], 0x00ff8040
    mov eax, [edi + 12]
    result "pixel"
    mov eax, [ebx + 76]
    mov eax, [eax + 0x28]
    sub eax, edi                        ; the VBE's own word for the frame buffer
    result "vbe-frame-buffer"
    mov dx, 0xf4
    xor al, al
    out dx, al
    hlt
    times 512 db 0
stack_top:
file_end:
bss equ file_end
bss_end equ bss + 0x2000
