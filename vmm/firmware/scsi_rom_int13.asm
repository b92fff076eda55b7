; INT 13h of the disks in the table. A function leaves a status in AL.

int13:
        cmp dl, [cs:first]
        jb .other
        push ax
        mov al, [cs:first]
        add al, [cs:count]
        cmp dl, al
        pop ax
        jb .ours
.other: jmp far [cs:old]
.ours:  sti
        cld
        push ds
        push es
        pushad
        mov bp, sp
        sub sp, LOCALS
        push cs
        pop ds
        sub dl, [first]
        movzx di, dl
        shl di, 4
        add di, disks
        mov al, [di + disk.id]
        mov [bp + TARGET], al
        mov si, functions
.find:  lodsb
        cmp al, 0xFF
        je .unknown
        cmp al, [bp + R_AH]
        lodsw
        jne .find
        call ax
        jmp .status
.unknown:
        mov al, BAD_COMMAND
.status:
        xor dx, dx
        mov es, dx
        mov ah, [bp + R_AH]
        test al, al
        jnz .failed
        and byte [bp + R_FLAGS], 0xFE
        cmp byte [bp + R_AH], 0x15      ; their AH is an answer; see there
        je .keep
        cmp byte [bp + R_AH], 0x41
        je .keep
        jmp .tell
.keep:  mov [es:BDA_STATUS], al
        mov [bp + R_AH], bh
        jmp .end
.failed:
        or byte [bp + R_FLAGS], 1
.tell:  mov [bp + R_AH], al
        cmp ah, 0x01
        je .end
        mov [es:BDA_STATUS], al
.end:   mov sp, bp
        popad
        pop es
        pop ds
        iret

%macro function 2
        db %1
        dw %2
%endmacro

functions:
        function 0x00, nothing
        function 0x01, last_status
        function 0x02, read_chs
        function 0x03, write_chs
        function 0x04, verify_chs
        function 0x08, parameters
        function 0x09, nothing
        function 0x0C, nothing
        function 0x0D, nothing
        function 0x10, nothing
        function 0x11, nothing
        function 0x14, nothing
        function 0x15, disk_type
        function 0x41, check_extensions
        function 0x42, read_packet
        function 0x43, write_packet
        function 0x44, verify_packet
        function 0x47, verify_packet
        function 0x48, extended_parameters
        db 0xFF

nothing:
        xor al, al
        ret

last_status:
        push 0
        pop es
        mov al, [es:BDA_STATUS]
        ret

; ECX sectors from EAX on by the opcode BL; BUFFER and TOWARDS are set. AL: the status.
move:
        mov [bp + CDB], bl
        mov byte [bp + CDB + 1], 0
        xchg al, ah
        rol eax, 16
        xchg al, ah
        mov [bp + CDB + 2], eax
        mov byte [bp + CDB + 6], 0
        mov [bp + CDB + 7], ch
        mov [bp + CDB + 8], cl
        mov byte [bp + CDB + 9], 0
        shl ecx, 9
        mov [bp + BYTES], ecx
        jmp perform

read_chs:
        mov bl, 0x28
        mov byte [bp + TOWARDS], 0
        jmp by_chs
write_chs:
        mov bl, 0x2A
        mov byte [bp + TOWARDS], TO_SCSI
        jmp by_chs
verify_chs:
        mov bl, 0x2F
        jmp verify_by_chs
by_chs:
        mov al, BAD_COMMAND
        cmp byte [bp + R_AL], 128       ; 64 KiB
        ja failed_chs
        movzx eax, word [bp + R_ES]
        shl eax, 4
        movzx edx, word [bp + R_BX]
        add eax, edx
        mov [bp + BUFFER], eax
verify_by_chs:
        mov al, BAD_COMMAND
        movzx ecx, byte [bp + R_AL]
        jecxz failed_chs
        mov al, NOT_FOUND
        movzx edx, byte [bp + R_CL]
        shl dx, 2
        mov dl, [bp + R_CH]
        and dh, 0x03
        cmp dx, [di + disk.cylinders]
        jae failed_chs
        mov ah, [bp + R_DH]
        cmp ah, [di + disk.heads]
        jae failed_chs
        mov ah, [bp + R_CL]
        and ah, 0x3F
        jz failed_chs
        cmp ah, [di + disk.track]
        ja failed_chs
        movzx esi, byte [di + disk.heads]
        imul edx, esi
        movzx esi, byte [bp + R_DH]
        add edx, esi
        movzx esi, byte [di + disk.track]
        imul edx, esi
        movzx eax, byte [bp + R_CL]
        and al, 0x3F
        lea eax, [eax + edx - 1]
        lea edx, [eax + ecx]
        cmp edx, [di + disk.total]
        mov dl, NOT_FOUND
        ja .beyond
        call move
        test al, al
        jnz failed_chs
        ret
