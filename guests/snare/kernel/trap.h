/* What a trap leaves on the kernel stack, and who looks at it. */
#ifndef TRAP_H
#define TRAP_H

#include "types.h"

/* Built by trap.asm from the bottom up; esp and ss only if it came out of ring 3. */
struct frame {
    u32 gs, fs, es, ds;
    u32 edi, esi, ebp, unused, ebx, edx, ecx, eax;
    u32 vector, error;
    u32 eip, cs, eflags, esp, ss;
};

enum { DIVIDE = 0, DEBUG = 1, BREAKPOINT = 3, OVERFLOW = 4, BOUNDS = 5, UNDEFINED = 6, NO_FPU = 7,
       NOT_PRESENT = 11, STACK_FAULT = 12, PROTECTION = 13, PAGE_FAULT = 14 };

extern u32 trap_stubs[];
extern char trap_return[];
void call_gate_entry(void); /* selftest/transfers.asm */

void trap(struct frame *frame);

/*
 * What the last fault in the kernel was. try(function) calls it and says whether it faulted;
 * outside of it a fault in the kernel is the end.
 */
struct fault {
    u32 vector, error, address, eip, flags;
};
extern struct fault last_fault;
extern struct frame test_frame; /* of the last TEST_INTERRUPT, and EFLAGS in its handler */
extern u32 test_flags;
int try(void (*function)(void));

#endif
