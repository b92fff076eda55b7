/*
 * What ring 3 sees: the part of the self-test that runs as a program. Each element is reported to the
 * kernel, which knows what is right (ring3.h).
 */
#include "snare.h"

#include "ring3.h"

#define KERNEL 0x00100000
#define NOWHERE 0x48000000
#define WANTED_TICKS 3
#define PATIENCE (1193 * 500) /* counts of the timer: half a second */
#define ROUNDS 200000

static u32 vector, error, address;
static volatile u32 fresh[2048], from_file[2] = {0xfeedf00d, 1};

static void report(u32 index, u32 value)
{
    system_call(REPORT, index, value);
}

/*
 * Do `code`; the kernel comes back to 1: with what it raised, or it goes on with vector = -1. ESI keeps
 * the stack, should the fault have left something on it.
 */
#define TRY(code)                                                                                                     \
    asm volatile("mov %%esp, %%esi; mov $1f, %%ebx; mov %3, %%eax; int $0x80; mov $0x23, %%eax\n" code                \
                 "\n mov $-1, %%eax\n 1: mov %%esi, %%esp"                                                            \
                 : "=a"(vector), "=d"(error), "=c"(address)                                                           \
                 : "i"(CATCH)                                                                                         \
                 : "ebx", "esi", "edi", "memory", "cc")

/* The same, and report the vector. */
#define REFUSED(index, code)                                                                                          \
    do {                                                                                                              \
        TRY(code);                                                                                                    \
        report(index, vector);                                                                                        \
    } while (0)

static void registers(void)
{
    u32 value, other;
    struct {
        unsigned short limit;
        u32 base;
    } __attribute__((packed)) table = {0, 0};
    asm volatile("xor %0, %0; mov %%cs, %w0" : "=&r"(value));
    report(CS_, value);
    asm volatile("xor %0, %0; mov %%ss, %w0" : "=&r"(value));
    report(SS_, value);
    asm volatile("push %%cs; pop %0" : "=r"(value));
    report(PUSH_CS, value & 0xffff);
    asm volatile("pushf; pop %0" : "=r"(value));
    report(FLAGS_IF, value >> 9 & 1);
    asm volatile("push $2; popf; pushf; pop %0" : "=r"(value) : : "cc");
    report(POPF_IF, value >> 9 & 1);
    asm volatile("push $0x3202; popf; pushf; pop %0" : "=r"(value) : : "cc");
    report(POPF_IOPL, value >> 12 & 3);
    asm volatile("sgdt %0" : "=m"(table));
    report(SGDT_, table.limit);
    asm volatile("smsw %0" : "=r"(value));
    report(SMSW_, value & 1);
    asm volatile("str %0" : "=r"(value));
    report(STR_, value & 0xffff);
    asm volatile("call $0x1b, $1f; jmp 2f; 1: mov 4(%%esp), %0; lret; 2:" : "=&r"(value) : : "memory");
    report(FAR_CALL, value & 0xffff);
    asm volatile("xor %%eax, %%eax; lcall $0x38, $0" : "=a"(value) : : "memory");
    report(GATE, value);
    asm volatile("cpuid" : "=a"(value), "=c"(other) : "a"(0), "c"(0) : "ebx", "edx");
    report(CPUID_, value >= 1);
}

static void segments(void)
{
    u8 ok;
    u32 value;
    asm volatile("lar %2, %1; setz %0" : "=q"(ok), "=r"(value) : "r"(0x10) : "cc");
    report(LAR_KERNEL, ok);
    asm volatile("lsl %2, %1; setz %0" : "=q"(ok), "=r"(value) : "r"(0x10) : "cc");
    report(LSL_KERNEL, ok);
    asm volatile("verr %w1; setz %0" : "=q"(ok) : "r"(0x10) : "cc");
    report(VERR_KERNEL, ok);
    asm volatile("verw %w1; setz %0" : "=q"(ok) : "r"(0x10) : "cc");
    report(VERW_KERNEL, ok);
    asm volatile("lar %1, %0" : "=r"(value) : "r"(0x23) : "cc");
    report(LAR_OWN, value >> 13 & 3);
}

