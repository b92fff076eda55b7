; The option ROM of an AIC-7870 for a BIOS that is not ours: INT 13h on the chip.
;
; The sequencer stays paused and has no microcode: every phase of the SCSI bus is answered from here,
; data go by the chip's DMA. Initialisation resets the bus and looks for disks on ids 0-6; the boot
; connection vector gives them the numbers after the BIOS's own. The tables are in the ROM's shadow, which
; may be written until booting begins, and not after: a call of INT 13h keeps all it needs on the stack.
;
; Not there: CD-ROMs, drives of other than 512-byte sectors, LBAs beyond 32 bits, ids 8-15 of a wide bus,
; and a buffer whose physical address is not its linear one (virtual 8086 mode with paging).
;
; Sources: [PCI-2.1] PCI Local Bus Specification 2.1 §6.3; [BBS] BIOS Boot Specification 1.01 §3.3;
; [PNPBIOS] Plug and Play BIOS Specification 1.0A §3.2; [PCIBIOS] PCI BIOS Specification 2.1 §4;
; [EDD] BIOS Enhanced Disk Drive Specification 3.0; [SCSI-2] ANSI X3.131-1994; [AIC] AIC-7870 data book.

cpu 386
bits 16
org 0

ROM_BYTES equ 4096
MOST equ 7

; [AIC] registers and bits
SCSISEQ equ 0x00
ENSELO equ 0x40
ENAUTOATNO equ 0x08
SCSIRSTO equ 0x01
SXFRCTL0 equ 0x01
PIO_CLEARED equ 0x9A            ; DFON, CLRSTCNT, SPIOEN, CLRCHN
SXFRCTL1 equ 0x02
SELECT_32_MS equ 0x3C            ; ENSPCHK, STIMESEL 3, ENSTIMER
SCSISIG equ 0x03
PHASES equ 0xE0
SCSIID equ 0x05
SCSIDATL equ 0x06
STCNT equ 0x08
SSTAT0 equ 0x0B
SELDO equ 0x40
DMADONE equ 0x01
SSTAT1 equ 0x0C
SELTO equ 0x80
CLRATNO equ 0x40
PHASEMIS equ 0x10
BUSFREE equ 0x08
REQINIT equ 0x01
SIMODE0 equ 0x10
SIMODE1 equ 0x11
HCNTRL equ 0x87
PAUSED equ 0x04
CHIPRST equ 0x01
HADDR equ 0x88
HCNT equ 0x8C
DFCNTRL equ 0x93
START_DMA equ 0x39               ; SCSIEN, SDMAEN, HDMAEN, FIFORESET
TO_SCSI equ 0x04

; phases of the bus
PHASE_DATA_OUT equ 0x00
PHASE_DATA_IN equ 0x40
PHASE_COMMAND equ 0x80
PHASE_MESSAGE_OUT equ 0xA0
PHASE_STATUS equ 0xC0
PHASE_MESSAGE_IN equ 0xE0

OWN_ID equ 7
IDENTIFY equ 0x80
CHECK_CONDITION equ 2
BUSY_STATUS equ 8
UNIT_ATTENTION equ 6
TRIES equ 4
PATIENCE equ 4000000            ; looks at a status before the chip is given up

; what INT 13h returns in AH
BAD_COMMAND equ 0x01
WRITE_PROTECTED equ 0x03
NOT_FOUND equ 0x04
BAD_MEDIUM equ 0x10
FAILED equ 0x20
TIMED_OUT equ 0x80

BDA_STATUS equ 0x474
BDA_DISKS equ 0x475
VECTOR equ 0x13 * 4
SCRATCH equ 0x7C00              ; nothing has been booted yet: free, [BBS]
MARKS equ 0x7E00

struc disk
.id     resb 1
.heads  resb 1
.track  resb 1                  ; sectors
        resb 1
.cylinders resw 1
        resb 2
.total  resd 1
        resb 4
endstruc

struc mark                      ; a sector that a partition table addresses both ways
.lba    resd 1
.cylinder resw 1
.head   resb 1
.sector resb 1
endstruc

; what a call keeps, below BP
LOCALS equ 64
CDB equ -64                     ; 12 bytes
SENSE equ -52                   ; 18 bytes
BUFFER equ -32
BYTES equ -28
TARGET equ -24
RESULT equ -23                  ; status byte of SCSI
TOWARDS equ -22                 ; TO_SCSI, or 0
LEFT equ -21                    ; tries

; the caller's registers, above BP
R_SI equ 4
R_BX equ 16
R_DX equ 20
R_DL equ 20
R_DH equ 21
R_CX equ 24
R_CL equ 24
R_CH equ 25
R_AL equ 28
R_AH equ 29
R_ES equ 32
R_DS equ 34
R_FLAGS equ 40

%macro set 2
        mov dl, %1
        mov al, %2
        out dx, al
%endmacro

%macro get 1
        mov dl, %1
        in al, dx
%endmacro

        db 0x55, 0xAA, ROM_BYTES / 512
        jmp near initialise
        times 0x18 - ($ - $$) db 0
        dw pci_data, expansion

pci_data:
        db 'PCIR'
        dw 0x9004, 0x7078, 0, 0x18
        db 0, 0x00, 0x00, 0x01  ; revision; class 010000: a SCSI controller
        dw ROM_BYTES / 512, 1
        db 0, 0x80              ; PC; the last image
        dw 0

        align 16, db 0
