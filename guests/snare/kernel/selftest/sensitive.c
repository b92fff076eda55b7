/*
 * The sensitive instructions in ring 0: those of which Robin and Irvine found that they tell a
 * deprivileged kernel of its monitor, and their privileged relatives. Each must show what this kernel
 * itself has set up.
 *
 * Source: [RI] J. Robin, C. Irvine, "Analysis of the Intel Pentium's Ability to Support a Secure
 * Virtual Machine Monitor", USENIX Security 2000, §3.
 */
#include "selftest.h"

enum { CR0_TS = 8, IOPL = 0x3000 };

static void descriptor_tables(void)
{
    struct table_register got = {0, 0};
    store_gdt(&got);
    check("SGDT stores what LGDT loaded", !memcmp(&got, &gdt_register, sizeof got), 1);
    store_idt(&got);
    check("SIDT stores what LIDT loaded", !memcmp(&got, &idt_register, sizeof got), 1);
    check("SLDT stores the null selector", store_ldt(), 0);
    check("STR stores the task's selector", store_task(), TASK);
}

static u32 machine_status(void)
{
    u32 value;
    asm volatile("smsw %0" : "=r"(value));
    return value & 0xffff;
}

static void control_registers(void)
{
    u32 cr0 = read_cr0();
    check("CR0 has PE, WP and PG set", (cr0 & 0x80010001) == 0x80010001, 1);
    check("SMSW is the low half of CR0", machine_status() == (cr0 & 0xffff), 1);
    check("CR3 reads as loaded", read_cr3() == (u32)kernel_directory, 1);
    write_cr2(0x12345000);
    check("CR2 keeps what is written", fault_address() == 0x12345000, 1);
    set_ts();
    check("MOV CR0 sets TS, SMSW shows it", machine_status() >> 3 & 1, 1);
    clear_ts();
    check("CLTS clears TS", machine_status() >> 3 & 1, 0);
    load_machine_status(machine_status() | CR0_TS);
    check("LMSW sets TS", read_cr0() >> 3 & 1, 1);
    clear_ts();
    check("DR0 keeps what is written", through_debug_register(0x5a5a5a5a) == 0x5a5a5a5a, 1);
}

static void flags(void)
{
    irq_off();
    check("PUSHF shows IF clear after CLI", flags_now() / FLAG_IF & 1, 0);
    irq_on();
    check("PUSHF shows IF set after STI", flags_now() / FLAG_IF & 1, 1);
    clear_flags();
    check("POPF clears IF", flags_now() / FLAG_IF & 1, 0);
    check("POPF sets IF", after_popf(FLAG_IF | 2) / FLAG_IF & 1, 1);
    check("POPF sets IOPL", after_popf(IOPL | 2) >> 12 & 3, 3);
    check("POPF clears IOPL", after_popf(2) >> 12 & 3, 0);
    check("IRET within ring 0 sets IF", iret_flags(FLAG_IF | 2) / FLAG_IF & 1, 1);
    irq_on();
    check("IRET within ring 0 clears IF", iret_flags(2) / FLAG_IF & 1, 0);
    irq_on();
}

static void segments(void)
{
    u32 value;
    u8 ok;
    check("LAR of the kernel's code: DPL 0", rights(KERNEL_CODE) >> 13 & 3, 0);
    check("LAR of the kernel's code: all rights", (rights(KERNEL_CODE) & 0xf0ff00) == 0xc09b00, 1);
    asm volatile("xor %0, %0; lsl %1, %0" : "=&r"(value) : "r"(KERNEL_CODE));
    check("LSL of the kernel's code is 4 GiB", value == 0xffffffff, 1);
    asm volatile("verr %w1; setz %0" : "=q"(ok) : "r"(KERNEL_DATA) : "cc");
    check("VERR: the kernel's data is readable", ok, 1);
    asm volatile("verw %w1; setz %0" : "=q"(ok) : "r"(KERNEL_DATA) : "cc");
    check("VERW: the kernel's data is writable", ok, 1);
    asm volatile("verw %w1; setz %0" : "=q"(ok) : "r"(KERNEL_CODE) : "cc");
    check("VERW: the kernel's code is not writable", ok, 0);
    asm volatile("xor %0, %0; mov %%cs, %w0" : "=&r"(value));
    check("MOV from CS", own(value), KERNEL_CODE);
    asm volatile("push %%cs; pop %0" : "=r"(value));
    check("PUSH CS", own(value & 0xffff), KERNEL_CODE);
    asm volatile("xor %0, %0; mov %%ss, %w0" : "=&r"(value));
    check("MOV from SS", own(value), KERNEL_DATA);
    check("MOV to SS with RPL 0", own(reload_ss()), KERNEL_DATA);
    check("POP SS with RPL 0", own(pop_ss()), KERNEL_DATA);
    asm volatile("mov %1, %%fs; push %%fs; pop %0" : "=r"(value) : "r"(KERNEL_DATA));
    check("PUSH FS", value & 0xffff, KERNEL_DATA);
}

static void transfers(void)
{
    check("JMP far within ring 0: CS", own(far_jump()), KERNEL_CODE);
    check("CALL far within ring 0 pushes CS", own(far_call()), KERNEL_CODE);
    check("RETF within ring 0: CS", own(far_return()), KERNEL_CODE);
    irq_on();
    memset(&test_frame, 0, sizeof test_frame);
    asm volatile("int %0" : : "i"(TEST_INTERRUPT) : "memory");
    check("INT n within ring 0 pushes CS", test_frame.cs & 0xffff, KERNEL_CODE);
    check("INT n pushes EFLAGS with IF", test_frame.eflags / FLAG_IF & 1, 1);
    check("an interrupt gate clears IF", test_flags / FLAG_IF & 1, 0);
    check("IRET from it sets IF again", flags_now() / FLAG_IF & 1, 1);
}

static void processor(void)
{
    u32 flags, a, b, c, d, high, first, second;
    asm volatile("pushf; pop %0; mov %0, %1; xor $0x200000, %1; push %1; popf; pushf; pop %1; push %0; popf"
                 : "=&r"(flags), "=&r"(a) : : "cc");
    check("EFLAGS.ID can be changed", (flags ^ a) >> 21 & 1, 1);
    asm volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1), "c"(0));
    check("CPUID tells of a time-stamp counter", d >> 4 & 1, 1);
    asm volatile("rdtsc" : "=a"(first), "=d"(high));
    spend(1);
    asm volatile("rdtsc" : "=a"(second), "=d"(high));
    check("RDTSC goes on", second != first, 1);
}

void test_sensitive(void)
{
    descriptor_tables();
    control_registers();
    flags();
    segments();
    transfers();
    processor();
}
