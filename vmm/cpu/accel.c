/*
 * The accelerated engine: what Unicorn's public API cannot do fast or at all, plugged into the
 * stock library by replacing data pointers (hooks and two entries of QEMU's CPUClass); no code of
 * the library is patched.
 *
 * It does five things:
 *   1. delivers exceptions and interrupts through QEMU's own code, or hands a vector to Python when
 *      the event router says so (one bit per vector; vectors >= 100h, the intercepts, always);
 *   2. carries port and MMIO accesses to Python methods, counted and timed;
 *   3. keeps stores to pages that hold no code off the slow path (the store fast path);
 *   4. supplies SYSCALL, SYSENTER, CPUID and RDTSC, which Unicorn leaves out or answers wrongly;
 *   5. stops at a deadline, of host time (a thread) or of executed code (a block budget).
 *
 * Called through ctypes.PyDLL, so the GIL is held throughout and callbacks cost one vectorcall.
 * A nested fault leaves QEMU's delivery by longjmp; no Python frame may be below it, so Python
 * only *decides* (the callback returns an action) and this file acts after it has returned.
 *
 * Offsets are those of Unicorn 2.1.4, proved at start by vmm/cpu/layout.py, which passes them in.
 * GPL-2.0-or-later, as the engine it plugs into.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the few functions of Python's stable ABI that we call; declared here so that no header is needed */
typedef struct _object { long refcount; void *type; } PyObject;
extern PyObject *PyObject_Vectorcall(PyObject *, PyObject *const *, size_t, PyObject *);
extern PyObject *PyLong_FromUnsignedLongLong(unsigned long long);
extern PyObject *PyBytes_FromStringAndSize(const char *, long);
extern unsigned long long PyLong_AsUnsignedLongLongMask(PyObject *);
extern void Py_IncRef(PyObject *);
extern void Py_DecRef(PyObject *);
extern PyObject *PyErr_Occurred(void);
extern PyObject _Py_NoneStruct;
extern void PyErr_Fetch(PyObject **, PyObject **, PyObject **);
extern void PyErr_Restore(PyObject *, PyObject *, PyObject *);

/* ---- QEMU's structures, by offset */
enum {
    CPU_EXIT_REQUEST = 21, CPU_INTERRUPT_REQUEST = 28, CPU_EXCEPTION_INDEX = 33184,
    CPU_ICOUNT_DECR_HIGH = 35394, CPU_TLB_FAST = 35344,
    ENV_REGS = 0, ENV_EIP = 128, ENV_EFLAGS = 136, ENV_HFLAGS = 176, ENV_HFLAGS2 = 180,
    ENV_SEGS = 184, ENV_EFER = 592,
    ENV_SYSENTER_CS = 4800, ENV_SYSENTER_ESP = 4808, ENV_SYSENTER_EIP = 4816,
    ENV_STAR = 4824, ENV_LSTAR = 4840, ENV_CSTAR = 4848, ENV_FMASK = 4856,
    ENV_ERROR_CODE = 5384, ENV_EXCEPTION_IS_INT = 5388, ENV_EXCEPTION_NEXT_EIP = 5392,
    ENV_OLD_EXCEPTION = 5496,
};
enum { INTERRUPT_HARD = 0x2, INTERRUPT_NMI = 0x200 };
enum { HF2_GIF = 1, HF2_NMI_BLOCKED = 4 };
enum { MMU_USER = 1, MMU_KERNEL };
enum {
    HF_INHIBIT_IRQ = 1 << 3, HF_CS32 = 1 << 4, HF_SS32 = 1 << 5, HF_ADDSEG = 1 << 6, HF_LMA = 1 << 14,
    HF_CS64 = 1 << 15, HF_VM = 1 << 17, HF_GUEST = 1 << 21,
};
enum { EFLAGS_IF = 0x200, EFLAGS_VM = 0x20000 };

#define AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

typedef bool (*tlb_fill_fn)(void *, uint64_t, int, int, int, bool, uintptr_t);
typedef bool (*exec_interrupt_fn)(void *, int);

