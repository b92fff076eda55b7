/* Ring 3: programs from the disk, their page faults and system calls, and how bad ones end. */
#include "selftest.h"

#include "../../user/ring3.h"

enum { PATIENCE_MS = 3000, NOT_STARTED = 1000, NOT_ENDED = 1001 };

/* Run a program to its end, its output unseen: what it ended with, a fault as 100 + its vector. */
static u32 run(const char *name, const char *arguments, int endless)
{
    struct deadline end;
    tty_muted = 1;
    int number = process_start(name, arguments, 1), code = -1;
    struct process *p = number > 0 ? process_by_number(number) : 0;
    deadline_in(&end, endless ? 50 : PATIENCE_MS);
    while (p && p->state == RUNNABLE && !deadline_passed(&end))
        yield();
    int ended = p && p->state == ENDED;
    if (p && !ended) { /* the next time it traps, that will be its end */
        p->kill = 1;
        deadline_in(&end, PATIENCE_MS);
        while (p->state == RUNNABLE && !deadline_passed(&end))
            yield();
    }
    if (p && p->state == ENDED) {
        code = p->code;
        p->state = UNUSED;
    }
    tty_muted = 0;
    if (!p)
        return NOT_STARTED;
    return !ended && !endless ? NOT_ENDED : code < 0 ? 100 + (u32)-code : (u32)code;
}

static const struct {
    u32 index;
    const char *name;
    u32 expected;
} in_ring_3[] = {
#define ELEMENT(index, name, expected) {index, name, expected},
#include "../../user/ring3.h"
#undef ELEMENT
};

static const struct {
    const char *arguments, *name;
    u32 vector;
} crimes[] = {
    {"", "a program is killed for writing to the kernel", PAGE_FAULT},
    {"read", "a program is killed for reading the kernel", PAGE_FAULT},
    {"nowhere", "a program is killed for writing where nothing is", PAGE_FAULT},
    {"code", "a program is killed for writing to its code", PAGE_FAULT},
    {"cli", "a program is killed for CLI", PROTECTION},
    {"hlt", "a program is killed for HLT", PROTECTION},
    {"out", "a program is killed for OUT to the 8259", PROTECTION},
};

void test_programs(void)
{
    u32 free = frames_free;
    memset(reports, 0xff, sizeof reports);
    check("hello ends with 0", run("hello", "", 0), 0);
    check("touch has 256 pages on demand, and stack", run("touch", "", 0), 0);
    check("ring3 ends with 0", run("ring3", "", 0), 0);
    for (u32 i = 0; i < COUNT(in_ring_3); i++)
        check(in_ring_3[i].name, reports[in_ring_3[i].index], in_ring_3[i].expected);
    for (u32 i = 0; i < COUNT(crimes); i++)
        check(crimes[i].name, run("rogue", crimes[i].arguments, 0), 100 + crimes[i].vector);
    /* without timer interrupts in ring 3 there would be no way back */
    int can = reports[TICKS_COME] == 1;
    check("an endless program is interrupted and killed", can ? run("rogue", "loop", 1) : NOT_ENDED, 100 + 256);
    check("no page frame is lost", free - frames_free, 0);
}
