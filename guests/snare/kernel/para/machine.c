/* Descriptor tables, events, paging on, and the ways to end, by hypercalls. */
#include "../machine.h"
#include "../trap.h"

/*
 * The GDT as on a bare machine. The monitor's copy has its segments of ring 0 in ring 1, where this
 * kernel runs: selectors that it loads into SS, or returns to, carry RPL 1.
 */
static u32 gdt[8][2] = {
    {0, 0},
    {0x0000ffff, 0x00cf9b00},
    {0x0000ffff, 0x00cf9300},
    {0x0000ffff, 0x00cffb00},
    {0x0000ffff, 0x00cff300},
    {0, 0}, /* TASK, filled in below */
    {0x0000ffff, 0x00cf1300},
    {0, 0}, /* CALL_GATE */
};
static u32 idt[VECTORS][2];

/* The task state segment: the monitor takes the stack and the bitmap of ports from it. */
static struct {
    u32 link, esp0, ss0;
    u32 unused[22];
    u16 trap, bitmap;
    u8 ports[0x100 / 8 + 1];
} __attribute__((packed)) task;

struct table_register gdt_register = {sizeof gdt - 1, (u32)gdt};
struct table_register idt_register = {sizeof idt - 1, (u32)idt};

struct shared_info shared __attribute__((aligned(4096)));

enum { INTERRUPT_GATE = 0x8e00, TRAP_GATE = 0x8f00, FROM_RING_3 = 0x6000 };

static void set_gate(int vector, u32 entry, u32 type)
{
    idt[vector][0] = KERNEL_CODE << 16 | (entry & 0xffff);
    idt[vector][1] = (entry & 0xffff0000) | type;
}

static void load_tables(void)
{
    hypercall(SET_GDT, (u32)gdt, COUNT(gdt), 0);
    hypercall(SET_TRAP_TABLE, (u32)idt, VECTORS, 0);
    asm volatile("ljmp %0, $1f\n1:" : : "i"(KERNEL_CODE | KERNEL_RING));
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs; mov %0, %%ss"
                 : : "r"(KERNEL_DATA | KERNEL_RING));
    hypercall(MMUEXT_OP, SET_LDT, 0, 0);
    hypercall(MMUEXT_OP, SET_TASK, TASK, 0);
}

/*
 * Events. A line of the PC that a driver of this kernel serves is a physical interrupt and has the port
 * of its number; the timer, the console and the disk are the monitor's.
 */
enum { FIRST_VIRQ = 16, IRQ_TIMER = 0, IRQ_CONSOLE = 4 };

static u32 port_of(int irq)
{
    return irq == IRQ_TIMER ? FIRST_VIRQ + VIRQ_TIMER : irq == IRQ_CONSOLE ? FIRST_VIRQ + VIRQ_CONSOLE : (u32)irq;
}

void irq_unmask(int irq)
{
    u32 port = port_of(irq);
    if (port < FIRST_VIRQ)
        hypercall(EVENT_CHANNEL_OP, EVENT_BIND_PIRQ, port, 0);
    else
        hypercall(EVENT_CHANNEL_OP, EVENT_BIND_VIRQ, port - FIRST_VIRQ, 0);
    shared.mask &= ~(1u << port);
    hypercall(VERSION, 0, 0, 0); /* what waited comes now */
}

void irq_mask(int irq)
{
    shared.mask |= 1u << port_of(irq);
}

int irq_masked(int irq)
{
    return shared.mask >> port_of(irq) & 1;
}

/*
 * Take the lowest event that waits, by one instruction: the monitor may set another bit at any moment.
 * For the others it calls again.
 */
int irq_of(u32 vector)
{
    u32 waiting = shared.pending & ~shared.mask, port = 0;
    if (vector != UPCALL || !waiting)
        return -1;
    while (!(waiting >> port & 1))
        port++;
    asm volatile("btr %1, %0" : "+m"(shared.pending) : "r"(port) : "cc");
    if (port == FIRST_VIRQ + VIRQ_DISK)
        ring_interrupt();
    return port == FIRST_VIRQ + VIRQ_TIMER ? IRQ_TIMER : port == FIRST_VIRQ + VIRQ_CONSOLE ? IRQ_CONSOLE : (int)port;
}

int irq_acknowledge(int irq)
{
    return irq >= 0;
}