/* What Python fills in before accel_open; mirrored field by field in vmm/cpu/accel.py. */
struct host {
    void *uc, *cpu, *env, *cpu_class;
    void (*do_interrupt)(void *);
    void (*hardirq)(void *, int, int);
    void (*tlb_reset_dirty)(void *, uint64_t, uint64_t);
    uint64_t (*read_eflags)(void *);
    void (*write_eflags)(void *, uint64_t, uint32_t);
    int (*emu_start)(void *, uint64_t, uint64_t, uint64_t, size_t);
    int (*emu_stop)(void *);
    int (*read_linear)(void *, uint64_t, void *, uint64_t, bool);
    PyObject *on_event;       /* on_event(vector, code) -> action; code: the bytes at an intercept */
    PyObject *acknowledge;    /* acknowledge() -> vector: the PIC's INTA cycle */
    PyObject *bulk_in;        /* bulk_in(port, size) -> first element */
    PyObject *bulk_out;       /* bulk_out(port, size, value) */
    PyObject *on_cpuid;       /* on_cpuid(): writes the registers itself */
    uint64_t (*physical_page)(void *, uint64_t, uint32_t *); /* side-effect free page walk, or -1 */
    void (*invalidate)(void *, uint64_t, uint64_t); /* forget code, by offsets in QEMU's RAM space */
    void (*check_io[3])(void *, uint32_t); /* of 1, 2, 4 bytes: #GP(0) unless IOPL or the TSS allow */
    uint8_t *ram;             /* host address of physical address 0 */
    uint64_t ram_pages;
};

enum kind {
    KIND_NONE, KIND_IN, KIND_OUT, KIND_MMIO_READ, KIND_MMIO_WRITE, KIND_EXCEPTION, KIND_SOFTWARE_INT,
    KIND_INTERRUPT, KIND_NMI, KIND_CPUID, KIND_RDTSC, KIND_SYSCALL, KIND_SYSENTER, KIND_INTERCEPT, KIND_HLT,
    KINDS
};
enum action { ACTION_RESUME, ACTION_DELIVER };

struct count { uint64_t count, host_ns; };

/* One exit in the ring that survives the process: vmm/trace reads the last of them after a crash. */
struct record { uint64_t sequence, time_ns, ip, a, b; uint32_t cs; uint16_t kind; uint16_t cpl; };

struct port { PyObject *read, *write; uint32_t offset, bulk; };

struct mmio { struct accel *accel; PyObject *read, *write; uint64_t base; };

/* What both sides touch while the guest runs; mirrored in vmm/cpu/accel.py. */
struct shared {
    uint64_t route[4];                 /* bit set: the vector is Python's */
    struct count kinds[KINDS];
    struct count exceptions[32];
    struct count intercepts[0x500];
    int64_t inject_vector;             /* exception to deliver before the next instruction, or -1 */
    uint64_t inject_error;
    uint64_t virtual_ns, virtual_deadline;
    int64_t host_base_ns;
    int64_t tsc_offset;
    int64_t patience_ns;               /* see `impatient` */
    uint64_t store_fills, fetch_fills;
    uint32_t virtual_clock, failed, interrupt_line, stopping, triple_fault, unused;
    struct record *ring;
    uint64_t ring_mask, ring_next;
    uint32_t monitored;                /* a technique stands between guest and machine: see `monitored_window` */
    uint32_t watch_blocks;             /* tell of each block translated outside ring 3, before it runs */
    uint32_t *virtual_flags;           /* where the IF that counts is; NULL: in EFLAGS */
    uint64_t block;                    /* linear address of the block that waits to be told of */
    uint32_t block_bytes, block_waits;
    uint8_t *vmcb;                     /* where HIDDEN_PAGE lies on the host */
    uint32_t assisted;                 /* interrupts and NMIs are exits, EVENTINJ is carried out: see `assisted_window` */
    uint32_t window_wanted;            /* tell when the guest can take an interrupt */
    uint32_t interrupt_told;
    uint32_t ports_closed;             /* ring 1 is a monitored guest's own ring 1: see `check_io` */
    uint64_t root, stray_cr3;          /* shadow paging: the CR3 that has to be, 0: any; one that a task switch loaded */
    uint64_t touch_address, touch_access;
    uint64_t data_first, data_pages;   /* page numbers of the monitor's that nobody fetches from */
};

