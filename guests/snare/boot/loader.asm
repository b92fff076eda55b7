; The second half of the boot program: a small Multiboot loader.
;
; It collects what Multiboot tells a kernel (memory map, command line, the file system as a module),
; enters protected mode, moves the kernel to 1 MiB and jumps to it, exactly as GRUB or `qemu -kernel`
; would do. So the kernel has one way in.
;
; Source: [MB] Multiboot Specification 0.6.96, §3.2 and §3.3.

INFO    equ 0x500                       ; the Multiboot information structure
MODULE  equ 0x580                       ; one module entry
MAP     equ 0x600                       ; memory map, up to 64 entries
MAP_END equ MAP + 64 * 24
KERNEL  equ 0x100000                    ; where the kernel is linked

command_line:   times 64 db 0           ; NUL-terminated, by build.py

loaded: xor  ax, ax                     ; reading has moved it
        mov  es, ax
        mov  ax, 3                      ; 80 by 25 text
        int  0x10
        call enable_a20
        call read_map
        cli
        lgdt [gdtr]
        mov  eax, cr0
        or   al, 1
        mov  cr0, eax
        jmp  8:protected

; Three ways, the last one made for it on every PC/AT since the PS/2.
enable_a20:
        mov  ax, 0x2401
        int  0x15
        in   al, 0x92
        test al, 2
        jnz  .end
        or   al, 2
        and  al, 0xfe                   ; bit 0 would reset the machine
        out  0x92, al
.end:   ret

; The map of INT 15h E820h, each entry preceded by its size, and the two plain sizes.
read_map:
        int  0x12
        movzx eax, ax
        mov  [INFO + 4], eax            ; KiB below 1 MiB
        mov  ax, 0xe801                 ; AX = KiB from 1 to 16 MiB, BX = 64 KiB units above
        xor  cx, cx
        xor  dx, dx
        int  0x15
        jc   .small
        test ax, ax
        jnz  .have
        mov  ax, cx
        mov  bx, dx
.have:  movzx eax, ax
        movzx ebx, bx
        cmp  eax, 15 * 1024             ; a hole below 16 MiB: what is above does not join
        jne  .sized
        shl  ebx, 6
        add  eax, ebx
        jmp  .sized
.small: mov  ah, 0x88
        int  0x15
        movzx eax, ax
.sized: mov  [INFO + 8], eax            ; KiB from 1 MiB on
        mov  dword [INFO], 1 | 4        ; memory sizes, command line
        xor  ebx, ebx
        mov  di, MAP
.next:  mov  dword [di], 20
        mov  eax, 0xe820
        mov  edx, 0x534d4150            ; 'SMAP'
        mov  ecx, 20
        push di
        add  di, 4
        int  0x15
        pop  di
        jc   .end
        cmp  eax, 0x534d4150
        jne  .end
        add  di, 24
        or   dword [INFO], 1 << 6
        test ebx, ebx
        jz   .end
        cmp  di, MAP_END
        jb   .next
.end:   sub  di, MAP
        movzx edi, di
        mov  [INFO + 44], edi
        mov  dword [INFO + 48], MAP
        ret

        bits 32
protected:
        mov  ax, 16
        mov  ds, ax
        mov  es, ax
        mov  ss, ax
        mov  esp, LOAD
        mov  esi, LOAD + 8 * 512
        mov  edi, KERNEL
        mov  ecx, [kernel_bytes]
        rep  movsb
        mov  dword [INFO + 16], command_line
        mov  ecx, [ramdisk_bytes]
        jecxz .enter
        mov  esi, [fs_sector]
        shl  esi, 9
        add  esi, LOAD
        mov  edi, [KERNEL + 24]         ; the header's bss_end_addr
        add  edi, 4095
        and  edi, ~4095
        mov  [MODULE], edi
        mov  [MODULE + 8], dword command_line
        mov  [MODULE + 12], dword 0
        rep  movsb
        mov  [MODULE + 4], edi
        or   dword [INFO], 8
        mov  dword [INFO + 20], 1
        mov  dword [INFO + 24], MODULE
.enter: mov  eax, 0x2badb002
        mov  ebx, INFO
        jmp  [KERNEL + 28]              ; the header's entry_addr

        align 8
gdt:    dq   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:   dw   23
        dd   gdt
