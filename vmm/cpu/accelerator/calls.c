/* Calls of Python. */
#include "accelerator.h"

static void keep_error(struct accel *a)
{
    if (!a->s.failed) {
        a->s.failed = 1;
        PyErr_Fetch(&a->error[0], &a->error[1], &a->error[2]);
    } else {
        PyObject *e[3];
        PyErr_Fetch(&e[0], &e[1], &e[2]);
        for (int i = 0; i < 3; i++)
            Py_DecRef(e[i]);
    }
    stop(a);
}

/* Take the result of a call: an action, a value, a vector; `otherwise` for None or after an exception. */
uint64_t taken(struct accel *a, PyObject *r, uint64_t otherwise)
{
    uint64_t result = otherwise;
    if (!r) {
        keep_error(a);
        return otherwise;
    }
    if (r != &_Py_NoneStruct)
        result = PyLong_AsUnsignedLongLongMask(r);
    Py_DecRef(r);
    if (result == (uint64_t)-1 && PyErr_Occurred())
        keep_error(a);
    return result;
}

uint64_t call(struct accel *a, PyObject *f, int n, const uint64_t *values, uint64_t otherwise)
{
    PyObject *args[6] = {0};
    if (a->s.failed || !f)
        return otherwise;
    for (int i = 0; i < n; i++)
        args[i] = PyLong_FromUnsignedLongLong(values[i]);
    PyObject *r = PyObject_Vectorcall(f, args, n, NULL);
    for (int i = 0; i < n; i++)
        Py_DecRef(args[i]);
    return taken(a, r, otherwise);
}

/* ---- accounting: one line of the exit table, one record of the ring, one event of the trace */

void remember(struct accel *a, int kind, uint64_t x, uint64_t y)
{
    if (!a->s.ring)
        return;
    struct record *r = &a->s.ring[a->s.ring_next & a->s.ring_mask];
    r->time_ns = machine_ns(a);
    r->ip = AT(uint64_t, a->h.env, ENV_EIP);
    r->cs = AT(uint32_t, a->h.env, ENV_SEGS + 24);
    r->cpl = AT(uint32_t, a->h.env, ENV_HFLAGS) & 3;
    r->kind = kind;
    r->a = x;
    r->b = y;
    r->sequence = ++a->s.ring_next;
}

void spend(struct accel *a, uint64_t ns)
{
    if (!a->s.virtual_clock)
        return;
    a->s.virtual_ns += ns;
    if (a->s.virtual_ns >= a->s.virtual_deadline)
        stop(a);
}

void account(struct accel *a, int kind, uint64_t x, uint64_t y, uint64_t z, int64_t began)
{
    uint64_t took = host_ns() - began;
    if (kind <= KIND_MMIO_WRITE)
        spend(a, kind <= KIND_OUT ? PORT_CYCLE_NS : MMIO_CYCLE_NS);
    a->s.kinds[kind].count++;
    a->s.kinds[kind].host_ns += took;
    if (a->trace)
        CALL(a, a->trace, 0, kind, x, y, z, took);
}
