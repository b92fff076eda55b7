/* The self-test: each part calls check() for its elements, always all of them and in the same order. */
#ifndef SELFTEST_H
#define SELFTEST_H

#include "../kernel.h"
#include "instructions.h"

/* One element of the array: what was found, and what a PC gives. */
void check(const char *name, u32 value, u32 expected);
/* The same for a part of something, named "name: part". */
void check_part(const char *name, const char *part, u32 value, u32 expected);

void test_sensitive(void);
void test_interrupts(void);
void test_faults(void);
void test_paging(void);
void test_devices(void);
void test_disks(void);
void test_files(void);
void test_programs(void);

/* transfers.asm */
u32 far_jump(void), far_call(void), far_return(void), iret_flags(u32 flags);
u32 reload_ss(void), pop_ss(void);

/* Wait by the timer's counter, whether or not interrupts come. */
void spend(u32 ms);
/* Wait with interrupts on until `ticks` has moved by n: 1, or 0 after `ms`. */
int ticks_come(u32 n, u32 ms);

#endif