struct accel {
    struct shared s;
    struct host h;
    PyObject *trace;                   /* trace(kind, a, b, c, host_ns), or NULL */
    tlb_fill_fn tlb_fill;
    uint8_t *code_pages;
    uint8_t **fetch_pages;             /* by page of RAM: what is fetched in its place, or NULL */
    struct port *ports;
    PyObject *error[3];
    int delivering, external;          /* the vector QEMU is delivering, or -1; 1: not a software interrupt */
    uint64_t event;                    /* the same, as EVENTINJ has it */
    uint64_t event_rip, event_next;    /* of a software interrupt: its instruction, and what follows */
    uint32_t task;                     /* the selector of TR at the last turn of the main loop */
    struct accel *next;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int64_t deadline_ns;
    int running, quit, threaded;
    int inside;                        /* QEMU runs the guest; else a walk is Unicorn's own, of a hook laid anew */
    int64_t impatient_ns;              /* under the virtual clock: the host's time to come back */
    uint32_t spent;
};

static struct accel *engines, *latest;

static struct accel *engine_of(void *cpu)
{
    if (latest && latest->h.cpu == cpu)
        return latest;
    for (struct accel *a = engines; a; a = a->next)
        if (a->h.cpu == cpu)
            return latest = a;
    return NULL;
}

static int64_t host_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static uint64_t machine_ns(struct accel *a)
{
    return a->s.virtual_clock ? a->s.virtual_ns : (uint64_t)(host_ns() - a->s.host_base_ns);
}

/* ---- leaving generated code */

/*
 * While a stop is requested Unicorn passes over its hooks of SYSENTER, SYSCALL, CPUID and RDTSC (each
 * looks at the request before it comes to its own entry of the list): SYSENTER does nothing, silently.
 * So a stop is only *asked for* here, and requested by on_interrupt_window, between two blocks, where
 * no hook can come before the exit. That function is called at each turn of QEMU's main loop because
 * an interrupt request bit is always set.
 */

/* Return to QEMU's main loop at the end of this block. */
static void kick(struct accel *a) { AT(volatile uint16_t, a->h.cpu, CPU_ICOUNT_DECR_HIGH) = 0xffff; }

static void inject(struct accel *a, int vector, uint32_t error_code)
{
    a->s.inject_vector = vector;
    a->s.inject_error = error_code;
    kick(a);
}

static void stop(struct accel *a)
{
    __atomic_store_n(&a->s.stopping, 1, __ATOMIC_SEQ_CST);
    kick(a);
}

/* ---- calling Python */

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
static uint64_t taken(struct accel *a, PyObject *r, uint64_t otherwise)
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

static uint64_t call(struct accel *a, PyObject *f, int n, const uint64_t *values, uint64_t otherwise)
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
#define CALL(a, f, otherwise, ...) \
    call(a, f, sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]){__VA_ARGS__}, otherwise)

/* ---- accounting: one line of the exit table, one record of the ring, one event of the trace */

static void remember(struct accel *a, int kind, uint64_t x, uint64_t y)
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

/*
 * Under the virtual clock code costs 1 ns a byte, and these what the buses of the time took. Events
 * cost too: a guest whose every delivery faults runs no code, and must still meet its deadlines.
 */
enum { PORT_CYCLE_NS = 1000, MMIO_CYCLE_NS = 100, EVENT_NS = 100 };

static void spend(struct accel *a, uint64_t ns)
{
    if (!a->s.virtual_clock)
        return;
    a->s.virtual_ns += ns;
    if (a->s.virtual_ns >= a->s.virtual_deadline)
        stop(a);
}

/*
 * The host's patience with one run: code that is always new translates a thousand times slower than
 * its virtual time. Coming back early must show in nothing the guest can see, so it is only asked where
 * the exit costs no virtual time: ahead of a block that is then charged when it is entered again, and
 * at an event.
 */
enum { PATIENCE_CHECK = 64 };

static bool impatient(struct accel *a)
{
    return a->s.virtual_clock && !a->s.stopping && ++a->spent % PATIENCE_CHECK == 0 && host_ns() >= a->impatient_ns;
}

static void account(struct accel *a, int kind, uint64_t x, uint64_t y, uint64_t z, int64_t began)
{
    uint64_t took = host_ns() - began;
    if (kind <= KIND_MMIO_WRITE)
        spend(a, kind <= KIND_OUT ? PORT_CYCLE_NS : MMIO_CYCLE_NS);
    a->s.kinds[kind].count++;
    a->s.kinds[kind].host_ns += took;
    if (a->trace)
        CALL(a, a->trace, 0, kind, x, y, z, took);
}