expansion:
        db '$PnP', 0x10, 2
        dw 0
        db 0
        db 0                    ; its sum: scsi_rom.py
        dd 0
        dw manufacturer, product
        db 0x00, 0x00, 0x01
        db 0x64                 ; may be shadowed, may be cached, is a boot device
        dw connect, 0, 0, 0, 0

manufacturer: db 'Trapline', 0
product: db 'AIC-7870 SCSI disks', 0

        align 16, db 0
tables: db 'DISKS', 0           ; tests find them by this
ports:  dw 0
first:  db 0
count:  db 0
slot:   db 0
        align 16, db 0
disks:  times MOST * disk_size db 0
old:    dd 0

; --- initialisation -----------------------------------------------------------------------------

; AX: bus, device and function. Returns what [PNPBIOS] §3.3 says: whether a boot device is attached.
initialise:
        push ds
        push es
        pushad
        mov bp, sp
        sub sp, LOCALS
        sti
        cld
        push cs
        pop ds
        mov bx, ax
        shr al, 3
        mov [slot], al
        mov di, 0x10
        mov ax, 0xB109          ; [PCIBIOS] read a configuration word
        int 0x1A
        jc .none
        and cx, 0xFF00
        jz .none
        mov [ports], cx
        mov di, 4
        mov ax, 0xB109
        int 0x1A
        or cx, 5                ; I/O, bus master
        mov ax, 0xB10C
        int 0x1A
        mov si, title
        call print
        call reset_chip
        mov byte [count], 0
        mov byte [bp + TARGET], 0
.next:  call look
        inc byte [bp + TARGET]
        cmp byte [bp + TARGET], OWN_ID
        jb .next
.none:  call seal
        mov sp, bp
        popad
        pop es
        pop ds
        xor ax, ax
        cmp byte [cs:count], 0
        je .end
        mov ax, 0x120           ; block device, attached
.end:   retf

; Reset the chip and the bus, and leave the sequencer paused with no interrupt enabled.
reset_chip:
        mov dx, [ports]
        set HCNTRL, CHIPRST | PAUSED
        set HCNTRL, PAUSED
        set SIMODE0, 0
        set SIMODE1, 0
        set SXFRCTL1, SELECT_32_MS
        set SCSISEQ, SCSIRSTO
        mov cx, 100             ; [SCSI-2] reset hold time: 25 us
.hold:  in al, 0x61
        loop .hold
        set SCSISEQ, 0
        set SSTAT1, 0xFF
        ret

; Look for a disk on an id and put it into the table.
look:
        mov eax, 0x12           ; INQUIRY
        mov cx, 36 << 8
        mov edx, 36
        call ask
        jc .end
        push 0
        pop es
        cmp byte [es:SCRATCH], 0
        jne .end                ; not a disk, or none there
        call describe
        mov eax, 0x25           ; READ CAPACITY
        xor cx, cx
        mov edx, 8
        call ask
        jc .unusable
        push 0
        pop es
        cmp dword [es:SCRATCH + 4], 0x00020000  ; 512, the high byte first
        jne .unusable
        mov ecx, [es:SCRATCH]
        xchg cl, ch
        rol ecx, 16
        xchg cl, ch
        add ecx, 1
        sbb ecx, 0              ; more than can be told
        call new_disk
        mov [di + disk.total], ecx
        mov al, [bp + TARGET]
        mov [di + disk.id], al
        call shape
        inc byte [count]
        mov eax, [di + disk.total]
        shr eax, 11
        call print_number
        mov si, megabytes
        jmp print
.unusable:
        mov si, unusable
        jmp print
.end:   ret

; DI: the place of the disk after the last.
new_disk:
        movzx di, byte [count]
        shl di, 4
        add di, disks
        ret

; A command whose opcode is AL and whose bytes 3 and 4 are CX, and EDX bytes into SCRATCH. CF: it failed.
ask:
        mov [bp + CDB], eax
        mov dword [bp + CDB + 4], 0
        mov word [bp + CDB + 8], 0
        mov [bp + CDB + 3], cx
        mov dword [bp + BUFFER], SCRATCH
        mov [bp + BYTES], edx
        mov byte [bp + TOWARDS], 0
        call perform
        cmp al, 1
        cmc
        ret

%include "scsi_rom_print.asm"

; Make the sum of the ROM's bytes 0 again.
seal:
        push ds
        push cs
        pop ds
        xor si, si
        mov cx, ROM_BYTES - 1
        xor ah, ah
.next:  lodsb
        add ah, al
        loop .next
        neg ah
        mov [si], ah
        pop ds
        ret

; The boot connection vector, [BBS] §3.3: what was found gets its numbers.
connect:
        push ds
        push es
        pushad
        cld
        push cs
        pop ds
        push 0
        pop es
        mov al, [count]
        test al, al
        jz .end
        mov ah, [es:BDA_DISKS]
        add [es:BDA_DISKS], al
        or ah, 0x80
        mov [first], ah
        mov eax, [es:VECTOR]
        mov [old], eax
        mov ax, cs
        shl eax, 16
        mov ax, int13
        mov [es:VECTOR], eax
        call seal
.end:   popad
        pop es
        pop ds
        retf

%include "scsi_rom_shape.asm"
%include "scsi_rom_int13.asm"
%include "scsi_rom_command.asm"

title: db 13, 10, 'Trapline AIC-7870 SCSI BIOS', 13, 10, 0
id: db '  id ', 0
megabytes: db ' MB', 13, 10, 0
unusable: db ' not usable', 13, 10, 0

        times ROM_BYTES - ($ - $$) db 0
