/*
 * Demand paging at work: touches 1 MiB of memory that is not there, a page at a time, checks that each
 * comes as zeros and keeps what is written, and lets the stack grow. `ps` shows the faults of a program.
 */
#include "snare.h"

enum { PAGES = 256, PAGE = 4096, DEPTH = 10 };

static u32 memory[PAGES][PAGE / 4];
static volatile u32 written[3] = {0x12345678, 2, 3}; /* comes from the file */

static u32 dig(int depth)
{
    volatile u32 room[PAGE / 4];
    room[0] = (u32)depth;
    return depth ? room[0] + dig(depth - 1) : 0;
}

int main(void)
{
    u32 wrong = written[0] != 0x12345678;
    for (u32 i = 0; i < PAGES; i++) {
        wrong += memory[i][i] != 0;
        memory[i][i] = i + 1;
    }
    for (u32 i = 0; i < PAGES; i++)
        wrong += memory[i][i] != i + 1;
    wrong += dig(DEPTH) != DEPTH * (DEPTH + 1) / 2;
    put_number(PAGES);
    put(" pages touched, ");
    put_number(wrong);
    put(" wrong\n");
    return wrong != 0;
}
