/*
 * The disk behind a ring: a request is a slot of a page that guest and monitor share, the doorbell a
 * hypercall, the end of it an event. Buffers lie in the kernel, where linear addresses are physical.
 */
#include "../kernel.h"

enum { PATIENCE_MS = 1000 };

static struct block_ring ring __attribute__((aligned(4096)));

static volatile int ended; /* the event has come */

void ring_interrupt(void)
{
    ended = 1;
}

/* The answer is there before its event is; with events masked it is looked for. */
static int request(u32 operation, u32 sector, u32 count, const void *data)
{
    struct deadline end;
    u32 n = ring.requests, slot = n % RING_SLOTS;
    ring.slots[slot].operation = operation;
    ring.slots[slot].id = n;
    ring.slots[slot].sector = sector;
    ring.slots[slot].sector_high = 0;
    ring.slots[slot].count = count;
    ring.slots[slot].buffer = (u32)data;
    ended = 0;
    ring.requests = n + 1;
    if (hypercall(BLOCK_OP, BLOCK_KICK, 0, 0) < 0)
        return -1;
    deadline_in(&end, PATIENCE_MS);
    while (shared.upcall_mask ? ring.answers == n : !ended)
        if (deadline_passed(&end))
            return -1;
    return ring.slots[slot].status;
}

static int ring_transfer(struct disk *disk, u32 lba, u32 count, void *data, int write)
{
    (void)disk;
    while (count) {
        u32 n = count < MOST_RING_SECTORS ? count : MOST_RING_SECTORS;
        int error = request(write ? BLOCK_WRITE : BLOCK_READ, lba, n, data);
        if (error)
            return error;
        lba += n;
        count -= n;
        data = (u8 *)data + n * SECTOR;
    }
    return 0;
}

static int ring_flush(struct disk *disk)
{
    (void)disk;
    return request(BLOCK_FLUSH, 0, 0, 0);
}

static void ring_find(void)
{
    struct block_info info;
    if (hypercall(BLOCK_OP, BLOCK_INFO, (u32)&info, 0) || hypercall(BLOCK_OP, BLOCK_ATTACH, (u32)&ring, 0))
        return;
    struct disk *disk = disk_add("ring0", &ring_driver, 0, info.sectors);
    hypercall(EVENT_CHANNEL_OP, EVENT_BIND_VIRQ, VIRQ_DISK, 0);
    if (disk)
        strcopy(disk->model, info.model, sizeof disk->model);
}

const struct disk_driver ring_driver = {"ring", ring_find, ring_transfer, ring_flush, 0, 0};
