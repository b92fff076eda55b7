/*
 * The accelerated engine: what Unicorn's public API cannot do fast or at all, plugged into the
 * stock library by replacing data pointers (hooks and two entries of QEMU's CPUClass); no code of
 * the library is patched.
 *
 *   events.c        delivers exceptions and interrupts through QEMU's own code, or hands a vector to
 *                   Python when the event router says so (one bit per vector; vectors >= 100h, the
 *                   intercepts, always)
 *   assistance.c    hardware assistance: what a #VMEXIT leaves and a VMRUN injects
 *   window.c        the interrupt window, where the hardware has it
 *   bus.c           carries port and MMIO accesses to Python methods, counted and timed
 *   pages.c         keeps stores to pages that hold no code off the slow path
 *   instructions.c  SYSCALL, SYSENTER, CPUID and RDTSC, which Unicorn leaves out or answers wrongly
 *   calls.c         calls Python, and accounts for every exit
 *   engine.c        runs, stops at a deadline, and is what Python sees: vmm/cpu/accel.py
 *
 * Called through ctypes.PyDLL, so the GIL is held throughout and callbacks cost one vectorcall.
 * A nested fault leaves QEMU's delivery by longjmp; no Python frame may be below it, so Python
 * only *decides* (the callback returns an action) and these files act after it has returned.
 *
 * Offsets are those of Unicorn 2.1.4, proved at start by vmm/cpu/layout.py, which passes them in.
 * GPL-2.0-or-later, as the engine it plugs into.
 */
#ifndef ACCELERATOR_H
#define ACCELERATOR_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PUBLIC __attribute__((visibility("default"))) /* Python looks it up by name */

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
    ENV_SEGS = 184, ENV_TR = 352, ENV_CR0 = 424, ENV_EFER = 592,
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

/* ---- time */

static inline int64_t host_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static inline uint64_t machine_ns(struct accel *a)
{
    return a->s.virtual_clock ? a->s.virtual_ns : (uint64_t)(host_ns() - a->s.host_base_ns);
}

/* ---- leaving generated code */

/*
 * While a stop is requested Unicorn passes over its hooks of SYSENTER, SYSCALL, CPUID and RDTSC (each
 * looks at the request before it comes to its own entry of the list): SYSENTER does nothing, silently.
 * So a stop is only *asked for* here, and requested by `on_interrupt_window`, between two blocks, where
 * no hook can come before the exit. That function is called at each turn of QEMU's main loop because
 * an interrupt request bit is always set.
 */

/* Return to QEMU's main loop at the end of this block. */
static inline void kick(struct accel *a) { AT(volatile uint16_t, a->h.cpu, CPU_ICOUNT_DECR_HIGH) = 0xffff; }

static inline void inject(struct accel *a, int vector, uint32_t error_code)
{
    a->s.inject_vector = vector;
    a->s.inject_error = error_code;
    kick(a);
}

static inline void stop(struct accel *a)
{
    __atomic_store_n(&a->s.stopping, 1, __ATOMIC_SEQ_CST);
    kick(a);
}

/* ---- events, by number */

/* Events that are no vectors of the processor's own: SVM exit codes + 100h, and three of ours. */
enum {
    EVENT_INTERRUPT = 0x160, EVENT_NMI = 0x161, EVENT_WINDOW = 0x164,
    EVENT_BLOCK = 0x5f0, EVENT_SYSENTER, EVENT_SYSCALL, EVENT_TOUCH,
};

/* EVENTINJ and EXITINTINFO: [AMD-V] §15.20, §15.7.2. */
enum { VMCB_EXITINTINFO = 0x88, VMCB_EVENTINJ = 0xa8 };
enum { EVENT_EXTERNAL, EVENT_OF_NMI = 2, EVENT_EXCEPTION, EVENT_SOFTWARE };
enum { EVENT_HAS_ERROR = 0x800 };

/* ---- calls.c */

/*
 * Under the virtual clock code costs 1 ns a byte, and these what the buses of the time took. Events
 * cost too: a guest whose every delivery faults runs no code, and must still meet its deadlines.
 */
enum { PORT_CYCLE_NS = 1000, MMIO_CYCLE_NS = 100, EVENT_NS = 100 };

void spend(struct accel *, uint64_t ns);
uint64_t taken(struct accel *, PyObject *result, uint64_t otherwise);
uint64_t call(struct accel *, PyObject *function, int n, const uint64_t *values, uint64_t otherwise);
#define CALL(a, f, otherwise, ...) \
    call(a, f, sizeof((uint64_t[]){__VA_ARGS__}) / 8, (uint64_t[]){__VA_ARGS__}, otherwise)
void remember(struct accel *, int kind, uint64_t x, uint64_t y);
void account(struct accel *, int kind, uint64_t x, uint64_t y, uint64_t z, int64_t began);

/*
 * The host's patience with one run: code that is always new translates a thousand times slower than
 * its virtual time. Coming back early must show in nothing the guest can see, so it is only asked where
 * the exit costs no virtual time: ahead of a block that is then charged when it is entered again, and
 * at an event.
 */
enum { PATIENCE_CHECK = 64 };

static inline bool impatient(struct accel *a)
{
    return a->s.virtual_clock && !a->s.stopping && ++a->spent % PATIENCE_CHECK == 0 && host_ns() >= a->impatient_ns;
}

/* ---- events.c */

uint64_t linear_ip(struct accel *, int64_t offset);
uint64_t event_of(int vector, int type);
void note_event(struct accel *);
void deliver(struct accel *);
void deliver_external(struct accel *, int vector);
uint64_t call_event(struct accel *, uint32_t vector);
void on_exception(void *uc, uint32_t vector, void *opaque);

/* ---- assistance.c */

void leave_guest(struct accel *, uint32_t vector);
bool enter_guest(struct accel *);

/* ---- window.c */

bool on_interrupt_window(void *cpu, int request);

/* ---- bus.c */

uint32_t on_in(void *uc, uint32_t port, int size, void *opaque);
void on_out(void *uc, uint32_t port, int size, uint32_t value, void *opaque);
uint64_t on_mmio_read(void *uc, uint64_t offset, unsigned size, void *opaque);
void on_mmio_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *opaque);
bool on_write_to_rom(void *uc, int type, uint64_t address, int size, int64_t value, void *opaque);

/* ---- pages.c */

long read_code(struct accel *, uint64_t linear, char *code, long most);
bool on_tlb_fill(void *cpu, uint64_t address, int size, int access, int mmu, bool probe, uintptr_t ra);

/* ---- instructions.c */

void on_syscall(void *uc, void *opaque);
void on_sysenter(void *uc, void *opaque);
int on_rdtsc(void *uc, void *opaque);
int on_cpuid(void *uc, void *opaque);

/* ---- engine.c */

struct accel *engine_of(void *cpu);

#endif