/* ---- 1. exceptions, software interrupts, intercepts */

/* The linear address of CS:EIP + offset. */
static uint64_t linear_ip(struct accel *a, int64_t offset)
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

/* EVENTINJ and EXITINTINFO: [AMD-V] §15.20, §15.7.2. */
enum { VMCB_EXITINTINFO = 0x88, VMCB_EVENTINJ = 0xa8 };
enum { EVENT_EXTERNAL, EVENT_OF_NMI = 2, EVENT_EXCEPTION, EVENT_SOFTWARE };
enum { EVENT_HAS_ERROR = 0x800, ENV_CR0 = 424, ENV_TR = 352 };

static uint64_t event_of(int vector, int type) { return 1u << 31 | type << 8 | vector; }

/* Note what QEMU is about to deliver, in case its delivery ends in an exit. */
static void note_event(struct accel *a)
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

static void deliver(struct accel *a)
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

struct tlb_entry { uint64_t read, write, code, physical, addend, pad[3]; };

static struct tlb_entry *tlb_entry(void *cpu, uint64_t address, int mmu)
{
    uint64_t mask = AT(uint64_t, cpu, CPU_TLB_FAST + 16 * mmu);
    char *table = AT(char *, cpu, CPU_TLB_FAST + 16 * mmu + 8);
    return (void *)(table + ((address >> 12 & (mask >> 6)) << 6));
}

/* Where instructions of this page were last fetched from: of QEMU's TLB, or else by a walk; or -1. */
static uint64_t code_page(struct accel *a, uint64_t page)
{
    uint32_t attributes;
    struct tlb_entry *e = tlb_entry(a->h.cpu, page, (AT(uint32_t, a->h.env, ENV_HFLAGS) & 3) == 3 ? MMU_USER : MMU_KERNEL);
    return e->code == page ? e->physical & ~0xfffull : a->h.physical_page(a->h.cpu, page, &attributes);
}

/* Copy `most` bytes at a linear address, to the end of the page, so that Python need not walk page tables. */
static long read_code(struct accel *a, uint64_t linear, char *code, long most)
{
    uint64_t physical = code_page(a, linear & ~0xfffull);
    if (physical == (uint64_t)-1 || physical >> 12 >= a->h.ram_pages)
        return 0;
    uint64_t offset = linear & 0xfff;
    long length = offset + most <= 0x1000 ? most : (long)(0x1000 - offset);
    memcpy(code, a->h.ram + physical + offset, length);
    return length;
}

/* Events that are no vectors of the processor's own: SVM exit codes + 100h, and three of ours. */
enum { EVENT_INTERRUPT = 0x160, EVENT_NMI = 0x161, EVENT_WINDOW = 0x164, EVENT_BLOCK = 0x5f0, EVENT_SYSENTER, EVENT_SYSCALL, EVENT_TOUCH };
enum { CODE_BYTES = 15 };

/* Copy the block that waits; it ends at most one instruction into the next page. */
static long read_block(struct accel *a, char *code, long room)
{
    long size = a->s.block_bytes < room ? a->s.block_bytes : room;
    long first = read_code(a, a->s.block, code, size);
    return first && first < size ? first + read_code(a, a->s.block + first, code + first, size - first) : first;
}

/* Ask the event router what to do about a vector. It sees the instruction where that may decide: none is behind INT. */
static uint64_t call_event(struct accel *a, uint32_t vector)
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

static void deliver_external(struct accel *a, int vector)
{
    a->delivering = vector;
    a->external = 1;
    a->event = event_of(vector, vector == 2 ? EVENT_OF_NMI : EVENT_EXTERNAL);
    a->h.hardirq(a->h.env, vector, 1);
    a->delivering = -1;
}

/* ---- hardware assistance */

/*
 * #VMEXIT: what was being delivered goes to EXITINTINFO. QEMU notes it in EVENTINJ, an interrupt as an exception.
 * Of a software interrupt that is cut off it leaves `exception_is_int` set, and Unicorn takes the exit itself for
 * one and moves EIP on: put it back to the instruction.
 */
