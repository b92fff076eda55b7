/* Traps: to whom each goes. */
#include "kernel.h"

struct fault last_fault;
struct frame test_frame;
u32 test_flags;
static int trying;

extern char try_failed[];
int try_call(void (*function)(void));

int try(void (*function)(void))
{
    last_fault.vector = ~0u;
    trying = 1;
    int failed = try_call(function);
    trying = 0;
    return failed;
}

static const char *const fault_names[] = {
    "#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow", "#BR bounds",
    "#UD invalid opcode", "#NM no coprocessor", "#DF double fault", "coprocessor overrun", "#TS bad task",
    "#NP segment not present", "#SS stack fault", "#GP general protection", "#PF page fault",
};

static const char *fault_name(u32 vector)
{
    return vector < COUNT(fault_names) ? fault_names[vector] : "exception";
}

static void interrupt(struct frame *frame, int irq)
{
    if (!irq_acknowledge(irq))
        return;
    switch (irq) {
    case 0:
        clock_interrupt(frame);
        break;
    case 1:
        keyboard_interrupt();
        break;
    case 4:
        serial_interrupt();
        break;
    case 14:
    case 15:
        ide_interrupt(irq - 14);
        break;
    }
    aic7870_interrupt(irq); /* a line of PCI, which may be shared */
}

/* In ring 3: a page to be brought in, a fault that the program catches, or its end. */
static void user_fault(struct frame *frame, u32 address)
{
    irq_on(); /* paging in may wait for the disk */
    if (frame->vector == PAGE_FAULT && !(frame->error & PRESENT) && process_page_in(address, frame->error & WRITABLE))
        return;
    if (current->catcher) {
        frame->eip = current->catcher;
        frame->eax = frame->vector;
        frame->edx = frame->error;
        frame->ecx = address;
        current->catcher = 0;
        return;
    }
    print("%s killed: %s", current->name, fault_name(frame->vector));
    if (frame->vector == PAGE_FAULT)
        print(", %s %08x", frame->error & WRITABLE ? "writing" : "reading", address);
    print(", at %08x\n", frame->eip);
    process_exit(-(int)frame->vector);
}

static void kernel_fault(struct frame *frame, u32 address)
{
    if (trying) {
        last_fault = (struct fault){frame->vector, frame->error, address, frame->eip, frame->eflags};
        frame->eip = (u32)try_failed;
        frame->eflags &= ~0x100u; /* no single steps any more */
        return;
    }
    print("\n%s in the kernel, error %x, address %08x, at %08x\n", fault_name(frame->vector), frame->error, address,
          frame->eip);
    panic("a fault in the kernel");
}

void trap(struct frame *frame)
{
    u32 vector = frame->vector, from_user = frame->cs & 3;
    if (vector >= FIRST_IRQ && vector < FIRST_IRQ + 16) {
        interrupt(frame, irq_of(vector));
    } else if (vector == SYSTEM_CALL) {
        system_call(frame);
    } else if (vector == TEST_INTERRUPT) {
        test_frame = *frame;
        test_flags = flags_now();
    } else {
        u32 address = vector == PAGE_FAULT ? fault_address() : 0;
        /* a deprivileged kernel's own faults do not come from ring 3 */
        if (from_user == 3)
            user_fault(frame, address);
        else
            kernel_fault(frame, address);
    }
    if (from_user == 3 && current->kill)
        process_exit(KILLED);
    if (vector == FIRST_IRQ && from_user == 3)
        yield();
}
