; One command to a target, phase by phase, and what its end means to INT 13h.

; Perform CDB, with BYTES bytes at BUFFER. AL: what INT 13h returns.
; The first command after a reset meets UNIT ATTENTION, a busy target asks for patience: again then.
perform:
        mov byte [bp + LEFT], TRIES
.again: call command
        mov al, TIMED_OUT
        jc .end
        mov al, [bp + RESULT]
        and al, 0x3E            ; [SCSI-2] table 27: the rest is reserved
        jz .end
        cmp al, BUSY_STATUS
        je .retry
        cmp al, CHECK_CONDITION
        mov al, FAILED
        jne .end
        call sense
        mov al, FAILED
        jc .end
        mov dl, [bp + SENSE + 2]
        and dl, 0x0F            ; the sense key
        cmp dl, UNIT_ATTENTION
        je .retry
        mov si, meanings
.look:  lodsw                   ; sense key, status
        cmp al, 0xFF
        je .found
        cmp al, dl
        jne .look
.found: mov al, ah
        ret
.retry: dec byte [bp + LEFT]
        mov al, FAILED
        jnz .again
.end:   ret

meanings:
        db 3, BAD_MEDIUM, 5, NOT_FOUND, 7, WRITE_PROTECTED, 0xFF, FAILED

; REQUEST SENSE into SENSE; the command is as it was after it. CF: it failed.
sense:
        push dword [bp + CDB]
        push dword [bp + CDB + 4]
        push dword [bp + BUFFER]
        push dword [bp + BYTES]
        push word [bp + TOWARDS]
        mov dword [bp + CDB], 0x03
        mov dword [bp + CDB + 4], 18
        xor eax, eax
        mov ax, ss
        shl eax, 4
        movzx ecx, bp
        lea eax, [eax + ecx + SENSE]
        mov [bp + BUFFER], eax
        mov dword [bp + BYTES], 18
        mov byte [bp + TOWARDS], 0
        call command
        jc .end
        cmp byte [bp + RESULT], 1
        cmc
.end:   pop word [bp + TOWARDS]
        pop dword [bp + BYTES]
        pop dword [bp + BUFFER]
        pop dword [bp + CDB + 4]
        pop dword [bp + CDB]
        ret

; Select the target and answer its phases until the bus is free. CF: nobody answers, or no end comes.
command:
        mov dx, [cs:ports]
        mov al, [bp + TARGET]
        shl al, 4
        or al, OWN_ID
        mov dl, SCSIID
        out dx, al
        set SXFRCTL0, PIO_CLEARED
        set SSTAT1, 0xFF
        set SSTAT0, 0x7F
        set SCSISEQ, ENSELO | ENAUTOATNO
        mov ecx, PATIENCE
.select:
        get SSTAT0
        test al, SELDO
        jnz .selected
        get SSTAT1
        test al, SELTO
        jnz .absent
        dec ecx
        jnz .select
.absent:
        set SCSISEQ, 0
        set SSTAT1, 0xFF
        stc
        ret
.selected:
        set SCSISEQ, 0
        set SSTAT0, SELDO
        lea si, [bp + CDB]
        mov byte [bp + RESULT], 0xFF
        mov ecx, PATIENCE
.next:  dec ecx
        jz .stuck
        get SSTAT1
        test al, BUSFREE
        jnz .free
        test al, REQINIT
        jz .next
        jmp .phase
.stuck: set SCSISEQ, SCSIRSTO   ; it holds the bus: this ends it
        set SCSISEQ, 0
        stc
        ret
.free:  set SSTAT1, 0xFF
        clc
        ret
.phase: get SCSISIG
        and al, PHASES
        out dx, al              ; what we expect
        cmp al, PHASE_MESSAGE_OUT
        je .identify
        cmp al, PHASE_COMMAND
        je .command
        cmp al, PHASE_STATUS
        je .status
        test al, ~PHASE_DATA_IN & 0xFF
        jz .data
        get SCSIDATL            ; a message, of which the end of the command is the only one
        jmp .next
.identify:
        set SSTAT1, CLRATNO
        set SCSIDATL, IDENTIFY
        jmp .next
.command:
        mov al, [ss:si]
        inc si
        mov dl, SCSIDATL
        out dx, al
        jmp .next
.status:
        get SCSIDATL
        mov [bp + RESULT], al
        jmp .next
.data:  mov eax, [bp + BUFFER]
        mov dl, HADDR
        call out_bytes
        shr eax, 8
        out dx, al
        mov eax, [bp + BYTES]
        mov dl, HCNT
        call out_bytes
        mov eax, [bp + BYTES]
        mov dl, STCNT
        call out_bytes
        mov al, [bp + TOWARDS]
        or al, START_DMA
        mov dl, DFCNTRL
        out dx, al
.wait:  get SSTAT0
        test al, DMADONE
        jnz .moved
        get SSTAT1
        test al, PHASEMIS | BUSFREE
        jnz .moved
        dec ecx
        jnz .wait
        inc ecx                 ; none left at .next
.moved: set DFCNTRL, 0
        set SXFRCTL0, PIO_CLEARED
        jmp .next

; Three bytes of EAX to DX and on; DX is left at the fourth, EAX without two bytes.
out_bytes:
        out dx, al
        inc dx
        shr eax, 8
        out dx, al
        inc dx
        shr eax, 8
        out dx, al
        inc dx
        ret