static void leave_guest(struct accel *a, uint32_t vector)
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
static bool enter_guest(struct accel *a)
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

static void on_exception(void *uc, uint32_t vector, void *opaque)
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
static bool on_interrupt_window(void *cpu, int request)
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

/* ---- 2. ports and MMIO */

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

static uint32_t on_in(void *uc, uint32_t port, int size, void *opaque)
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

static void on_out(void *uc, uint32_t port, int size, uint32_t value, void *opaque)
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

static uint64_t on_mmio_read(void *uc, uint64_t offset, unsigned size, void *opaque)
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

static void on_mmio_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *opaque)
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

static bool on_write_to_rom(void *uc, int type, uint64_t address, int size, int64_t value, void *opaque)
{
    return true; /* dropped; the guest goes on */
}

/* ---- 3. the store fast path */

/*
 * Unicorn marks every writable page "may hold code", so each store calls a helper. Here a page is
 * only so marked once code was fetched from it. A TLB entry serves either fetches or data, never
 * both, so that the first fetch from a page always comes here.
 */
enum { FETCH = 2, TLB_NOT_DIRTY = 1 << 10 };

/*
 * A task switch cannot be cut off by an exit: QEMU would start the old task's instruction again, in the
 * new task. Half way through, TR is the new task's; what it then touches is mapped ahead of the walk.
 * Under shadow paging it has also loaded CR3, whose tables are the guest's: never to be walked.
 */
static void fill_ahead(struct accel *a, uint64_t address, int access)
{
    uint64_t *cr3 = &AT(uint64_t, a->h.env, ENV_CR0 + 24);
    bool strayed = a->s.root && *cr3 != a->s.root;
    if (strayed) {
        a->s.stray_cr3 = *cr3;
        *cr3 = a->s.root;
    }
    if (strayed || AT(uint32_t, a->h.env, ENV_TR) != a->task) {
        AT(int32_t, a->h.env, ENV_EXCEPTION_IS_INT) = 0; /* EIP is the new task's: see `leave_guest` */
        a->s.touch_address = address;
        a->s.touch_access = access;
        call_event(a, EVENT_TOUCH);
    }
}

static bool on_tlb_fill(void *cpu, uint64_t address, int size, int access, int mmu, bool probe, uintptr_t ra)
{
    struct accel *a = engine_of(cpu);
    if (a->s.assisted && a->inside)
        fill_ahead(a, address, access);
    if (!a->tlb_fill(cpu, address, size, access, mmu, probe, ra))
        return false;
    struct tlb_entry *e = tlb_entry(cpu, address, mmu);
    uint64_t page = e->physical >> 12;
    if (page >= a->h.ram_pages) {
        if (access != FETCH && page - a->s.data_first < a->s.data_pages && e->write != (uint64_t)-1) {
            e->code = -1;
            e->write &= ~(uint64_t)TLB_NOT_DIRTY;
        }
        return true;
    }
    if (access == FETCH && a->fetch_pages[page]) { /* a split view: this entry serves fetches only */
        e->read = e->write = -1;
        e->addend = (uint64_t)a->fetch_pages[page] - (address & ~0xfffull);
        return true;
    }
    if (a->fetch_pages[page])
        e->code = -1;
    if (access == FETCH) {
        a->s.fetch_fills++;
        if (!a->code_pages[page]) {
            a->code_pages[page] = 1;
            a->h.tlb_reset_dirty(cpu, (address & ~0xfffull) + e->addend, 4096);
        }
    } else if (!a->code_pages[page]) {
        a->s.store_fills++;
        e->code = -1;
        if (e->write != (uint64_t)-1)
            e->write &= ~(uint64_t)TLB_NOT_DIRTY;
    }
    return true;
}

/* ---- 4. SYSCALL, SYSENTER, RDTSC, CPUID */

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

static void on_syscall(void *uc, void *opaque)
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

static void on_sysenter(void *uc, void *opaque)
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

static int on_rdtsc(void *uc, void *opaque)
{
    struct accel *a = opaque;
    uint64_t tsc = machine_ns(a) + a->s.tsc_offset; /* 1 GHz */
    AT(uint64_t, a->h.env, ENV_REGS) = (uint32_t)tsc;
    AT(uint64_t, a->h.env, ENV_REGS + 16) = tsc >> 32;
    account(a, KIND_RDTSC, tsc, 0, 0, host_ns());
    return 1; /* skip QEMU's own */
}

