; Snare's boot sector: brings the whole boot image into memory and goes on in loader.asm.
;
; The boot image is the start of every medium, in 512-byte sectors:
;
;   0              this sector
;   1-7            loader.asm; its first bytes are the kernel's command line
;   8-             the kernel
;   fs_sector-     the file system (on a hard disk only its start is named here, it is not loaded)
;
; Sector n goes to 7C00h + 512 n, so an El Torito CD-ROM, whose firmware has loaded everything at
; 7C00h in one piece, needs no reading at all. Disks are read by LBA (INT 13h 42h, "EDD") where the
; firmware has it, else by cylinder, head and sector. One read never crosses a track (a floppy
; controller would not like it) nor a 64 KiB boundary (its DMA could not).

LOAD    equ 0x7c00
        bits 16
        org  LOAD

        jmp  main
        times 3 - ($ - $$) nop
        db   "SNARE   "                 ; how the kernel knows a disk of its own
        times 0x40 - ($ - $$) db 0      ; some firmware writes here, taking it for a BPB

; Filled in by build.py, and read by the kernel too (kernel/fs.c).
image_sectors:  dd 8                    ; what is to be loaded, this sector included
kernel_bytes:   dd 0
fs_sector:      dd 0
fs_sectors:     dd 0
ramdisk_bytes:  dd 0                    ; of the file system, if it is loaded
all_loaded:     dd 0                    ; 1 on a CD-ROM: nothing to read

main:   jmp  0:.here
.here:  cli
        xor  ax, ax
        mov  ds, ax
        mov  es, ax
        mov  ss, ax
        mov  sp, LOAD
        sti
        cld
        mov  [drive], dl
        cmp  byte [all_loaded], 0
        jne  loaded

        mov  ah, 0x41                   ; is there EDD?
        mov  bx, 0x55aa
        int  0x13
        jc   .chs
        cmp  bx, 0xaa55
        jne  .chs
        test cl, 1
        jz   .chs
        mov  byte [edd], 1
        jmp  .read
.chs:   mov  ah, 8                      ; the geometry; a floppy disk of 1440 KiB if unknown
        mov  dl, [drive]
        xor  di, di
        int  0x13
        push ds
        pop  es
        jc   .read
        and  cx, 63
        jz   .read
        mov  [track], cx
        mov  dl, dh
        xor  dh, dh
        inc  dx
        mov  [heads], dx

.read:  mov  bp, 1                      ; BP = next sector
.next:  mov  ax, [image_sectors]
        sub  ax, bp                     ; AX = sectors left
        jbe  loaded
        mov  cx, bp                     ; sectors to the 64 KiB boundary, the address being
        add  cx, LOAD / 512             ; 512 (n + 3Eh)
        and  cx, 127
        neg  cx
        add  cx, 128
        call least
        mov  cx, 64
        call least
        mov  bx, bp                     ; ES:BX = (7C0h + 20h n):0
        shl  bx, 5
        add  bx, LOAD / 16
        mov  es, bx
        xor  bx, bx
        cmp  byte [edd], 0
        je   .by_track
        mov  [packet.count], ax
        mov  [packet.to + 2], es
        mov  [packet.lba], bp
        mov  si, packet
        mov  ah, 0x42
        mov  dl, [drive]
        int  0x13
        jc   failed
        mov  ax, [packet.count]
        jmp  .done
.by_track:
        mov  di, ax
        mov  ax, bp
        xor  dx, dx
        div  word [track]               ; DX = sector in the track, from 0
        mov  cx, [track]
        sub  cx, dx
        xchg ax, di
        call least                      ; AX = count, DI = track of the disk
        xchg ax, di
        mov  cx, dx
        inc  cx
        xor  dx, dx
        div  word [heads]               ; AX = cylinder, below 256 so near the start; DX = head
        mov  ch, al
        mov  dh, dl
        mov  dl, [drive]
        mov  si, 3
.again: mov  ax, di
        mov  ah, 2
        pusha
        int  0x13
        popa
        jnc  .read_it
        pusha
        xor  ax, ax                     ; reset, and try again: a motor may have to start
        int  0x13
        popa
        dec  si
        jnz  .again
        jmp  failed
.read_it:
        mov  ax, di
.done:  add  bp, ax
        jmp  .next

; AX = the lesser of AX and CX.
least:  cmp  ax, cx
        jbe  .end
        mov  ax, cx
.end:   ret

failed: mov  si, message
.next:  lodsb
        mov  ah, 0x0e
        mov  bx, 7
        int  0x10
        test al, al
        jnz  .next
        int  0x18                       ; let the firmware try its next drive
.halt:  hlt
        jmp  .halt

packet: db   16, 0
.count: dw   0
.to:    dw   0, 0
.lba:   dd   0, 0

track:  dw   18
heads:  dw   2
edd:    db   0
drive:  db   0
message: db  "Snare: cannot read the boot disk", 13, 10, 0

        times 446 - ($ - $$) db 0       ; the partition table is build.py's
        times 510 - ($ - $$) db 0
        dw   0xaa55

%include "loader.asm"
        times 8 * 512 - ($ - $$) db 0
