/*
 * The 8254: channel 0 interrupts HZ times a second. Its counter, read by polling, also measures the
 * waits of the kernel, so that they end even where no interrupt ever comes.
 */
#include "kernel.h"

enum { PIT_CHANNEL_0 = 0x40, PIT_CONTROL = 0x43, MODE_2 = 0x34, LATCH_0 = 0 };
#define PIT_HZ 1193182
#define RELOAD (PIT_HZ / HZ)
#define MS_A_TICK (1000 / HZ)
#define POLLS_PER_MS 4000 /* if even the counter stands still, a wait ends after so many looks */

volatile u32 ticks, user_ticks;
int clock_runs;

void clock_init(void)
{
#ifdef PARA
    hypercall(SET_TIMER, 1000000000 / HZ, 0, 0); /* the same counter, whose count may be read */
#else
    out8(PIT_CONTROL, MODE_2);
    out8(PIT_CHANNEL_0, RELOAD & 0xff);
    out8(PIT_CHANNEL_0, RELOAD >> 8);
#endif
    irq_unmask(0);
}

void clock_interrupt(struct frame *frame)
{
    ticks++;
    current->ticks++;
    if ((frame->cs & 3) == 3)
        user_ticks++;
}

/* Counts down from RELOAD, 1.193 MHz. */
u16 timer_count(void)
{
    out8(PIT_CONTROL, LATCH_0);
    u8 low = in8(PIT_CHANNEL_0);
    return (u16)(low | in8(PIT_CHANNEL_0) << 8);
}

void deadline_in(struct deadline *deadline, u32 ms)
{
    deadline->counts = ms * (PIT_HZ / 1000);
    deadline->polls = ms * POLLS_PER_MS;
    deadline->last = timer_count();
    deadline->end_tick = ticks + ms / MS_A_TICK + 2;
}

/*
 * The counter runs round every tick: whoever asks less often would lose time by it. But then ticks come,
 * and tell too.
 */
int deadline_passed(struct deadline *deadline)
{
    u16 now = timer_count();
    u32 gone = now <= deadline->last ? deadline->last - now : deadline->last + RELOAD - now;
    deadline->last = now;
    if (gone >= deadline->counts || !deadline->polls-- || (i32)(ticks - deadline->end_tick) >= 0) {
        deadline->counts = deadline->polls = 0;
        return 1;
    }
    deadline->counts -= gone;
    return 0;
}

/* What the kernel does while it waits for somebody to type or to end: never HLT without a clock. */
void wait_idle(void)
{
    irq_off();
    if (others_runnable()) {
        irq_on();
        yield();
    } else if (clock_runs) {
        sleep_for_interrupt();
    } else {
        keyboard_interrupt(); /* before the interrupt can come in between: what was typed stays in order */
        serial_interrupt();
        irq_on();
    }
}
