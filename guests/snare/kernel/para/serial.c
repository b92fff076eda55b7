/* The other end of the console: the monitor's, by hypercall. It is COM1 for whoever is outside. */
#include "../kernel.h"

void serial_init(void)
{
    irq_unmask(4);
}

void serial_put(char c)
{
    hypercall(CONSOLE_IO, CONSOLE_WRITE, 1, (u32)&c);
}

void serial_interrupt(void)
{
    char typed[64];
    i32 n = hypercall(CONSOLE_IO, CONSOLE_READ, sizeof typed, (u32)typed);
    for (i32 i = 0; i < n; i++)
        tty_type(typed[i] == '\r' ? '\n' : typed[i] == 0x7f ? '\b' : typed[i]);
}