.beyond:
        mov al, dl
failed_chs:
        mov byte [bp + R_AL], 0
        ret

parameters:
        mov ax, [di + disk.cylinders]
        dec ax
        mov [bp + R_CH], al
        shl ah, 6
        or ah, [di + disk.track]
        mov [bp + R_CL], ah
        mov al, [di + disk.heads]
        dec al
        mov [bp + R_DH], al
        push 0
        pop es
        mov al, [es:BDA_DISKS]
        mov [bp + R_DL], al
        xor al, al
        mov [bp + R_AL], al
        ret

; AH = 3, a hard disk; CX:DX sectors
disk_type:
        movzx eax, word [di + disk.cylinders]
        movzx edx, byte [di + disk.heads]
        imul eax, edx
        movzx edx, byte [di + disk.track]
        imul eax, edx
        mov [bp + R_DX], ax
        shr eax, 16
        mov [bp + R_CX], ax
        mov bh, 3
        xor al, al
        ret

; [EDD] AH = version 3.0; CX: packets, and the enhanced functions
check_extensions:
        mov al, BAD_COMMAND
        cmp word [bp + R_BX], 0x55AA
        jne .end
        mov word [bp + R_BX], 0xAA55
        mov word [bp + R_CX], 5
        mov bh, 0x30
        xor al, al
.end:   ret

read_packet:
        mov bl, 0x28
        mov byte [bp + TOWARDS], 0
        jmp by_packet
write_packet:
        mov al, BAD_COMMAND
        cmp byte [bp + R_AL], 2
        ja refused
        mov bl, 0x2A
        mov byte [bp + TOWARDS], TO_SCSI
        jmp by_packet
verify_packet:
        mov bl, 0x2F
by_packet:
        mov es, [bp + R_DS]
        mov si, [bp + R_SI]
        mov al, BAD_COMMAND
        cmp byte [es:si], 16
        jb refused
        movzx ecx, word [es:si + 2]
        cmp cx, 127
        ja refused
        movzx eax, word [es:si + 6]
        shl eax, 4
        movzx edx, word [es:si + 4]
        add eax, edx
        cmp dword [es:si + 4], -1
        jne .address
        cmp byte [es:si], 24
        jb .address
        mov eax, [es:si + 16]           ; flat, of which 32 bits reach
.address:
        mov [bp + BUFFER], eax
        mov al, NOT_FOUND
        cmp dword [es:si + 12], 0
        jne .failed
        mov edx, [es:si + 8]
        add edx, ecx
        jc .failed
        cmp edx, [di + disk.total]
        ja .failed
        xor al, al
        jecxz refused                   ; nothing to move
        mov eax, [es:si + 8]
        call move
        test al, al
        jz refused
.failed:
        mov es, [bp + R_DS]
        mov si, [bp + R_SI]
        mov word [es:si + 2], 0
refused:
        ret

; [EDD] 26, 30, 66 or 74 bytes, as the caller has room for
extended_parameters:
        mov al, BAD_COMMAND
        mov es, [bp + R_DS]
        mov bx, [bp + R_SI]
        mov si, sizes
.fit:   lodsb
        test al, al
        jz .bad
        movzx cx, al
        cmp [es:bx], cx
        jb .fit
        mov [es:bx], cx
        mov word [es:bx + 2], 2         ; the geometry is valid
        mov eax, [di + disk.total]
        mov [es:bx + 16], eax
        mov dword [es:bx + 20], 0
        mov word [es:bx + 24], 512
        xor edx, edx
        mov esi, 16 * 63
        div esi
        cmp eax, 16383
        jbe .least
        mov ax, 16383
.least: test eax, eax
        jnz .cylinders
        inc ax
.cylinders:
        mov [es:bx + 4], eax
        mov dword [es:bx + 8], 16
        mov dword [es:bx + 12], 63
        cmp cx, 30
        jb .end
        mov dword [es:bx + 26], -1
        je .end
        call path
.end:   xor al, al
        ret
.bad:   mov al, BAD_COMMAND
        ret

sizes:  db 74, 66, 30, 26, 0

; The device path of the disk at DI, at ES:BX + 30 and up to ES:BX + CX.
path:
        push di
        lea di, [bx + 30]
        sub cx, 30
        push cx
        xor al, al
        rep stosb
        pop cx
        mov word [es:bx + 30], 0xBEDD
        mov [es:bx + 32], cl
        mov dword [es:bx + 36], 'PCI '
        mov dword [es:bx + 40], 'SCSI'
        mov dword [es:bx + 44], '    '
        mov al, [slot]
        mov [es:bx + 49], al
        mov al, [bp + TARGET]
        mov [es:bx + 56], al
        lea di, [bx + 30]
        xor al, al
.sum:   add al, [es:di]
        inc di
        loop .sum
        neg al
        mov [es:di - 1], al
        pop di
        ret
