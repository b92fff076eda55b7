; The geometry of a disk, by the rules of geometry.py: what the partition table or the boot record was
; written for, else a translation of the size.

; DI: the disk, whose total is known. Sets its cylinders, heads and sectors a track.
shape:
        mov word [di + disk.heads], 0
        xor eax, eax
        call read_sector
        jc .size
        call by_contents
.size:  mov ecx, [di + disk.total]
        cmp byte [di + disk.heads], 0
        jne .cylinders
        mov byte [di + disk.track], 63
        mov eax, ecx
        xor edx, edx
        mov ebx, 16 * 63
        div ebx
        cmp eax, 8192
        ja .large
        mov bl, 16
.shift: cmp eax, 1024
        jbe .set
        cmp bl, 127
        ja .set
        shr eax, 1
        shl bl, 1
        jmp .shift
.large: mov eax, ecx
        xor edx, edx
        mov ebx, 63
        div ebx
        shr eax, 10             ; heads that make 1024 cylinders
        mov bl, 255
        cmp eax, 128
        ja .own
        mov bl, 128             ; fewer have been shifted
.own:   mov [di + disk.heads], bl
.cylinders:
        movzx eax, byte [di + disk.heads]
        movzx ebx, byte [di + disk.track]
        imul ebx, eax
        mov eax, ecx
        xor edx, edx
        div ebx
        mov bl, [di + disk.heads]
.set:   mov [di + disk.heads], bl
        cmp eax, 1024
        jbe .least
        mov eax, 1024
.least: test eax, eax
        jnz .end
        inc ax
.end:   mov [di + disk.cylinders], ax
        ret

; Sector EAX of the disk at DI into SCRATCH. CF: there is none, or it cannot be read.
read_sector:
        cmp eax, [di + disk.total]
        cmc
        jc .end
        push bx
        mov byte [bp + TOWARDS], 0
        mov dword [bp + BUFFER], SCRATCH
        mov ecx, 1
        mov bl, 0x28
        call move
        pop bx
        cmp al, 1
        cmc
.end:   ret

; Set heads and sectors if the sector in SCRATCH tells them.
by_contents:
        push 0
        pop es
        cmp word [es:SCRATCH + 510], 0xAA55
        jne .end
        call partitions
        jnc .table
        call boot_record
        jc .end
        mov [di + disk.heads], ax
.end:   ret
.table: call most
        cmp ah, 0
        je .end                 ; no partition has such addresses
        push ax
        call search
        pop dx
        cmp cx, 1
        jb .end
        je .take                ; it is the only one
        push dx
        mov si, MARKS
.records:
        mov eax, [es:si]        ; of each partition, the first mark
        push si
        call read_sector
        pop si
        push 0
        pop es
        jc .no_record
        call boot_record
        jc .no_record
        call fits
        jnc .found
.no_record:
        add si, 2 * mark_size
        cmp si, bx
        jb .records
        pop ax
        call fits
        jc .end
        jmp .take
.found: pop dx
.take:  mov [di + disk.heads], ax
        ret

; Put the marks of the partition table in SCRATCH at MARKS; BX: their end. CF: this is no table.
partitions:
        mov bx, MARKS
        mov si, SCRATCH + 446
.next:  mov eax, [es:si]
        test al, 0x7F
        jnz .none
        mov edx, [es:si + 4]
        cmp dl, 0xEE
        je .none
        test dl, dl
        jz .skip
        mov ecx, [es:si + 8]
        jecxz .skip
        cmp dword [es:si + 12], 0
        je .skip
        call put
        mov eax, edx
        add ecx, [es:si + 12]
        dec ecx
        call put
.skip:  add si, 16
        cmp si, SCRATCH + 510
        jb .next
        cmp bx, MARKS
        jne .end
.none:  stc
.end:   ret

; The mark at BX: LBA ECX, and its head, sector and cylinder in the upper three bytes of EAX.
put:
        push eax
        mov [es:bx + mark.lba], ecx
        shr eax, 8
        mov [es:bx + mark.head], al
        mov al, ah
        and al, 0x3F
        mov [es:bx + mark.sector], al
        mov al, ah
        and ax, 0xC0
        shl ax, 2
        mov [es:bx + mark.cylinder], ax
        pop eax
        shr eax, 24
        or [es:bx + mark.cylinder], al
        add bx, mark_size
        ret

; AL: one more than the highest head of the marks up to BX; AH: their highest sector.
most:
        xor ax, ax
        mov si, MARKS
.next:  cmp al, [es:si + mark.head]
        ja .sector
        mov al, [es:si + mark.head]
        inc al
        jz .full
.sector:
        cmp ah, [es:si + mark.sector]
        jae .on
        mov ah, [es:si + mark.sector]
.on:    add si, mark_size
        cmp si, bx
        jb .next
        ret
.full:  xor ax, ax              ; head 255: no geometry has it
        ret

; CX: how many shapes agree with the marks up to BX; AX: the last of them. AX comes as `most` says.
search:
        push di
        xor cx, cx
        xor di, di
        mov dh, ah              ; the fewest sectors
.heads: mov ah, dh
.sectors:
        call agree
        jc .on
        inc cx
        mov di, ax
.on:    inc ah
        cmp ah, 63
        jbe .sectors
        inc al
        jnz .heads
        mov ax, di
        pop di
        ret

; Whether shape AX is one that `search` would find. CF: no.
fits:
        push dx
        push si
        mov dx, ax
        call most
        pop si
        xchg ax, dx
        cmp al, dl
        jb .no
        cmp ah, dh
        jb .no
        pop dx
        jmp agree
.no:    pop dx
        stc
        ret

; Whether heads AL and sectors AH agree with every mark up to BX. CF: no.
agree:
        pushad
        mov bp, bx
        movzx ebx, al
        movzx ecx, ah
        mov si, MARKS
.next:  cmp word [es:si + mark.cylinder], 1023
        jne .within
        mov eax, 1023           ; perhaps the end of what such an address reaches
        call sectors_of
        cmp [es:si + mark.lba], eax
        jae .on
.within:
        cmp byte [es:si + mark.sector], 0
        jne .exact
        mov eax, 1024
        call sectors_of
        cmp [es:si + mark.lba], eax
        jb .no
        jmp .on
.exact: movzx eax, word [es:si + mark.cylinder]
        imul eax, ebx
        movzx edx, byte [es:si + mark.head]
        add eax, edx
        imul eax, ecx
        movzx edx, byte [es:si + mark.sector]
        lea eax, [eax + edx - 1]
        cmp eax, [es:si + mark.lba]
        jne .no
.on:    add si, mark_size
        cmp si, bp
        jb .next
        popad
        clc
        ret
.no:    popad
        stc
        ret

; EAX cylinders in sectors, of EBX heads and ECX sectors a track.
sectors_of:
        imul eax, ebx
        imul eax, ecx
        ret

; AL heads and AH sectors a track of the BIOS parameter block in SCRATCH. CF: there is none.
boot_record:
        cmp word [es:SCRATCH + 510], 0xAA55
        jne .none
        mov al, [es:SCRATCH]
        cmp al, 0xEB
        je .block
        cmp al, 0xE9
        jne .none
.block: cmp word [es:SCRATCH + 11], 512
        jne .none
        mov dx, [es:SCRATCH + 24]
        dec dx
        cmp dx, 63
        jae .none
        mov ax, [es:SCRATCH + 26]
        dec ax
        cmp ax, 255
        jae .none
        inc ax
        inc dx
        mov ah, dl
        clc
        ret
.none:  stc
        ret
