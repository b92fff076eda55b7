; What the ROM says on the screen while it looks for disks.

; Print the id and what INQUIRY says.
describe:
        mov si, id
        call print
        mov al, [bp + TARGET]
        add al, '0'
        call print_one
        mov al, ' '
        call print_one
        mov si, SCRATCH + 8
        mov cx, 28              ; vendor, product, revision
.next:  mov al, [es:si]
        inc si
        call print_one
        loop .next
        ret

print:
        lodsb
        test al, al
        jz .end
        call print_one
        jmp print
.end:   ret

print_one:
        pusha
        mov ah, 0x0E
        mov bx, 7
        int 0x10
        popa
        ret

; EAX in decimal.
print_number:
        mov ebx, 10
        xor cx, cx
.next:  xor edx, edx
        div ebx
        push dx
        inc cx
        test eax, eax
        jnz .next
        mov al, ' '
        call print_one
.show:  pop ax
        add al, '0'
        call print_one
        loop .show
        ret
