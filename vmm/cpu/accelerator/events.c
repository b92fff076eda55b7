/* Exceptions, software interrupts, intercepts: delivered by QEMU, or told to Python, which decides. */
#include "accelerator.h"

/* The linear address of CS:EIP + offset. */
uint64_t linear_ip(struct accel *a, int64_t offset)
{
    uint64_t at = AT(uint64_t, a->h.env, ENV_EIP) + offset;
    if (AT(uint32_t, a->h.env, ENV_HFLAGS) & HF_CS64)
        return at;
    return (uint32_t)(at + AT(uint64_t, a->h.env, ENV_SEGS + 24 + 8));
}

/* The instruction that raised a software interrupt starts this many bytes before EIP. */
static unsigned software_int_length(struct accel *a)
{
    int vector = AT(int32_t, a->h.cpu, CPU_EXCEPTION_INDEX);
    uint8_t last = 0;
    if (vector != 3 && vector != 4)
        return 2;
    a->h.read_linear(a->h.cpu, linear_ip(a, -1), &last, 1, false);
    return last == (vector == 3 ? 0xcc : 0xce) ? 1 : 2; /* INT3, INTO; or CDh with the vector */
}

uint64_t event_of(int vector, int type) { return 1u << 31 | type << 8 | vector; }

/* Note what QEMU is about to deliver, in case its delivery ends in an exit. */
void note_event(struct accel *a)
{
    int vector = a->delivering;
    a->event = event_of(vector, a->external ? EVENT_EXCEPTION : EVENT_SOFTWARE);
    if (!a->external) {
        a->event_rip = AT(uint64_t, a->h.env, ENV_EIP);
        a->event_next = AT(uint64_t, a->h.env, ENV_EXCEPTION_NEXT_EIP);
    } else if ((AT(uint64_t, a->h.env, ENV_CR0) & 1) && (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)) {
        a->event |= EVENT_HAS_ERROR | (uint64_t)AT(uint32_t, a->h.env, ENV_ERROR_CODE) << 32;
    }
}

/* QEMU promotes a fault met while one of these is delivered: [SDM3] table 6-5. */
static bool escalates(int vector) { return vector == 0 || vector == 8 || (vector >= 10 && vector <= 14); }

void deliver(struct accel *a)
{
    if (a->s.inject_vector >= 0) {
        AT(int32_t, a->h.cpu, CPU_EXCEPTION_INDEX) = (int32_t)a->s.inject_vector;
        AT(uint32_t, a->h.env, ENV_ERROR_CODE) = (uint32_t)a->s.inject_error;
        AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT) = 0;
        AT(int32_t, a->h.env, ENV_OLD_EXCEPTION) = escalates(a->s.inject_vector) ? a->s.inject_vector : -1;
        a->s.inject_vector = -1;
        remember(a, KIND_EXCEPTION, AT(uint32_t, a->h.cpu, CPU_EXCEPTION_INDEX), a->s.inject_error);
    } else if (AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT)) {
        /* Unicorn has moved EIP on; a fault met by the delivery must be reported at the instruction */
        AT(uint64_t, a->h.env, ENV_EIP) -= software_int_length(a);
    }
    a->delivering = AT(int32_t, a->h.cpu, CPU_EXCEPTION_INDEX);
    a->external = !AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT);
    note_event(a);
    a->h.do_interrupt(a->h.cpu); /* may longjmp: a nested fault */
    a->delivering = -1;
    AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT) = 0; /* QEMU leaves it set after INT3 */
}

enum { CODE_BYTES = 15 };

/* Copy the block that waits; it ends at most one instruction into the next page. */
static long read_block(struct accel *a, char *code, long room)
{
    long size = a->s.block_bytes < room ? a->s.block_bytes : room;
    long first = read_code(a, a->s.block, code, size);
    return first && first < size ? first + read_code(a, a->s.block + first, code + first, size - first) : first;
}

/* Ask the event router what to do about a vector. It sees the instruction where that may decide: none is behind INT. */
uint64_t call_event(struct accel *a, uint32_t vector)
{
    char code[0x1000 + CODE_BYTES];
    if (a->s.failed)
        return ACTION_RESUME;
    long length = 0;
    if (vector == EVENT_BLOCK)
        length = read_block(a, code, sizeof code);
    else if (vector >= 0x100 || ((vector == 6 || vector == 13) && !AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT)))
        length = read_code(a, linear_ip(a, 0), code, CODE_BYTES);
    PyObject *args[2] = {PyLong_FromUnsignedLongLong(vector), PyBytes_FromStringAndSize(code, length)};
    PyObject *r = PyObject_Vectorcall(a->h.on_event, args, 2, NULL);
    Py_DecRef(args[0]);
    Py_DecRef(args[1]);
    return taken(a, r, ACTION_RESUME);
}

