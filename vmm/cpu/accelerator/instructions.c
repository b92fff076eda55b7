/* SYSCALL, SYSENTER, RDTSC, CPUID. */
#include "accelerator.h"

enum {
    D_G = 1 << 23, D_B = 1 << 22, D_L = 1 << 21, D_P = 1 << 15, D_S = 1 << 12,
    D_CODE = 1 << 11, D_WRITABLE = 1 << 9, D_ACCESSED = 1 << 8,
};
enum { CS = 1, SS = 2 };

static void flat_segment(void *env, int index, uint32_t selector, uint32_t flags)
{
    char *s = (char *)env + ENV_SEGS + 24 * index;
    AT(uint32_t, s, 0) = selector;
    AT(uint64_t, s, 8) = 0;
    AT(uint32_t, s, 16) = 0xffffffff;
    AT(uint32_t, s, 20) = flags;
}

/* Enter ring 0 through flat segments: [SDM2B] SYSCALL, SYSENTER. */
static void enter_ring0(void *env, uint32_t selector, bool long_mode)
{
    uint32_t *hflags = &AT(uint32_t, env, ENV_HFLAGS);
    flat_segment(env, CS, selector & 0xfffc, D_G | (long_mode ? D_L : D_B) | D_P | D_S | D_CODE | D_WRITABLE | D_ACCESSED);
    flat_segment(env, SS, (selector & 0xfffc) + 8, D_G | D_B | D_P | D_S | D_WRITABLE | D_ACCESSED);
    *hflags &= ~(3u | HF_VM | HF_ADDSEG | HF_CS64);
    *hflags |= HF_CS32 | HF_SS32 | (long_mode ? HF_CS64 : 0);
    if (!long_mode) /* recomputed as QEMU does: bases of DS, ES, SS that are not 0 need ADDSEG */
        for (int i = 0; i < 4; i++)
            if (i != CS && AT(uint64_t, env, ENV_SEGS + 24 * i + 8))
                *hflags |= HF_ADDSEG;
}

/* The length of the SYSCALL or SYSENTER at EIP, its prefixes counted: Unicorn adds it to EIP after the hook. */
static unsigned entry_length(struct accel *a)
{
    uint8_t code[14] = {0x0f};
    unsigned prefixes = 0;
    a->h.read_linear(a->h.cpu, linear_ip(a, 0), code, sizeof code, false);
    while (prefixes < sizeof code - 1 && code[prefixes] != 0x0f)
        prefixes++;
    return prefixes + 2;
}

static void fault(struct accel *a, int vector, unsigned length)
{
    AT(uint64_t, a->h.env, ENV_EIP) -= length;
    inject(a, vector, 0);
}

/* Let a technique enter the kernel. It sees EIP at the instruction, and leaves it where the guest goes on. */
static void tell_of_entry(struct accel *a, uint32_t event, unsigned length)
{
    call_event(a, event);
    AT(uint64_t, a->h.env, ENV_EIP) -= length;
}

void on_syscall(void *uc, void *opaque)
{
    struct accel *a = opaque;
    void *env = a->h.env;
    int64_t began = host_ns();
    unsigned length = entry_length(a);
    if (a->s.monitored) {
        tell_of_entry(a, EVENT_SYSCALL, length);
        return;
    }
    if (!(AT(uint64_t, env, ENV_EFER) & 1)) {
        fault(a, 6, length);
        return;
    }
    uint64_t next = AT(uint64_t, env, ENV_EIP) + length, flags = a->h.read_eflags(env);
    uint32_t selector = AT(uint64_t, env, ENV_STAR) >> 32 & 0xffff;
    bool long_mode = AT(uint32_t, env, ENV_HFLAGS) & HF_LMA, from64 = AT(uint32_t, env, ENV_HFLAGS) & HF_CS64;
    remember(a, KIND_SYSCALL, AT(uint64_t, env, ENV_REGS), next);
    account(a, KIND_SYSCALL, AT(uint64_t, env, ENV_REGS), 0, 0, began);
    AT(uint64_t, env, ENV_REGS + 8) = long_mode ? next : (uint32_t)next; /* RCX */
    if (long_mode) {
        AT(uint64_t, env, ENV_REGS + 8 * 11) = flags; /* R11 */
        a->h.write_eflags(env, flags & ~AT(uint64_t, env, ENV_FMASK) & ~(1ull << 16), 0x3f7fd5);
        enter_ring0(env, selector, true);
        AT(uint64_t, env, ENV_EIP) = (from64 ? AT(uint64_t, env, ENV_LSTAR) : AT(uint64_t, env, ENV_CSTAR)) - length;
    } else {
        a->h.write_eflags(env, flags & ~(uint64_t)(0x20000 | 0x200 | 0x10000), 0x3f7fd5);
        enter_ring0(env, selector, false);
        AT(uint64_t, env, ENV_EIP) = (uint32_t)AT(uint64_t, env, ENV_STAR) - length;
    }
}

void on_sysenter(void *uc, void *opaque)
{
    struct accel *a = opaque;
    void *env = a->h.env;
    int64_t began = host_ns();
    uint32_t selector = AT(uint32_t, env, ENV_SYSENTER_CS);
    bool long_mode = AT(uint32_t, env, ENV_HFLAGS) & HF_LMA;
    unsigned length = entry_length(a);
    if (a->s.monitored) {
        tell_of_entry(a, EVENT_SYSENTER, length);
        return;
    }
    if (!(selector & 0xfffc)) {
        fault(a, 13, length);
        return;
    }
    remember(a, KIND_SYSENTER, AT(uint64_t, env, ENV_REGS), 0);
    account(a, KIND_SYSENTER, AT(uint64_t, env, ENV_REGS), 0, 0, began);
    AT(uint64_t, env, ENV_EFLAGS) &= ~(uint64_t)(0x20000 | 0x200 | 0x10000);
    enter_ring0(env, selector, long_mode);
    AT(uint64_t, env, ENV_REGS + 8 * 4) = AT(uint64_t, env, ENV_SYSENTER_ESP);
    AT(uint64_t, env, ENV_EIP) = AT(uint64_t, env, ENV_SYSENTER_EIP) - length;
}

int on_rdtsc(void *uc, void *opaque)
{
    struct accel *a = opaque;
    uint64_t tsc = machine_ns(a) + a->s.tsc_offset; /* 1 GHz */
    AT(uint64_t, a->h.env, ENV_REGS) = (uint32_t)tsc;
    AT(uint64_t, a->h.env, ENV_REGS + 16) = tsc >> 32;
    account(a, KIND_RDTSC, tsc, 0, 0, host_ns());
    return 1; /* skip QEMU's own */
}

int on_cpuid(void *uc, void *opaque)
{
    struct accel *a = opaque;
    int64_t began = host_ns();
    uint64_t leaf = (uint32_t)AT(uint64_t, a->h.env, ENV_REGS), subleaf = (uint32_t)AT(uint64_t, a->h.env, ENV_REGS + 8);
    remember(a, KIND_CPUID, leaf, subleaf);
    CALL(a, a->h.on_cpuid, 0, leaf, subleaf);
    account(a, KIND_CPUID, leaf, subleaf, 0, began);
    return 1;
}
