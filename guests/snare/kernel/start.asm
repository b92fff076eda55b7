; Where the kernel begins: the Multiboot header, the entry, and the switch between processes.
;
; The image is flat; the header's address fields (flag 16) tell a loader all that it needs, and
; loader.asm reads the same fields. At the entry the processor is in protected mode without paging,
; EAX = 2BADB002h, EBX = the information structure.
;
; Source: [MB] Multiboot Specification 0.6.96, §3.1 and §3.2.

        bits 32
        global start, switch_stacks, try_call, try_failed
        extern kernel_start, kernel_loaded, kernel_end, kernel_main

MAGIC   equ 0x1badb002
FLAGS   equ 1 << 16 | 2                 ; the address fields are valid; memory information wanted
STACK   equ 8192

        section .header progbits alloc exec nowrite align=16
header: dd MAGIC, FLAGS, -(MAGIC + FLAGS)
        dd header, kernel_start, kernel_loaded, kernel_end, start

        section .text
start:
%ifndef PARA
        cli
%endif
        cld
        mov  esp, boot_stack + STACK
        mov  esi, eax
        mov  edi, kernel_loaded         ; a loader need not have cleared the bss
        mov  ecx, kernel_end
        sub  ecx, edi
        mov  edx, edi
        xor  eax, eax
        rep  stosb
        push ebx
        push esi
        call kernel_main                ; (magic, information); does not return

; void switch_stacks(u32 **save, u32 *load): leave the running kernel stack, go on with another.
; What C expects to survive a call lies on the stack; *save is where the old stack ended.
switch_stacks:
        mov  eax, [esp + 4]
        mov  edx, [esp + 8]
        push ebp
        push ebx
        push esi
        push edi
        mov  [eax], esp
        mov  esp, edx
        pop  edi
        pop  esi
        pop  ebx
        pop  ebp
        ret

; int try_call(void (*function)(void)): call it; 0 if it came back, 1 if it faulted. trap.c sends a
; kernel fault to try_failed while one is expected.
try_call:
        push ebp
        push ebx
        push esi
        push edi
        mov  eax, [esp + 20]
        mov  [try_stack], esp
        call eax
        xor  eax, eax
        jmp  try_end
try_failed:
        mov  esp, [try_stack]
        mov  eax, 1
try_end:
        pop  edi
        pop  esi
        pop  ebx
        pop  ebp
        ret

        section .bss nobits alloc noexec write align=16
boot_stack:     resb STACK
try_stack:      resd 1

        section .note.GNU-stack noalloc noexec nowrite progbits