enum { SHUTDOWN = 0x17f }; /* the SVM exit that QEMU raises in guest mode for a triple fault */

/*
 * The error code of a fault met by a delivery: QEMU leaves EXT out, [SDM3] §6.13, and in long mode
 * names an IDT entry by its byte offset.
 */
static void correct_nested_error(struct accel *a, uint32_t vector)
{
    uint32_t *error = &AT(uint32_t, a->h.env, ENV_ERROR_CODE);
    int delivered = a->delivering;
    a->delivering = -1;
    if (delivered < 0 || vector < 10 || vector > 13)
        return;
    if ((AT(uint32_t, a->h.env, ENV_HFLAGS) & HF_LMA) && *error == (uint32_t)delivered * 16 + 2)
        *error = delivered * 8 + 2;
    *error |= a->external;
}

/* #UD, or at INT1 (F1h), which QEMU's translator does not know, the trap #DB behind it: [SDM2A] INT n. */
static uint32_t int1_or_ud(struct accel *a)
{
    uint8_t opcode = 0;
    a->h.read_linear(a->h.cpu, linear_ip(a, 0), &opcode, 1, false);
    if (opcode != 0xf1)
        return 6;
    AT(uint64_t, a->h.env, ENV_EIP)++;
    AT(int32_t, a->h.cpu, CPU_EXCEPTION_INDEX) = 1;
    return 1;
}

void deliver_external(struct accel *a, int vector)
{
    a->delivering = vector;
    a->external = 1;
    a->event = event_of(vector, vector == 2 ? EVENT_OF_NMI : EVENT_EXTERNAL);
    a->h.hardirq(a->h.env, vector, 1);
    a->delivering = -1;
}

/* Let Python decide about a vector, and do what it says. */
static void tell_of_exception(struct accel *a, uint32_t vector)
{
    if (vector >= 0x100) { /* QEMU's cpu_vmexit leaves these stale; both corrupt the next event */
        AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT) = 0;
        AT(int32_t, a->h.env, ENV_OLD_EXCEPTION) = -1;
    }
    if (call_event(a, vector) == ACTION_DELIVER) { /* this vector, or the one Python put in inject_vector */
        deliver(a);
    } else {
        AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT) = 0;
        AT(int32_t, a->h.env, ENV_OLD_EXCEPTION) = -1;
        a->task = AT(uint32_t, a->h.env, ENV_TR); /* LTR may have been emulated */
        enter_guest(a);
    }
}

void on_exception(void *uc, uint32_t vector, void *opaque)
{
    struct accel *a = opaque;
    a->task = AT(uint32_t, a->h.env, ENV_TR);
    if (a->s.assisted)
        leave_guest(a, vector);
    correct_nested_error(a, vector);
    if (vector == 6)
        vector = int1_or_ud(a);
    int software = AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT);
    int kind = vector >= 0x100 ? KIND_INTERCEPT : software ? KIND_SOFTWARE_INT : KIND_EXCEPTION;
    remember(a, kind, vector, AT(uint32_t, a->h.env, ENV_ERROR_CODE));
    spend(a, EVENT_NS);
    if (impatient(a))
        stop(a);
    bool routed = vector >= 0x100 || (a->s.route[vector >> 6] >> (vector & 63) & 1);
    if (a->s.monitored && routed && vector != SHUTDOWN) { /* the technique counts and reports */
        tell_of_exception(a, vector);
        return;
    }
    int64_t began = host_ns();
    if (a->trace && !a->s.assisted) /* before anything is done: CS:EIP is still where it happened */
        CALL(a, a->trace, 0, kind, vector, AT(uint32_t, a->h.env, ENV_ERROR_CODE), 0, 0);
    struct count unnamed = {0}, *c = &unnamed;
    if (vector >= 0x100)
        c = &a->s.intercepts[(vector - 0x100) % 0x500];
    else if (!software)
        c = &a->s.exceptions[vector & 31];
    a->s.kinds[kind].count++;
    c->count++;
    if (!routed) {
        deliver(a);
        uint64_t took = host_ns() - began;
        a->s.kinds[kind].host_ns += took;
        c->host_ns += took;
        return;
    }
    if (vector == SHUTDOWN) {
        a->s.triple_fault = 1;
        stop(a);
        return;
    }
    tell_of_exception(a, vector);
    uint64_t took = host_ns() - began;
    a->s.kinds[kind].host_ns += took;
    c->host_ns += took;
}
