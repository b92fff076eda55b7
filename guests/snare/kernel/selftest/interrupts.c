/* Interrupts: that they come when they may, and only then. */
#include "selftest.h"

enum { MORE_THAN_A_TICK = 25, LONG = 500 }; /* ms */

void test_interrupts(void)
{
    irq_off();
    u32 before = ticks;
    spend(MORE_THAN_A_TICK);
    check("no timer interrupt while IF is clear", ticks - before, 0);
    before = ticks;
    irq_flash();
    check("no timer interrupt between STI and CLI", ticks - before, 0);
    irq_on();
    spend(1);
    irq_off();
    check("a waiting timer interrupt comes after STI", ticks != before, 1);
    check("timer interrupts come in ring 0", (u32)ticks_come(3, LONG), 1);
    clock_runs = ticks_come(1, LONG);
    before = ticks;
    irq_off();
    if (clock_runs)
        sleep_for_interrupt();
    check("HLT ends by an interrupt", ticks != before, 1);
    irq_mask(0);
    before = ticks;
    spend(MORE_THAN_A_TICK);
    check("no timer interrupt through the mask of the 8259", ticks - before, 0);
    check("the mask of the 8259 reads back", (u32)irq_masked(0), 1);
    irq_unmask(0);
    check("timer interrupts come without the mask", (u32)ticks_come(1, LONG), 1);
}
