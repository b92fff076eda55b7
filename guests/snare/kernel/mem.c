/*
 * Page frames and page tables.
 *
 * The kernel sees RAM where it is: linear addresses 0 to MAPPED_LIMIT are physical ones, for ring 0
 * only. A process has the 256 MiB from USER_BASE on. Each process has its own page directory; the
 * entries for the kernel are the same in all.
 *
 * Frames below `first_frame` (the kernel, the RAM disk and all below 1 MiB) are never handed out.
 */
#include "kernel.h"

extern char kernel_end[];

u32 *kernel_directory;
u32 frames_total, frames_free;
static u8 used[MAPPED_LIMIT / PAGE / 8]; /* one bit a frame */
static u32 first_frame, end_frame, next_frame;

static int is_used(u32 n)
{
    return used[n / 8] >> n % 8 & 1;
}

u32 frame_alloc(void)
{
    for (u32 tries = end_frame - first_frame; tries; tries--) {
        u32 n = next_frame;
        if (++next_frame == end_frame)
            next_frame = first_frame;
        if (!is_used(n)) {
            used[n / 8] |= (u8)(1 << n % 8);
            frames_free--;
            memset((void *)(n * PAGE), 0, PAGE);
            return n * PAGE;
        }
    }
    return 0;
}

void frame_free(u32 frame)
{
    u32 n = frame / PAGE;
    used[n / 8] &= (u8)~(1 << n % 8);
    frames_free++;
}

/* The entry for an address; without `make` 0 if its table is missing. Tables allow all: pages decide. */
volatile u32 *page_entry(u32 *directory, u32 address, int make)
{
    volatile u32 *slot = &directory[address >> 22];
    if (!(*slot & PRESENT)) {
        u32 table = make ? frame_alloc() : 0;
        if (!table)
            return 0;
        set_entry(slot, table | PRESENT | WRITABLE | (address >= USER_BASE ? USER : 0));
    }
    u32 *table = (u32 *)PAGE_DOWN(*slot);
    return &table[address >> 12 & 1023];
}

int page_map(u32 *directory, u32 address, u32 frame, u32 flags)
{
    volatile u32 *entry = page_entry(directory, address, 1);
    if (!entry)
        return 0;
    set_entry(entry, frame | flags | PRESENT);
    forget_page(address);
    return 1;
}

u32 *directory_new(void)
{
    u32 *directory = (u32 *)frame_alloc();
    if (directory)
        set_entries(directory, kernel_directory, USER_BASE >> 22);
    return directory;
}

/* Give back the directory, the tables and the pages of a process. It must not be the one in use. */
void directory_free(u32 *directory)
{
    for (u32 i = USER_BASE >> 22; i < USER_TOP >> 22; i++) {
        if (!(directory[i] & PRESENT))
            continue;
        u32 *table = (u32 *)PAGE_DOWN(directory[i]);
        for (u32 j = 0; j < 1024; j++)
            if (table[j] & PRESENT)
                frame_free(PAGE_DOWN(table[j]));
        frame_free((u32)table);
    }
    frame_free((u32)directory);
}

void mem_init(void)
{
    u32 end = 0x100000 + boot.upper_kib * 1024;
    if (boot.upper_kib >= MAPPED_LIMIT / 1024 || end > MAPPED_LIMIT)
        end = MAPPED_LIMIT;
    u32 start = PAGE_UP(kernel_end);
    if (boot.ramdisk)
        start = PAGE_UP(boot.ramdisk + boot.ramdisk_bytes);
    if (end < start + 0x100000)
        panic("too little memory: 4 MiB are needed");
    first_frame = next_frame = start / PAGE;
    end_frame = end / PAGE;
    frames_total = frames_free = end_frame - first_frame;
    kernel_directory = (u32 *)frame_alloc();
    for (u32 address = 0; address < end; address += PAGE) {
        volatile u32 *entry = page_entry(kernel_directory, address, 1);
        set_entry(entry, address | PRESENT | WRITABLE);
    }
    page_entry(kernel_directory, TEST_WINDOW, 1);
    paging_on(kernel_directory);
}
