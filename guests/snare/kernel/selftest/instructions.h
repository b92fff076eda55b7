/*
 * The instructions that the self-test asks about in ring 0. Under a monitor that the kernel knows of
 * (-DPARA) the same questions go to what takes the place of each: para/instructions.h.
 */
#ifndef INSTRUCTIONS_H
#define INSTRUCTIONS_H

#include "../kernel.h"

#ifdef PARA
#include "../para/instructions.h"
#else

enum { CR0_TS_ = 8, CR0_WP_ = 0x10000 };

static inline void store_gdt(struct table_register *to)
{
    asm volatile("sgdt %0" : "=m"(*to));
}

static inline void store_idt(struct table_register *to)
{
    asm volatile("sidt %0" : "=m"(*to));
}

static inline u32 store_ldt(void)
{
    u32 value = ~0u;
    asm volatile("sldt %0" : "=r"(value));
    return value & 0xffff;
}

static inline u32 store_task(void)
{
    u32 value = ~0u;
    asm volatile("str %0" : "=r"(value));
    return value & 0xffff;
}

static inline u32 read_cr0(void)
{
    u32 value;
    asm volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}

static inline void write_cr0(u32 value)
{
    asm volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

static inline u32 read_cr3(void)
{
    u32 value;
    asm volatile("mov %%cr3, %0" : "=r"(value));
    return value;
}

static inline void write_cr2(u32 value)
{
    asm volatile("mov %0, %%cr2" : : "r"(value));
}

static inline void set_ts(void)
{
    write_cr0(read_cr0() | CR0_TS_);
}

static inline void clear_ts(void)
{
    asm volatile("clts");
}

static inline void load_machine_status(u32 value)
{
    asm volatile("lmsw %w0" : : "r"(value));
}

/* What DR0 holds after it was written. */
static inline u32 through_debug_register(u32 value)
{
    asm volatile("mov %1, %%dr0; mov %%dr0, %0" : "=r"(value) : "r"(value));
    return value;
}

static inline void set_write_protection(int on)
{
    write_cr0(on ? read_cr0() | CR0_WP_ : read_cr0() & ~(u32)CR0_WP_);
}

/* POPF of flags that have nothing set. */
static inline void clear_flags(void)
{
    asm volatile("push $2; popf" : : : "cc");
}

/* EFLAGS after POPF of `flags`; interrupts are off before and after. */
static inline u32 after_popf(u32 flags)
{
    u32 got;
    asm volatile("cli; push %1; popf; pushf; pop %0; cli; push $2; popf" : "=r"(got) : "r"(flags) : "memory", "cc");
    return got;
}

/* STI, and CLI right behind it. */
static inline void irq_flash(void)
{
    asm volatile("sti; cli" : : : "memory");
}

static inline int irq_masked(int irq)
{
    return in8(0x21) >> irq & 1; /* of the first 8259 */
}

/* The rights of a descriptor, as LAR gives them. */
static inline u32 rights(u32 selector)
{
    u32 value;
    asm volatile("xor %0, %0; lar %1, %0" : "=&r"(value) : "r"(selector));
    return value;
}

/* A selector of the kernel's as the processor holds it: it names the descriptor plainly. */
static inline u32 own(u32 selector)
{
    return selector;
}

#endif
#endif
