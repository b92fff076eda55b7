/*
 * The hypercalls of a paravirtual machine, from the guest's side: docs/reference/hypercalls.md.
 * Numbers are Xen's where Xen has the call.
 */
#ifndef ABI_H
#define ABI_H

#include "../types.h"

enum hypercall_number {
    SET_TRAP_TABLE = 0, MMU_UPDATE = 1, SET_GDT = 2, STACK_SWITCH = 3, SET_CALLBACKS = 4, FPU_TASKSWITCH = 5,
    SET_DEBUGREG = 8, GET_DEBUGREG = 9, UPDATE_DESCRIPTOR = 10, SET_TIMER = 15, VERSION = 17, CONSOLE_IO = 18,
    VM_ASSIST = 21, IRET = 23, VCPU_OP = 24, MMUEXT_OP = 26, SCHED_OP = 29, EVENT_CHANNEL_OP = 32, PHYSDEV_OP = 33,
    BLOCK_OP = 48,
};
enum { CONSOLE_WRITE = 0, CONSOLE_READ = 1 };
enum { ASSIST_ENABLE = 0, ASSIST_DISABLE = 1, ASSIST_WRITE_PROTECT = 0 };
enum { VCPU_GET_STATE = 0, VCPU_GET_DESCRIPTOR = 1 };
enum { NEW_BASEPTR = 5, TLB_FLUSH = 6, INVLPG = 7, SET_LDT = 13, SET_TASK = 64 };
enum { SCHED_YIELD = 0, SCHED_BLOCK = 1, SCHED_SHUTDOWN = 2 };
enum { EVENT_BIND_VIRQ = 1, EVENT_BIND_PIRQ = 2, EVENT_CLOSE = 3, EVENT_SEND = 4 };
enum { VIRQ_TIMER = 0, VIRQ_CONSOLE = 1, VIRQ_DISK = 2 };
enum { PHYSDEV_SET_IOPL = 6 };
enum { BLOCK_ATTACH = 0, BLOCK_INFO = 1, BLOCK_KICK = 2 };
enum { SHUTDOWN_POWER_OFF = 0, SHUTDOWN_REBOOT = 1, SHUTDOWN_CRASH = 3 };

#define HYPERVISOR_LEAVES 0x40000000u
#define FEATURES_PARA 1u /* of the next leaf, EBX */
#define ABI_VERSION 0x00010000u

/* The page that guest and monitor share. Events come while upcall_mask is 0. */
struct shared_info {
    volatile u8 upcall_pending, upcall_mask;
    u16 unused;
    volatile u32 cr2;
    volatile u32 pending, mask; /* a bit a port */
    volatile u32 time_low, time_high;
    u8 rest[PAGE - 24];
};

struct mmu_request {
    u32 entry, value;
};

struct vcpu_state {
    u32 cr0, cr2, cr3, cr4, eflags, gdt_base, gdt_limit, idt_base, idt_limit, ldt, task, unused;
};

/* The ring of the disk: a page, 64 bytes of counters and 32 slots. An answer lies where its request was. */
enum { BLOCK_READ = 0, BLOCK_WRITE = 1, BLOCK_FLUSH = 3, RING_SLOTS = 32, MOST_RING_SECTORS = 256 };
struct block_ring {
    volatile u32 requests, answers; /* written by the guest, by the monitor; counts, never wrapped to a slot */
    u32 unused[14];
    volatile struct {
        u32 operation, id, sector, sector_high, count, buffer;
        i32 status;
        u32 unused;
    } slots[RING_SLOTS];
};
struct block_info {
    u32 sectors, flags;
    char model[40];
};
enum { BLOCK_READ_ONLY = 1 };

/* Numbers below 0 are errors, as Linux counts them. */
static inline i32 hypercall(u32 number, u32 a, u32 b, u32 c)
{
    i32 result;
    asm volatile("int $0x82" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

extern struct shared_info shared;

#endif
