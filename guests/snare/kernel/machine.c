/* Descriptor tables, the 8259s, paging on, and the ways to end. */
#include "machine.h"
#include "trap.h"

/*
 * The GDT: flat segments for both rings, the task state segment, and two descriptors that only the
 * self-test uses. Accessed bits are set from the start, so that the processor never writes here.
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

/*
 * The task state segment. Nothing is switched by it: the processor takes the ring-0 stack from it
 * when a trap comes out of ring 3, and asks its bitmap which ports ring 3 may use (a 0 allows).
 */
static struct {
    u32 link, esp0, ss0;
    u32 unused[22];
    u16 trap, bitmap;
    u8 ports[0x100 / 8 + 1];
} __attribute__((packed)) task;

struct table_register gdt_register = {sizeof gdt - 1, (u32)gdt};
struct table_register idt_register = {sizeof idt - 1, (u32)idt};

enum { INTERRUPT_GATE = 0x8e00, TRAP_GATE = 0x8f00, FROM_RING_3 = 0x6000 };

static void set_gate(int vector, u32 entry, u32 type)
{
    idt[vector][0] = KERNEL_CODE << 16 | (entry & 0xffff);
    idt[vector][1] = (entry & 0xffff0000) | type;
}

static void load_tables(void)
{
    asm volatile("lgdt %0" : : "m"(gdt_register));
    asm volatile("lidt %0" : : "m"(idt_register));
    asm volatile("ljmp %0, $1f\n1:" : : "i"(KERNEL_CODE));
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs; mov %0, %%ss" : : "r"(KERNEL_DATA));
    asm volatile("lldt %w0" : : "r"(0));
    asm volatile("ltr %w0" : : "r"(TASK));
}

/* The 8259s: IRQ 0-15 become vectors 20h-2Fh, all masked but the cascade. */
enum { PIC1 = 0x20, PIC2 = 0xa0, ICW1_INIT_ICW4 = 0x11, ICW4_8086 = 1, OCW2_EOI = 0x20, OCW3_READ_ISR = 0x0b };

static void pic_init(void)
{
    out8(PIC1, ICW1_INIT_ICW4);
    out8(PIC2, ICW1_INIT_ICW4);
    out8(PIC1 + 1, FIRST_IRQ);
    out8(PIC2 + 1, FIRST_IRQ + 8);
    out8(PIC1 + 1, 1 << 2); /* the second one is on IRQ 2 */
    out8(PIC2 + 1, 2);
    out8(PIC1 + 1, ICW4_8086);
    out8(PIC2 + 1, ICW4_8086);
    out8(PIC1 + 1, 0xfb);
    out8(PIC2 + 1, 0xff);
}

static u16 mask_port(int irq)
{
    return irq < 8 ? PIC1 + 1 : PIC2 + 1;
}

void irq_unmask(int irq)
{
    out8(mask_port(irq), in8(mask_port(irq)) & (u8)~(1 << (irq & 7)));
}

void irq_mask(int irq)
{
    out8(mask_port(irq), in8(mask_port(irq)) | (u8)(1 << (irq & 7)));
}

int irq_acknowledge(int irq)
{
    u16 pic = irq < 8 ? PIC1 : PIC2;
    int real = 1;
    if ((irq & 7) == 7) { /* a request that went away again comes as the lowest */
        out8(pic, OCW3_READ_ISR);
        real = in8(pic) >> 7;
    }
    if (real)
        out8(pic, OCW2_EOI);
    if (irq >= 8)
        out8(PIC1, OCW2_EOI);
    return real;
}

void machine_init(void)
{
    u32 base = (u32)&task, limit = sizeof task - 1, gate = (u32)call_gate_entry;
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
    pic_init();
}

void set_kernel_stack(u32 top)
{
    task.esp0 = top;
}

enum { CR0_MP = 2, CR0_EM = 4, CR0_TS = 8, CR0_WP = 0x10000, CR0_PG = 0x80000000 };

void paging_on(u32 *directory)
{
    u32 cr0;
    use_page_directory(directory);
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    cr0 = (cr0 & ~(u32)(CR0_EM | CR0_TS)) | CR0_MP | CR0_WP | CR0_PG;
    asm volatile("mov %0, %%cr0; jmp 1f; 1:" : : "r"(cr0) : "memory");
}

/* Port F4h ends a run of Trapline, and of QEMU with isa-debug-exit there. Elsewhere nobody answers. */
void leave(u8 value)
{
    out32(0xf4, value);
}

/* By the keyboard controller's reset pulse, and if nothing comes of it by a triple fault. */
void reboot(void)
{
    struct table_register none = {0, 0};
    irq_off();
    for (u32 i = 0; i < 100000 && in8(0x64) & 2; i++)
        ;
    out8(0x64, 0xfe);
    for (u32 i = 0; i < 1000000; i++)
        in8(0x80);
    asm volatile("lidt %0; int3" : : "m"(none));
    stop();
}

void stop(void)
{
    for (;;)
        asm volatile("cli; hlt");
}