/* Is there a monitor, and is it this one? By CPUID, and by both ways to call it. */
static int monitored(void)
{
    u32 leaf, b, c, d, version;
    asm volatile("cpuid" : "=a"(leaf), "=b"(b), "=c"(c), "=d"(d) : "0"(HYPERVISOR_LEAVES), "2"(0));
    if (b != 0x70617254 || c != 0x656e696c || d != 0x004d4d56) /* "TraplineVMM" */
        return 0;
    asm volatile("cpuid" : "=a"(leaf), "=b"(b), "=c"(c), "=d"(d) : "0"(HYPERVISOR_LEAVES + 1), "2"(0));
    if (!(b & FEATURES_PARA)) /* another technique: it has none of the calls */
        return 0;
    asm volatile("vmcall" : "=a"(version) : "0"(VERSION) : "memory");
    return version == ABI_VERSION && hypercall(VERSION, 0, 0, 0) == ABI_VERSION;
}

/* On a bare machine: say so and stop, with what is there before anything is set up. */
static void refuse(void)
{
    static const char text[] = "This kernel needs the paravirtual machine of Trapline.";
    for (u32 i = 0; i < sizeof text - 1; i++)
        ((volatile u16 *)0xb8000)[i] = (u16)(0x0700 | text[i]);
    out32(0xf4, 3);
    for (;;)
        asm volatile("hlt");
}

void machine_init(void)
{
    u32 base = (u32)&task, limit = sizeof task - 1, gate = (u32)call_gate_entry;
    if (!monitored())
        refuse();
    task.ss0 = KERNEL_DATA;
    task.bitmap = (u16)((u32)task.ports - base);
    memset(task.ports, 0xff, sizeof task.ports);
    task.ports[PORT_OF_ALL / 8] &= (u8)~(1 << PORT_OF_ALL % 8);
    gdt[TASK / 8][0] = base << 16 | limit;
    gdt[TASK / 8][1] = (base & 0xff000000) | 0x8900 | (base >> 16 & 0xff);
    gdt[CALL_GATE / 8][0] = KERNEL_CODE << 16 | (gate & 0xffff);
    gdt[CALL_GATE / 8][1] = (gate & 0xffff0000) | 0xec00;
    for (int i = 0; i < FIRST_IRQ + 16; i++)
        set_gate(i, trap_stubs[i], INTERRUPT_GATE);
    for (int i = 3; i <= 4; i++) /* INT3 and INTO are for everybody */
        set_gate(i, trap_stubs[i], INTERRUPT_GATE | FROM_RING_3);
    set_gate(SYSTEM_CALL, trap_stubs[FIRST_IRQ + 16], TRAP_GATE | FROM_RING_3);
    set_gate(TEST_INTERRUPT, trap_stubs[FIRST_IRQ + 17], INTERRUPT_GATE);
    load_tables();
    shared.upcall_mask = 1;
    shared.mask = ~(1u << (FIRST_VIRQ + VIRQ_DISK)); /* which is bound when there is one */
    hypercall(SET_CALLBACKS, UPCALL, (u32)&shared, 0);
}

void set_kernel_stack(u32 top)
{
    hypercall(STACK_SWITCH, KERNEL_DATA, top, 0);
}

static int paging;

/* The first base pointer turns paging on, with write protection. */
void paging_on(u32 *directory)
{
    use_page_directory(directory);
    paging = 1;
}

void set_entry(volatile u32 *entry, u32 value)
{
    struct mmu_request request = {(u32)entry, value};
    if (paging)
        hypercall(MMU_UPDATE, (u32)&request, 1, 0);
    else
        *entry = value; /* a table that is not in use is memory like any other */
}

/* Many at once, a hypercall for each 64. */
void set_entries(volatile u32 *entries, const u32 *values, u32 count)
{
    static struct mmu_request requests[64];
    while (count) {
        u32 n = count < COUNT(requests) ? count : COUNT(requests);
        for (u32 i = 0; i < n; i++)
            requests[i] = (struct mmu_request){(u32)&entries[i], values[i]};
        hypercall(MMU_UPDATE, (u32)requests, n, 0);
        entries += n, values += n, count -= n;
    }
}

/* The value is what the run ends with. */
void leave(u8 value)
{
    hypercall(SCHED_OP, SCHED_SHUTDOWN, SHUTDOWN_POWER_OFF, value);
}

void reboot(void)
{
    hypercall(SCHED_OP, SCHED_SHUTDOWN, SHUTDOWN_REBOOT, 0);
    stop();
}

void stop(void)
{
    for (;;)
        hypercall(SCHED_OP, SCHED_SHUTDOWN, SHUTDOWN_CRASH, 0);
}
