; NMI: in ring 0 with IF clear, in ring 3, and blocked until IRET.
%include "pm.inc"
%macro ask 0
    call ask_for_nmi
%endmacro
body:
    hook 2, on_nmi
    ask
    call wait_for
    say "ring-0"
    ask
    call wait_for
    say "again"
    hook 2, .nested                     ; the second comes while the first is served: after its IRET
    mov dword [seen], 0
    ask
    call wait_for
    mov eax, [.order]
    say "order"
    mov eax, [seen]
    say "both"
    hook 2, on_nmi
    mov dword [user_flags], 0x3002
    mov dword [seen], 0
    user .ring3
    mov eax, [seen]
    say "ring-3"
    mov eax, [where]
    say "its-cs"
    ret
.ring3:
    user_data
    mov esi, request
    mov dx, 0xe9
.send:                                  ; IOPL 3: it comes in ring 3
    lodsb
    out dx, al
    test al, al
    jnz .send
.wait:
    cmp dword [seen], 0
    je .wait
    int 0x30
.nested:
    inc dword [seen]
    cmp dword [seen], 1
    jne .second
    mov esi, request
    call print_string
    mov ecx, 2000
    loop $
    mov eax, [seen]                     ; still one
    mov [.order], eax
    stc
    ret
.second:
    shl dword [.order], 4
    or dword [.order], 2
    stc
    ret
.order: dd 0
ask_for_nmi:
    mov dword [seen], 0
    mov esi, request
    jmp print_string
wait_for:
    mov ecx, 10000000
.more:
    cmp dword [seen], 0
    jne .came
    loop .more
.came:
    mov ecx, 1000
    loop $
    mov eax, [seen]
    ret
on_nmi:
    inc dword [seen]
    movzx eax, word [ebp + CS_]
    mov [where], eax
    stc
    ret
seen: dd 0
where: dd 0
request: db "nmi-please", 10, 0
finish_image
