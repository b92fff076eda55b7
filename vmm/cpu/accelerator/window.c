/* The interrupt window: what is delivered between two instructions. */
#include "accelerator.h"

/*
 * The window under hardware assistance: an interrupt is an exit when it comes, whatever IF says, and
 * another when the guest can take it, if that was asked for. The technique injects it by EVENTINJ.
 */
static bool assisted_window(struct accel *a, int request, bool shadow)
{
    uint32_t hflags2 = AT(uint32_t, a->h.env, ENV_HFLAGS2);
    if ((request & INTERRUPT_NMI) && !shadow && !(hflags2 & HF2_NMI_BLOCKED)) {
        AT(uint32_t, a->h.cpu, CPU_INTERRUPT_REQUEST) &= ~INTERRUPT_NMI;
        call_event(a, EVENT_NMI);
    } else if (a->s.interrupt_line && !a->s.interrupt_told) {
        a->s.interrupt_told = 1;
        call_event(a, EVENT_INTERRUPT);
    } else if (a->s.interrupt_line && a->s.window_wanted && !shadow && (hflags2 & HF2_GIF) &&
               (AT(uint64_t, a->h.env, ENV_EFLAGS) & EFLAGS_IF)) {
        a->s.window_wanted = 0;
        call_event(a, EVENT_WINDOW);
    } else {
        return false;
    }
    enter_guest(a);
    return true;
}

/*
 * The window under a technique: what would be delivered is told of instead, and the technique decides.
 * ACTION_DELIVER has an interrupt or NMI delivered as if nobody stood between.
 */
static bool monitored_window(struct accel *a, int request, bool shadow)
{
    void *env = a->h.env;
    if (a->s.block_waits) {
        a->s.block_waits = 0;
        call_event(a, EVENT_BLOCK);
        return true;
    }
    if (shadow)
        return false;
    if ((request & INTERRUPT_NMI) && !(AT(uint32_t, env, ENV_HFLAGS2) & HF2_NMI_BLOCKED)) {
        AT(uint32_t, a->h.cpu, CPU_INTERRUPT_REQUEST) &= ~INTERRUPT_NMI;
        AT(uint32_t, env, ENV_HFLAGS2) |= HF2_NMI_BLOCKED;
        remember(a, KIND_NMI, 2, 0);
        if (call_event(a, EVENT_NMI) == ACTION_DELIVER)
            deliver_external(a, 2);
        return true;
    }
    uint32_t flags = a->s.virtual_flags ? *a->s.virtual_flags : AT(uint32_t, env, ENV_EFLAGS);
    if (a->s.interrupt_line && (flags & EFLAGS_IF)) {
        if (call_event(a, EVENT_INTERRUPT) == ACTION_DELIVER) {
            uint64_t vector = call(a, a->h.acknowledge, 0, NULL, 0x100);
            if (vector <= 0xff)
                deliver_external(a, (int)vector);
        }
        return true;
    }
    return false;
}

/* An exception queued by Python goes to whom it would go, had the processor raised it. */
static void raise_injected(struct accel *a)
{
    uint32_t vector = (uint32_t)a->s.inject_vector;
    if (!a->s.monitored || !(a->s.route[vector >> 6 & 3] >> (vector & 63) & 1)) {
        deliver(a);
        return;
    }
    AT(uint32_t, a->h.env, ENV_ERROR_CODE) = (uint32_t)a->s.inject_error;
    a->s.inject_vector = -1;
    call_event(a, vector);
}

/* CPUClass.cpu_exec_interrupt: the interrupt window, exactly where the hardware has it. */
bool on_interrupt_window(void *cpu, int request)
{
    struct accel *a = engine_of(cpu);
    void *env = a->h.env;
    uint32_t *pending = &AT(uint32_t, cpu, CPU_INTERRUPT_REQUEST);
    a->task = AT(uint32_t, env, ENV_TR);
    if (a->s.inject_vector >= 0) {
        raise_injected(a);
        return true;
    }
    if (enter_guest(a))
        return true;
    if (__atomic_load_n(&a->s.stopping, __ATOMIC_SEQ_CST)) {
        a->h.emu_stop(a->h.uc);
        return false;
    }
    bool shadow = AT(uint32_t, env, ENV_HFLAGS) & HF_INHIBIT_IRQ; /* of STI and of loads of SS */
    if (a->s.monitored)
        return monitored_window(a, request, shadow);
    if (a->s.assisted)
        return assisted_window(a, request, shadow);
    if ((request & INTERRUPT_NMI) && !shadow && !(AT(uint32_t, env, ENV_HFLAGS2) & HF2_NMI_BLOCKED)) {
        int64_t began = host_ns();
        *pending &= ~INTERRUPT_NMI;
        AT(uint32_t, env, ENV_HFLAGS2) |= HF2_NMI_BLOCKED;
        remember(a, KIND_NMI, 2, 0);
        account(a, KIND_NMI, 2, 0, 0, began);
        deliver_external(a, 2);
        return true;
    }
    if (a->s.interrupt_line && (AT(uint32_t, env, ENV_HFLAGS2) & HF2_GIF) &&
        (AT(uint64_t, env, ENV_EFLAGS) & EFLAGS_IF) && !shadow) {
        int64_t began = host_ns();
        uint64_t vector = call(a, a->h.acknowledge, 0, NULL, 0x100);
        if (vector > 0xff)
            return false;
        remember(a, KIND_INTERRUPT, vector, 0);
        account(a, KIND_INTERRUPT, vector, 0, 0, began);
        deliver_external(a, (int)vector);
        return true;
    }
    return false;
}
