; No handler for anything, then an exception: the processor shuts down.
%include "pm.inc"
body:
    say "before"
    lidt [.none]
    ud2
.none: dw 0
    dd 0
finish_image
