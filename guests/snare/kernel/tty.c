/*
 * The console: what is written goes to the screen and to COM1, what is typed on either end arrives
 * here. Lines are edited with Backspace and Ctrl-U; Ctrl-C ends the program in the foreground.
 */
#include "kernel.h"

enum { ERASE_LINE = 'U' & 31, END_OF_INPUT = 'D' & 31 };

static char typed[256];
static volatile u32 head, tail; /* interrupts write at head, readers take at tail */

int tty_muted;

void tty_put(char c)
{
    if (tty_muted)
        return;
    screen_put(c);
    if (c == '\n')
        serial_put('\r');
    serial_put(c);
}

/* Called by interrupts. When the buffer is full, what is typed is lost. */
void tty_type(char c)
{
    if (c == INTERRUPT_KEY)
        for (struct process *p = processes + 1; p < processes + PROCESSES; p++)
            if (p->state == RUNNABLE && !p->background) {
                p->kill = 1;
                return;
            }
    if (head - tail < sizeof typed)
        typed[head++ % sizeof typed] = c;
}

static char next_character(void)
{
    screen_cursor();
    while (head == tail) {
        if (current->kill)
            return INTERRUPT_KEY;
        wait_idle();
    }
    return typed[tail++ % sizeof typed];
}

static void rub_out(void)
{
    tty_put('\b');
    tty_put(' ');
    tty_put('\b');
}

/* Read a line without its end; the length, or ~0 at Ctrl-D on an empty line. Ctrl-C gives an empty one. */
u32 tty_read_line(char *line, u32 room)
{
    u32 n = 0;
    for (;;) {
        char c = next_character();
        if (c == '\n' || c == INTERRUPT_KEY) {
            if (c == INTERRUPT_KEY) {
                print("^C");
                n = 0;
            }
            tty_put('\n');
            line[n] = 0;
            return n;
        }
        if (c == END_OF_INPUT && n == 0)
            return ~0u;
        if (c == '\b' && n) {
            n--;
            rub_out();
        } else if (c == ERASE_LINE) {
            for (; n; n--)
                rub_out();
        } else if (c >= ' ' && c < 0x7f && n < room - 1) {
            line[n++] = c;
            tty_put(c);
        }
    }
}
