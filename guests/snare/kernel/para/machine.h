/*
 * The machine under a monitor that the kernel knows of: what machine.h does by privileged instructions,
 * done by hypercalls and by stores to the shared page. Included by machine.h.
 */
#ifndef PARA_MACHINE_H
#define PARA_MACHINE_H

#include "abi.h"

#define KERNEL_RING 1    /* as the processor shows it in the selectors that it holds */
#define UPCALL FIRST_IRQ /* the vector by which all events come */
#define INTERRUPTS_BY_LEVEL 0 /* the monitor binds no line that is level sensitive */

static inline void irq_off(void)
{
    shared.upcall_mask = 1;
    asm volatile("" : : : "memory");
}

/* What came meanwhile is delivered at the end of any hypercall. */
static inline void irq_on(void)
{
    asm volatile("" : : : "memory");
    shared.upcall_mask = 0;
    asm volatile("" : : : "memory");
    if (shared.upcall_pending)
        hypercall(VERSION, 0, 0, 0);
}

static inline u32 irq_save(void)
{
    u32 flags = shared.upcall_mask ? 0 : FLAG_IF;
    irq_off();
    return flags;
}

static inline void irq_restore(u32 flags)
{
    if (flags & FLAG_IF)
        irq_on();
}

/* The monitor takes the mask away and sleeps in one step. */
static inline void sleep_for_interrupt(void)
{
    hypercall(SCHED_OP, SCHED_BLOCK, 0, 0);
}

static inline u32 flags_now(void)
{
    u32 flags;
    asm volatile("pushf; pop %0" : "=r"(flags));
    return (flags & ~FLAG_IF) | (shared.upcall_mask ? 0 : FLAG_IF);
}

static inline u32 fault_address(void)
{
    return shared.cr2;
}

static inline void use_page_directory(u32 *directory)
{
    hypercall(MMUEXT_OP, NEW_BASEPTR, (u32)directory, 0);
}

static inline void forget_page(u32 address)
{
    hypercall(MMUEXT_OP, INVLPG, address, 0);
}

void set_entry(volatile u32 *entry, u32 value);
void set_entries(volatile u32 *entries, const u32 *values, u32 count);

int irq_of(u32 vector); /* the line whose event has come; -1: none */
void ring_interrupt(void);

#endif
