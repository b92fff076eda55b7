/* What the paravirtual interface has in place of each instruction of selftest/instructions.h. */
#ifndef PARA_INSTRUCTIONS_H
#define PARA_INSTRUCTIONS_H

int irq_masked(int irq); /* machine.c */

static inline struct vcpu_state vcpu_state(void)
{
    struct vcpu_state state = {0};
    hypercall(VCPU_OP, VCPU_GET_STATE, (u32)&state, 0);
    return state;
}

/* The tables as the monitor holds them. */
static inline void store_gdt(struct table_register *to)
{
    struct vcpu_state state = vcpu_state();
    *to = (struct table_register){(u16)state.gdt_limit, state.gdt_base};
}

static inline void store_idt(struct table_register *to)
{
    struct vcpu_state state = vcpu_state();
    *to = (struct table_register){(u16)state.idt_limit, state.idt_base};
}

static inline u32 store_ldt(void)
{
    return vcpu_state().ldt;
}

static inline u32 store_task(void)
{
    return vcpu_state().task;
}

static inline u32 read_cr0(void)
{
    return vcpu_state().cr0;
}

static inline u32 read_cr3(void)
{
    return vcpu_state().cr3;
}

/* The field of the shared page: the monitor writes it at a page fault and at nothing else. */
static inline void write_cr2(u32 value)
{
    shared.cr2 = value;
    hypercall(VERSION, 0, 0, 0);
}

static inline void set_ts(void)
{
    hypercall(FPU_TASKSWITCH, 1, 0, 0);
}

static inline void clear_ts(void)
{
    hypercall(FPU_TASKSWITCH, 0, 0, 0);
}

/* Of what LMSW can change, TS is the bit that the interface has. */
static inline void load_machine_status(u32 value)
{
    hypercall(FPU_TASKSWITCH, value >> 3 & 1, 0, 0);
}

static inline u32 through_debug_register(u32 value)
{
    hypercall(SET_DEBUGREG, 0, value, 0);
    return (u32)hypercall(GET_DEBUGREG, 0, 0, 0);
}

static inline void set_write_protection(int on)
{
    hypercall(VM_ASSIST, on ? ASSIST_ENABLE : ASSIST_DISABLE, ASSIST_WRITE_PROTECT, 0);
}

static inline void clear_flags(void)
{
    irq_off();
}

/* IF is the mask of the shared page, IOPL the monitor's. */
static inline u32 after_popf(u32 flags)
{
    irq_off();
    irq_restore(flags);
    hypercall(PHYSDEV_OP, PHYSDEV_SET_IOPL, flags >> 12 & 3, 0);
    u32 got = vcpu_state().eflags;
    irq_off();
    hypercall(PHYSDEV_OP, PHYSDEV_SET_IOPL, 0, 0);
    return got;
}

static inline void irq_flash(void)
{
    shared.upcall_mask = 0;
    shared.upcall_mask = 1;
}

/* The descriptor as it was given; LAR would show the ring that the monitor gave it. */
static inline u32 rights(u32 selector)
{
    u32 descriptor[2] = {0, 0};
    hypercall(VCPU_OP, VCPU_GET_DESCRIPTOR, selector, (u32)descriptor);
    return descriptor[1] & 0x00f0ff00;
}

/* The processor shows the kernel's ring in the selectors of CS and SS: which descriptor is it? */
static inline u32 own(u32 selector)
{
    return (selector & 3) == KERNEL_RING ? selector & ~3u : selector;
}

#endif
