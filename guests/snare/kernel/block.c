/*
 * Disks: a table of drivers, a table of the disks they found, and the RAM disk.
 *
 * Another driver is one more row in `drivers`. Its find() calls disk_add() for each disk; from then
 * on transfer() and flush() are asked, with the disk's own `unit` to tell it which.
 */
#include "kernel.h"

enum { MOST_DISKS = 8 };
struct disk disks[MOST_DISKS];
int disk_count;

static void ram_find(void);
static int ram_transfer(struct disk *disk, u32 lba, u32 count, void *data, int write);
static int ram_flush(struct disk *disk);

/* What the loader brought as a module is a disk too. */
static const struct disk_driver ram_driver = {"memory", ram_find, ram_transfer, ram_flush, 0, 0};

static const struct disk_driver *const drivers[] = {
    &ram_driver,
#ifdef PARA
    &ring_driver,
#endif
    &ide_driver,
    &scsi_driver,
};

static void ram_find(void)
{
    struct disk *disk = boot.ramdisk_bytes ? disk_add("ram", &ram_driver, 0, boot.ramdisk_bytes / SECTOR) : 0;
    if (disk)
        strcopy(disk->model, "RAM disk", sizeof disk->model);
}

static int ram_transfer(struct disk *disk, u32 lba, u32 count, void *data, int write)
{
    u8 *place = (u8 *)boot.ramdisk + lba * SECTOR;
    (void)disk;
    if (write)
        memcpy(place, data, count * SECTOR);
    else
        memcpy(data, place, count * SECTOR);
    return 0;
}

static int ram_flush(struct disk *disk)
{
    (void)disk;
    return 0;
}

/* 0 if the table is full. */
struct disk *disk_add(const char *name, const struct disk_driver *driver, int unit, u32 sectors)
{
    if (disk_count == MOST_DISKS)
        return 0;
    struct disk *disk = &disks[disk_count++];
    strcopy(disk->name, name, sizeof disk->name);
    disk->driver = driver;
    disk->unit = unit;
    disk->sectors = sectors;
    return disk;
}

void disks_init(void)
{
    for (u32 i = 0; i < COUNT(drivers); i++)
        drivers[i]->find();
}

/* The waits for all disks. */
struct disk_waits disks_waits(void)
{
    struct disk_waits sum = {0, 0, 0};
    for (u32 i = 0; i < COUNT(drivers); i++)
        if (drivers[i]->waits) {
            sum.interrupts += drivers[i]->waits->interrupts;
            sum.missed += drivers[i]->waits->missed;
            sum.timeouts += drivers[i]->waits->timeouts;
        }
    return sum;
}

/* Look for disks once more: does every driver come to an end of it? */
int disks_probe_ends(void)
{
    int ends = 1;
    for (u32 i = 0; i < COUNT(drivers); i++)
        if (drivers[i]->probe_ends && !drivers[i]->probe_ends())
            ends = 0;
    return ends;
}

/* A line for each driver that waits. */
void disks_print_waits(void)
{
    for (u32 i = 0; i < COUNT(drivers); i++)
        if (drivers[i]->waits)
            print("%s: %u interrupts, %u missed, %u timeouts\n", drivers[i]->name, drivers[i]->waits->interrupts,
                  drivers[i]->waits->missed, drivers[i]->waits->timeouts);
}

struct disk *disk_find(const char *name)
{
    for (int i = 0; i < disk_count; i++)
        if (!strcmp(disks[i].name, name))
            return &disks[i];
    return 0;
}

static int transfer(struct disk *disk, u32 lba, u32 count, void *data, int write)
{
    if (lba >= disk->sectors || count > disk->sectors - lba)
        return -1;
    return disk->driver->transfer(disk, lba, count, data, write);
}

int disk_read(struct disk *disk, u32 lba, u32 count, void *data)
{
    return transfer(disk, lba, count, data, 0);
}

int disk_write(struct disk *disk, u32 lba, u32 count, const void *data)
{
    return transfer(disk, lba, count, (void *)data, 1);
}

int disk_flush(struct disk *disk)
{
    return disk->driver->flush(disk);
}
