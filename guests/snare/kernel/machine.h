/*
 * The machine: everything privileged that the kernel does is here, in machine.c, or in the entry and
 * the return of trap.asm. The port to a paravirtual machine (para/, built with -DPARA) begins here. Only
 * selftest/ goes round it, to ask what the machine really does.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "types.h"

/* Selectors, in the order of the GDT (machine.c). A user selector carries RPL 3. */
#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_CODE (0x18 | 3)
#define USER_DATA (0x20 | 3)
#define TASK 0x28
#define ABSENT_DATA 0x30 /* not present, for the self-test */
#define CALL_GATE 0x38   /* ring 3 may call through it, for the self-test */

#define VECTORS 0x82
#define FIRST_IRQ 0x20 /* IRQ n is vector 20h + n */
#define SYSTEM_CALL 0x80
#define TEST_INTERRUPT 0x81

#define FLAG_IF 0x200u

#define PORT_OF_ALL 0x80 /* the POST display: the one port that ring 3 may use */

struct table_register {
    u16 limit;
    u32 base;
} __attribute__((packed));

static inline u8 in8(u16 port)
{
    u8 value;
    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void out8(u16 port, u8 value)
{
    asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(u16 port, u32 value)
{
    asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline u32 in32(u16 port)
{
    u32 value;
    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void in16s(u16 port, void *to, u32 count)
{
    asm volatile("rep insw" : "+D"(to), "+c"(count) : "d"(port) : "memory");
}

static inline void out16s(u16 port, const void *from, u32 count)
{
    asm volatile("rep outsw" : "+S"(from), "+c"(count) : "d"(port) : "memory");
}

#ifdef PARA
#include "para/machine.h"
#else
#define INTERRUPTS_BY_LEVEL 1 /* can lines that are level sensitive be used? */

static inline void irq_on(void)
{
    asm volatile("sti" : : : "memory");
}

static inline void irq_off(void)
{
    asm volatile("cli" : : : "memory");
}

/* irq_off() that remembers: give what it returns to irq_restore(). */
static inline u32 irq_save(void)
{
    u32 flags;
    asm volatile("pushf; pop %0; cli" : "=r"(flags) : : "memory");
    return flags;
}

static inline void irq_restore(u32 flags)
{
    if (flags & FLAG_IF)
        irq_on();
}

/* EFLAGS, IF included. */
static inline u32 flags_now(void)
{
    u32 flags;
    asm volatile("pushf; pop %0" : "=r"(flags));
    return flags;
}

/* Sleep until an interrupt. Call with interrupts off: none is lost between the last look and HLT. */
static inline void sleep_for_interrupt(void)
{
    asm volatile("sti; hlt" : : : "memory");
}

static inline u32 fault_address(void)
{
    u32 address;
    asm volatile("mov %%cr2, %0" : "=r"(address));
    return address;
}

static inline void use_page_directory(u32 *directory)
{
    asm volatile("mov %0, %%cr3" : : "r"(directory) : "memory");
}

static inline void forget_page(u32 address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

/* Change one entry of a page directory or table. The caller forgets the page where that is needed. */
static inline void set_entry(volatile u32 *entry, u32 value)
{
    *entry = value;
}

static inline void set_entries(volatile u32 *entries, const u32 *values, u32 count)
{
    for (u32 i = 0; i < count; i++)
        set_entry(&entries[i], values[i]);
}

static inline int irq_of(u32 vector)
{
    return (int)(vector - FIRST_IRQ);
}
#endif

void machine_init(void);             /* descriptor tables, task state, interrupt controllers */
void paging_on(u32 *directory);      /* and with write protection for ring 0 too */
void set_kernel_stack(u32 top);      /* where a trap from ring 3 begins to push */
void irq_unmask(int irq);
void irq_mask(int irq);
int irq_acknowledge(int irq);        /* 0 if it was spurious */
void leave(u8 value);                /* end the run, where there is an exit port; else nothing */
void reboot(void) __attribute__((noreturn));
void stop(void) __attribute__((noreturn));

extern struct table_register gdt_register, idt_register; /* what was loaded */

#endif
