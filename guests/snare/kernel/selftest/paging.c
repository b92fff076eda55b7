/* Paging: error codes, CR2, write protection, accessed and dirty bits, and what is remembered. */
#include "selftest.h"

#define FIRST TEST_WINDOW
#define SECOND (TEST_WINDOW + PAGE)
#define NO_TABLE (TEST_WINDOW + 0x00800000)

static volatile u32 *const first = (u32 *)FIRST, *const second = (u32 *)SECOND;
static u32 frames[2];

static void read_first(void)
{
    (void)*first;
}

static void write_first(void)
{
    *first = 7;
}

static void read_where_no_table_is(void)
{
    (void)*(volatile u32 *)NO_TABLE;
}

static void read_across(void)
{
    (void)*(volatile u32 *)(SECOND - 2);
}

static void unmap(u32 address)
{
    set_entry(page_entry(kernel_directory, address, 0), 0);
    forget_page(address);
}

static void map(u32 address, u32 frame, u32 flags)
{
    page_map(kernel_directory, address, frame, flags);
}

static void fault(const char *name, void (*function)(void), u32 error, u32 address)
{
    try(function);
    check_part(name, "error code", last_fault.vector == PAGE_FAULT ? last_fault.error : ~0u, error);
    check_part(name, "CR2 is the address", last_fault.address == address, 1);
}

static void faults(void)
{
    unmap(FIRST);
    unmap(SECOND);
    fault("#PF reading an absent page", read_first, 0, FIRST);
    fault("#PF writing an absent page", write_first, 2, FIRST);
    fault("#PF where the table is absent", read_where_no_table_is, 0, NO_TABLE);
    map(FIRST, frames[0], 0);
    fault("#PF writing a read-only page", write_first, 3, FIRST);
    fault("#PF across a page's end", read_across, 0, SECOND);
    set_write_protection(0);
    check("without WP ring 0 may write there", (u32)!try(write_first), 1);
    set_write_protection(1);
    check("with WP again it may not", (u32)try(write_first), 1);
    check("what it wrote there has arrived", *(u32 *)frames[0], 7);
}

static u32 bits(void)
{
    return *page_entry(kernel_directory, FIRST, 0) & (ACCESSED | DIRTY);
}

static void entries(void)
{
    map(FIRST, frames[0], WRITABLE);
    check("a new page: neither accessed nor dirty", bits(), 0);
    read_first();
    check("after a read: accessed", bits(), ACCESSED);
    write_first();
    check("after a write: dirty too", bits(), ACCESSED | DIRTY);
    map(SECOND, frames[0], WRITABLE);
    *first = 1234;
    check("one frame at two addresses", *second, 1234);
    *(u32 *)frames[1] = 5678;
    map(FIRST, frames[1], WRITABLE);
    check("another frame after INVLPG", *first, 5678);
    set_entry(page_entry(kernel_directory, FIRST, 0), frames[0] | PRESENT);
    use_page_directory(kernel_directory);
    check("another frame after loading CR3", *first, 1234);
    unmap(FIRST);
    unmap(SECOND);
    try(read_first);
    check("#PF after the page was taken away: vector", last_fault.vector, PAGE_FAULT);
    irq_on();
}

void test_paging(void)
{
    frames[0] = frame_alloc();
    frames[1] = frame_alloc();
    faults();
    entries();
    frame_free(frames[0]);
    frame_free(frames[1]);
}
