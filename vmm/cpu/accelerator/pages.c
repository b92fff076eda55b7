/* Pages: where code lies, the store fast path, and code that was written over. */
#include "accelerator.h"

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
long read_code(struct accel *a, uint64_t linear, char *code, long most)
{
    uint64_t physical = code_page(a, linear & ~0xfffull);
    if (physical == (uint64_t)-1 || physical >> 12 >= a->h.ram_pages)
        return 0;
    uint64_t offset = linear & 0xfff;
    long length = offset + most <= 0x1000 ? most : (long)(0x1000 - offset);
    memcpy(code, a->h.ram + physical + offset, length);
    return length;
}

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

bool on_tlb_fill(void *cpu, uint64_t address, int size, int access, int mmu, bool probe, uintptr_t ra)
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

/* Have a page of RAM fetched from elsewhere (NULL: from itself). The caller flushes the TLB and old code. */
PUBLIC void accel_fetch_from(struct accel *a, uint64_t page, uint8_t *host)
{
    if (page < a->h.ram_pages)
        a->fetch_pages[page] = host;
}

/*
 * A bus master or the monitor wrote physical memory that lies at `ram_offset` in QEMU's RAM space:
 * forget code translated from there. Only pages that were ever fetched from can have any.
 */
PUBLIC void accel_written(struct accel *a, uint64_t physical, uint64_t ram_offset, uint64_t length)
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
PUBLIC uint8_t *accel_code_pages(struct accel *a) { return a->code_pages; }
