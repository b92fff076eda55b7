/*
 * The self-test. It prints an array of invariants: what is found is the same on every PC, whatever its
 * speed, its memory and the medium it was booted from. So two machines, or one machine under two
 * monitors, can be compared line by line. Every wait ends.
 */
#include "selftest.h"

static int total, passed;

void check_part(const char *name, const char *part, u32 value, u32 expected)
{
    print("snare[%03d] %s%s%s = %u", total, name, *part ? ": " : "", part, value);
    if (value == expected)
        passed++;
    else
        print(" <- %u expected", expected);
    print("\n");
    total++;
}

void check(const char *name, u32 value, u32 expected)
{
    check_part(name, "", value, expected);
}

void spend(u32 ms)
{
    struct deadline end;
    deadline_in(&end, ms);
    while (!deadline_passed(&end))
        ;
}

int ticks_come(u32 n, u32 ms)
{
    struct deadline end;
    u32 first = ticks;
    irq_on();
    deadline_in(&end, ms);
    while (ticks - first < n)
        if (deadline_passed(&end))
            return 0;
    return 1;
}

int self_test(void)
{
    total = passed = 0;
    test_sensitive();
    test_interrupts();
    test_faults();
    test_paging();
    test_devices();
    test_disks();
    test_files();
    test_programs();
    screen_colour(passed == total ? 0x0a : 0x0c);
    print("snare: self-test %d of %d %s\n", passed, total, passed == total ? "passed" : "passed, FAILED");
    screen_colour(0x07);
    return total - passed;
}
