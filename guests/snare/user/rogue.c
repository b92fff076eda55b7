/* Does what a program may not do, by name; the system ends it. Without a name: writes to the kernel. */
#include "snare.h"

#define KERNEL 0x00100000
#define NOWHERE 0x48000000

int main(void)
{
    char what[16];
    system_call(ARGUMENTS, what, sizeof what);
    if (!compare(what, "cli"))
        asm volatile("cli");
    else if (!compare(what, "hlt"))
        asm volatile("hlt");
    else if (!compare(what, "out"))
        asm volatile("outb %%al, $0x20" : : "a"(0x20));
    else if (!compare(what, "read"))
        (void)*(volatile u32 *)KERNEL;
    else if (!compare(what, "nowhere"))
        *(volatile u32 *)NOWHERE = 1;
    else if (!compare(what, "code"))
        *(volatile u8 *)main = 0x90;
    else if (!compare(what, "loop"))
        for (;;)
            ;
    else
        *(volatile u32 *)KERNEL = 0;
    put("nobody stopped me\n");
    return 1;
}
