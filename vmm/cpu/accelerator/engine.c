/* What Python calls: an engine is opened, runs to a deadline, and is told what devices want. */
#include "accelerator.h"

static struct accel *engines, *latest;

struct accel *engine_of(void *cpu)
{
    if (latest && latest->h.cpu == cpu)
        return latest;
    for (struct accel *a = engines; a; a = a->next)
        if (a->h.cpu == cpu)
            return latest = a;
    return NULL;
}

/* ---- blocks, before they first run */

struct uc_tb { uint64_t pc; uint16_t icount, size; };

/* The block has been translated and will be entered: its own exit check leads to `monitored_window` first. */
static void on_edge(void *uc, struct uc_tb *block, struct uc_tb *previous, void *opaque)
{
    struct accel *a = opaque;
    if (!a->s.watch_blocks || (AT(uint32_t, a->h.env, ENV_HFLAGS) & 3) == 3)
        return;
    a->s.block = block->pc;
    a->s.block_bytes = block->size;
    a->s.block_waits = 1;
    kick(a);
}

/* ---- deadlines, of host time (a thread) or of executed code (a block budget) */

static void on_block(void *uc, uint64_t address, uint32_t size, void *opaque)
{
    struct accel *a = opaque;
    if (!a->s.virtual_clock)
        return;
    /* A stop asked for here is met by the block's own exit check, ahead of its first instruction: the
     * block is charged when it is entered again. */
    if (a->s.stopping || a->s.virtual_ns >= a->s.virtual_deadline || impatient(a))
        stop(a);
    else
        a->s.virtual_ns += size;
}

static void *watch(void *opaque)
{
    struct accel *a = opaque;
    pthread_mutex_lock(&a->lock);
    while (!a->quit) {
        if (!a->running) {
            pthread_cond_wait(&a->wake, &a->lock);
            continue;
        }
        int64_t until = a->deadline_ns, now = host_ns();
        if (now >= until) { /* again until it took: QEMU may just be clearing the kick */
            stop(a);
            until = now + 100000;
        }
        struct timespec t = {until / 1000000000, until % 1000000000};
        pthread_cond_timedwait(&a->wake, &a->lock, &t);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void set_running(struct accel *a, int running, int64_t deadline_ns)
{
    pthread_mutex_lock(&a->lock);
    a->running = running;
    a->deadline_ns = deadline_ns;
    if (running)
        pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

/* ---- what Python calls */

PUBLIC struct accel *accel_open(const struct host *host)
{
    struct accel *a = calloc(1, sizeof *a);
    pthread_condattr_t monotonic;
    a->h = *host;
    a->s.inject_vector = a->delivering = -1;
    a->s.host_base_ns = host_ns();
    a->code_pages = calloc(host->ram_pages ? host->ram_pages : 1, 1);
    a->fetch_pages = calloc(host->ram_pages ? host->ram_pages : 1, sizeof *a->fetch_pages);
    a->ports = calloc(0x10000, sizeof *a->ports);
    a->tlb_fill = AT(tlb_fill_fn, host->cpu_class, 0x48);
    AT(tlb_fill_fn, host->cpu_class, 0x48) = on_tlb_fill;
    AT(exec_interrupt_fn, host->cpu_class, 0x90) = on_interrupt_window;
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&a->wake, &monotonic);
    a->next = engines;
    engines = latest = a; /* one that was never closed may have had its CPU at the same address */
    return a;
}

/* The library may still call the two CPUClass entries until uc_close: call this after it. */
PUBLIC void accel_close(struct accel *a)
{
    if (a->threaded) {
        pthread_mutex_lock(&a->lock);
        a->quit = 1;
        pthread_cond_signal(&a->wake);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    for (struct accel **p = &engines; *p; p = &(*p)->next)
        if (*p == a) {
            *p = a->next;
            break;
        }
    if (latest == a)
        latest = NULL;
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->wake);
    free(a->code_pages);
    free(a->fetch_pages);
    free(a->ports);
    free(a);
}

/* Run from the current instruction. Returns Unicorn's error; a Python exception is re-raised. */
PUBLIC int accel_run(struct accel *a, int64_t deadline_ns)
{
    latest = a;
    a->s.stopping = 0;
    AT(uint32_t, a->h.cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_HARD;
    if (a->s.virtual_clock) {
        a->s.virtual_deadline = deadline_ns;
        a->impatient_ns = host_ns() + a->s.patience_ns;
    } else {
        if (!a->threaded)
            a->threaded = !pthread_create(&a->thread, NULL, watch, a);
        set_running(a, 1, deadline_ns + a->s.host_base_ns);
    }
    a->task = AT(uint32_t, a->h.env, ENV_TR); /* a reset, or a restored state, has its own */
    a->inside = 1;
    int error = a->h.emu_start(a->h.uc, AT(uint64_t, a->h.env, ENV_EIP), 0, 0, 0);
    a->inside = 0;
    if (!a->s.virtual_clock)
        set_running(a, 0, 0);
    if (a->s.failed) {
        a->s.failed = 0;
        PyErr_Restore(a->error[0], a->error[1], a->error[2]);
    }
    return error;
}

/* A deadline set by a device while the guest runs. */
PUBLIC void accel_deadline(struct accel *a, int64_t deadline_ns)
{
    if (a->s.virtual_clock) {
        if ((uint64_t)deadline_ns < a->s.virtual_deadline)
            a->s.virtual_deadline = deadline_ns;
    } else if (a->running && deadline_ns + a->s.host_base_ns < a->deadline_ns) {
        set_running(a, 1, deadline_ns + a->s.host_base_ns);
    }
}

PUBLIC void accel_stop(struct accel *a) { stop(a); }

PUBLIC void accel_inject(struct accel *a, int vector, uint32_t error_code) { inject(a, vector, error_code); }

PUBLIC void accel_interrupt_line(struct accel *a, int level)
{
    a->s.interrupt_line = level;
    if (!level)
        a->s.interrupt_told = a->s.window_wanted = 0;
    if (level)
        kick(a);
}

PUBLIC void accel_nmi(struct accel *a)
{
    AT(uint32_t, a->h.cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_NMI;
    kick(a);
}

PUBLIC int accel_nmi_pending(struct accel *a)
{
    return (AT(uint32_t, a->h.cpu, CPU_INTERRUPT_REQUEST) & INTERRUPT_NMI)
        && !(AT(uint32_t, a->h.env, ENV_HFLAGS2) & HF2_NMI_BLOCKED);
}

PUBLIC void accel_port(struct accel *a, uint32_t port, PyObject *read, PyObject *write, uint32_t offset, uint32_t bulk)
{
    a->ports[port & 0xffff] = (struct port){read, write, offset, bulk};
}

PUBLIC void accel_trace(struct accel *a, PyObject *trace) { a->trace = trace; }

PUBLIC void accel_on_event(struct accel *a, PyObject *on_event) { a->h.on_event = on_event; }

PUBLIC const size_t accel_sizes[2] = {sizeof(struct host), sizeof(struct shared)};

struct entry { const char *name; void *function; };
PUBLIC const struct entry accel_entries[] = {
    {"exception", on_exception}, {"in", on_in}, {"out", on_out}, {"mmio_read", on_mmio_read},
    {"mmio_write", on_mmio_write}, {"rom_write", on_write_to_rom}, {"syscall", on_syscall},
    {"sysenter", on_sysenter}, {"rdtsc", on_rdtsc}, {"cpuid", on_cpuid}, {"block", on_block}, {"edge", on_edge}, {NULL, NULL},
};
