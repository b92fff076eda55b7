/* COM1: 115200 baud, 8 bits, no parity. Sends by polling, receives by interrupt. */
#include "kernel.h"

enum { COM1 = 0x3f8, DATA = COM1, IER = COM1 + 1, FCR = COM1 + 2, LCR = COM1 + 3, MCR = COM1 + 4, LSR = COM1 + 5,
       SCRATCH = COM1 + 7 };
enum { LCR_8N1 = 3, LCR_DLAB = 0x80, LSR_DATA = 1, LSR_ROOM = 0x20, IER_DATA = 1, MCR_ON = 0x0b };
enum { PATIENCE = 100000 }; /* looks at LSR before a character is given up */

static int there;

void serial_init(void)
{
    out8(SCRATCH, 0x5a);
    there = in8(SCRATCH) == 0x5a;
    if (!there)
        return;
    out8(IER, 0);
    out8(LCR, LCR_DLAB);
    out8(DATA, 1);
    out8(IER, 0);
    out8(LCR, LCR_8N1);
    out8(FCR, 7); /* FIFOs on and empty, an interrupt for each byte */
    out8(MCR, MCR_ON);
    out8(IER, IER_DATA);
    irq_unmask(4);
}

void serial_put(char c)
{
    if (!there)
        return;
    for (u32 i = 0; i < PATIENCE && !(in8(LSR) & LSR_ROOM); i++)
        ;
    out8(DATA, (u8)c);
}

void serial_interrupt(void)
{
    for (int i = 0; there && i < 64 && in8(LSR) & LSR_DATA; i++) {
        char c = (char)in8(DATA);
        tty_type(c == '\r' ? '\n' : c == 0x7f ? '\b' : c);
    }
}