static int on_cpuid(void *uc, void *opaque)
{
    struct accel *a = opaque;
    int64_t began = host_ns();
    uint64_t leaf = (uint32_t)AT(uint64_t, a->h.env, ENV_REGS), subleaf = (uint32_t)AT(uint64_t, a->h.env, ENV_REGS + 8);
    remember(a, KIND_CPUID, leaf, subleaf);
    CALL(a, a->h.on_cpuid, 0, leaf, subleaf);
    account(a, KIND_CPUID, leaf, subleaf, 0, began);
    return 1;
}

/* ---- 5. deadlines */

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

struct accel *accel_open(const struct host *host)
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
void accel_close(struct accel *a)
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
int accel_run(struct accel *a, int64_t deadline_ns)
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
void accel_deadline(struct accel *a, int64_t deadline_ns)
{
    if (a->s.virtual_clock) {
        if ((uint64_t)deadline_ns < a->s.virtual_deadline)
            a->s.virtual_deadline = deadline_ns;
    } else if (a->running && deadline_ns + a->s.host_base_ns < a->deadline_ns) {
        set_running(a, 1, deadline_ns + a->s.host_base_ns);
    }
}

void accel_stop(struct accel *a) { stop(a); }

void accel_inject(struct accel *a, int vector, uint32_t error_code) { inject(a, vector, error_code); }

void accel_interrupt_line(struct accel *a, int level)
{
    a->s.interrupt_line = level;
    if (!level)
        a->s.interrupt_told = a->s.window_wanted = 0;
    if (level)
        kick(a);
}

void accel_nmi(struct accel *a)
{
    AT(uint32_t, a->h.cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_NMI;
    kick(a);
}

int accel_nmi_pending(struct accel *a)
{
    return (AT(uint32_t, a->h.cpu, CPU_INTERRUPT_REQUEST) & INTERRUPT_NMI)
        && !(AT(uint32_t, a->h.env, ENV_HFLAGS2) & HF2_NMI_BLOCKED);
}

void accel_port(struct accel *a, uint32_t port, PyObject *read, PyObject *write, uint32_t offset, uint32_t bulk)
{
    a->ports[port & 0xffff] = (struct port){read, write, offset, bulk};
}

/* Have a page of RAM fetched from elsewhere (NULL: from itself). The caller flushes the TLB and old code. */
void accel_fetch_from(struct accel *a, uint64_t page, uint8_t *host)
{
    if (page < a->h.ram_pages)
        a->fetch_pages[page] = host;
}

void accel_trace(struct accel *a, PyObject *trace) { a->trace = trace; }

void accel_on_event(struct accel *a, PyObject *on_event) { a->h.on_event = on_event; }

/*
 * A bus master or the monitor wrote physical memory that lies at `ram_offset` in QEMU's RAM space:
 * forget code translated from there. Only pages that were ever fetched from can have any.
 */
void accel_written(struct accel *a, uint64_t physical, uint64_t ram_offset, uint64_t length)
{
    uint64_t end = physical + length;
    for (uint64_t page = physical >> 12; page << 12 < end; page++) {
        if (page < a->h.ram_pages && !a->code_pages[page])
            continue;
        uint64_t first = page << 12 > physical ? page << 12 : physical;
        uint64_t last = (page + 1) << 12 < end ? (page + 1) << 12 : end;
        a->h.invalidate(a->h.uc, first - physical + ram_offset, last - physical + ram_offset);
    }
}

/* A byte for each page of RAM: whether code was ever fetched from it. */
uint8_t *accel_code_pages(struct accel *a) { return a->code_pages; }

const size_t accel_sizes[2] = {sizeof(struct host), sizeof(struct shared)};

struct entry { const char *name; void *function; };
const struct entry accel_entries[] = {
    {"exception", on_exception}, {"in", on_in}, {"out", on_out}, {"mmio_read", on_mmio_read},
    {"mmio_write", on_mmio_write}, {"rom_write", on_write_to_rom}, {"syscall", on_syscall},
    {"sysenter", on_sysenter}, {"rdtsc", on_rdtsc}, {"cpuid", on_cpuid}, {"block", on_block}, {"edge", on_edge}, {NULL, NULL},
};
