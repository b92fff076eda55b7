/* What is on the board: memory, timer, keyboard controller, serial port. */
#include "selftest.h"

enum { LEAST_KIB = 3072, COM1_SCRATCH = 0x3ff };

/* Keeps what was there: the last page may be the firmware's. */
static int keeps(volatile u32 *place, u32 value)
{
    u32 before = *place;
    *place = value;
    int same = *place == value;
    *place = before;
    return same;
}

static void memory(void)
{
    u32 last = 0x100000 + (boot.upper_kib - 4) * 1024;
    volatile u32 *window = (u32 *)TEST_WINDOW;
    check("the loader tells of 3 MiB or more above 1 MiB", boot.upper_kib >= LEAST_KIB, 1);
    check("its memory map has no less", !boot.map_kib || boot.map_kib + 1024 >= boot.upper_kib, 1);
    page_map(kernel_directory, TEST_WINDOW, last, WRITABLE);
    check("the last page keeps zeros and ones", keeps(window, 0) && keeps(window, ~0u), 1);
    set_entry(page_entry(kernel_directory, TEST_WINDOW, 0), 0);
    forget_page(TEST_WINDOW);
    /* the kernel begins at 1 MiB; without A20 interrupt vectors would be seen there */
    check("address line 20 is there", memcmp((void *)0x10, (void *)0x100010, 16) != 0, 1);
}

void test_devices(void)
{
    memory();
    u16 count = timer_count();
    spend(1);
    check("the timer counts", timer_count() != count, 1);
    check("keyboard controller: self-test", (u32)keyboard_test, 0x55);
    check("keyboard controller: test of the line", (u32)keyboard_port_test, 0);
    out8(COM1_SCRATCH, 0xa5);
    check("COM1 keeps its scratch register", in8(COM1_SCRATCH), 0xa5);
}
