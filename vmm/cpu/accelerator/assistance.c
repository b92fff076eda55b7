/* Hardware assistance: what the processor does about events at a #VMEXIT and at VMRUN. */
#include "accelerator.h"

/*
 * #VMEXIT: what was being delivered goes to EXITINTINFO. QEMU notes it in EVENTINJ, an interrupt as an exception.
 * Of a software interrupt that is cut off it leaves `exception_is_int` set, and Unicorn takes the exit itself for
 * one and moves EIP on: put it back to the instruction.
 */
void leave_guest(struct accel *a, uint32_t vector)
{
    bool cut_off = a->delivering >= 0 && vector >= 0x100;
    if (cut_off && !a->external && AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT))
        AT(uint64_t, a->h.env, ENV_EIP) = a->event_rip;
    AT(uint64_t, a->s.vmcb, VMCB_EXITINTINFO) = cut_off ? a->event : 0;
    AT(uint64_t, a->s.vmcb, VMCB_EVENTINJ) = 0;
}

/* Deliver a software interrupt: the one whose delivery an exit cut off, or one that returns to EIP. */
static void deliver_software(struct accel *a, int vector)
{
    uint64_t rip = AT(uint64_t, a->h.env, ENV_EIP);
    AT(int32_t, a->h.cpu, CPU_EXCEPTION_INDEX) = vector;
    AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT) = 1;
    AT(uint64_t, a->h.env, ENV_EXCEPTION_NEXT_EIP) = rip == a->event_rip ? a->event_next : rip;
    a->delivering = vector;
    a->external = 0;
    note_event(a);
    a->h.do_interrupt(a->h.cpu);
    a->delivering = -1;
    a->event_rip = -1;
    AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT) = 0;
}

/* VMRUN: carry out EVENTINJ, whatever IF and the shadow say. False: there was nothing. */
bool enter_guest(struct accel *a)
{
    uint64_t event = a->s.assisted ? AT(uint64_t, a->s.vmcb, VMCB_EVENTINJ) : 0;
    int vector = event & 0xff, type = event >> 8 & 7;
    if (!(event & 1u << 31))
        return false;
    AT(uint64_t, a->s.vmcb, VMCB_EVENTINJ) = 0;
    AT(uint32_t, a->h.env, ENV_HFLAGS) &= ~HF_INHIBIT_IRQ;
    if (type == EVENT_EXTERNAL || type == EVENT_OF_NMI) {
        a->s.interrupt_told = 0;
        if (type == EVENT_OF_NMI)
            AT(uint32_t, a->h.env, ENV_HFLAGS2) |= HF2_NMI_BLOCKED;
        remember(a, type ? KIND_NMI : KIND_INTERRUPT, vector, 0);
        deliver_external(a, type ? 2 : vector);
    } else if (type == EVENT_SOFTWARE) {
        deliver_software(a, vector);
    } else {
        a->s.inject_vector = vector;
        a->s.inject_error = event >> 32;
        deliver(a);
    }
    return true;
}
