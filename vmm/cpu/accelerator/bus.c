/* Ports and MMIO. */
#include "accelerator.h"

static const uint32_t open_bus[5] = {0, 0xff, 0xffff, 0, 0xffffffff};

/* Unicorn's translator leaves this check out. It leaves by longjmp, at the instruction. */
static void check_io(struct accel *a, uint32_t port, int size)
{
    uint64_t flags = AT(uint64_t, a->h.env, ENV_EFLAGS);
    if (a->s.monitored && !a->s.ports_closed && (AT(uint32_t, a->h.env, ENV_HFLAGS) & 3) == 1)
        return; /* a guest's kernel, for whom this is ring 0 */
    if ((AT(uint32_t, a->h.env, ENV_HFLAGS) & 3) > (flags >> 12 & 3) || (flags & EFLAGS_VM))
        a->h.check_io[size >> 1](a->h.env, port);
}

uint32_t on_in(void *uc, uint32_t port, int size, void *opaque)
{
    struct accel *a = opaque;
    check_io(a, port, size);
    struct port *p = &a->ports[port & 0xffff];
    uint32_t value = open_bus[size];
    int64_t began = host_ns();
    if (p->read)
        value &= p->bulk & 1 ? CALL(a, a->h.bulk_in, value, port, size) : CALL(a, p->read, value, p->offset, size);
    remember(a, KIND_IN, port, value);
    account(a, KIND_IN, port, size, value, began);
    return value;
}

void on_out(void *uc, uint32_t port, int size, uint32_t value, void *opaque)
{
    struct accel *a = opaque;
    check_io(a, port, size);
    struct port *p = &a->ports[port & 0xffff];
    int64_t began = host_ns();
    value &= open_bus[size];
    remember(a, KIND_OUT, port, value);
    if (p->write) {
        if (p->bulk & 2)
            CALL(a, a->h.bulk_out, 0, port, size, value);
        else
            CALL(a, p->write, 0, p->offset, size, value);
    }
    account(a, KIND_OUT, port, size, value, began);
}

uint64_t on_mmio_read(void *uc, uint64_t offset, unsigned size, void *opaque)
{
    struct mmio *m = opaque;
    uint64_t value = size >= 8 ? ~0ull : (1ull << 8 * size) - 1;
    int64_t began = host_ns();
    if (m->read)
        value &= CALL(m->accel, m->read, value, offset, size);
    remember(m->accel, KIND_MMIO_READ, m->base + offset, value);
    account(m->accel, KIND_MMIO_READ, m->base + offset, size, value, began);
    return value;
}

void on_mmio_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *opaque)
{
    struct mmio *m = opaque;
    int64_t began = host_ns();
    if (size < 8)
        value &= (1ull << 8 * size) - 1;
    remember(m->accel, KIND_MMIO_WRITE, m->base + offset, value);
    if (m->write)
        CALL(m->accel, m->write, 0, offset, size, value);
    account(m->accel, KIND_MMIO_WRITE, m->base + offset, size, value, began);
}

bool on_write_to_rom(void *uc, int type, uint64_t address, int size, int64_t value, void *opaque)
{
    return true; /* dropped; the guest goes on */
}