static void memory_and_calls(void)
{
    u32 sum = 0;
    char start[4];
    for (u32 i = 0; i < 2048; i++)
        sum |= fresh[i];
    report(ZEROS, sum);
    report(FROM_FILE, from_file[0] == 0xfeedf00d);
    report(BAD_POINTER, system_call(WRITE, KERNEL, 1) == -1);
    report(BAD_CALL, system_call(999) == -1);
    report(LOAD_, system_call(LOAD, "ring3", start, 4) > 4 && start[0] == 'S' && start[1] == 'N' && start[2] == 'X');
}

static void refused(void)
{
    TRY("out %%al, $0x80");
    report(OUT_ALLOWED, vector == ~0u);
    REFUSED(CLI_, "cli");
    REFUSED(STI_, "sti");
    REFUSED(HLT_, "hlt");
    REFUSED(IN_, "in $0x21, %%al");
    REFUSED(OUT_, "out %%al, $0x21");
    REFUSED(LGDT_, "lgdt (%%esp)");
    REFUSED(LIDT_, "lidt (%%esp)");
    REFUSED(LLDT_, "lldt %%ax");
    REFUSED(LTR_, "ltr %%ax");
    REFUSED(LMSW_, "lmsw %%ax");
    REFUSED(CLTS_, "clts");
    REFUSED(INVLPG_, "invlpg (%%esp)");
    REFUSED(READ_CR0, "mov %%cr0, %%eax");
    REFUSED(WRITE_CR3, "mov %%eax, %%cr3");
    REFUSED(READ_DR0, "mov %%dr0, %%eax");
    REFUSED(READ_MSR, "mov $0x10, %%ecx; rdmsr");
    REFUSED(INT_IRQ, "int $0x20");
    report(INT_IRQ_ERROR, error);
    REFUSED(LOAD_SS, "mov $0x10, %%eax; mov %%ax, %%ss");
    report(LOAD_SS_ERROR, error);
    REFUSED(LOAD_DS, "mov $0x10, %%eax; mov %%ax, %%ds");
    REFUSED(JMP_KERNEL, "ljmp $0x08, $0x100000");
    report(JMP_ERROR, error);
    REFUSED(RETF_KERNEL, "push $0x08; push $0x100000; lret");
    REFUSED(IRET_KERNEL, "push $2; push $0x08; push $0x100000; iret");
    REFUSED(READ_KERNEL, "mov 0x100000, %%eax");
    report(READ_ERROR, error);
    report(READ_CR2, address == KERNEL);
    TRY("mov %%eax, 0x100000");
    report(WRITE_ERROR, vector == 14 ? error : ~0u);
    TRY("mov %%eax, 0x48000000");
    report(ABSENT_ERROR, vector == 14 && address == NOWHERE ? error : ~0u);
    REFUSED(DIVIDE_, "xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx");
    system_call(CATCH, 0);
}

/* Spin in ring 3, looking now and then how many interrupts have come here, and at the time. */
static void wait_for_ticks(void)
{
    u32 first = (u32)system_call(TICKS, 1), gone = 0, last = (u32)system_call(TICKS, 2), come = 0;
    for (u32 round = 0; round < ROUNDS && gone < PATIENCE && come < WANTED_TICKS; round++) {
        for (volatile u32 i = 0; i < 2000; i++)
            ;
        u32 now = (u32)system_call(TICKS, 2);
        gone += now <= last ? last - now : 0;
        last = now;
        come = (u32)system_call(TICKS, 1) - first;
    }
    report(TICKS_COME, come >= WANTED_TICKS);
}

int main(void)
{
    registers();
    segments();
    memory_and_calls();
    refused();
    wait_for_ticks();
    return 0;
}
