/*
 * The same work by every driver: sectors of the disk in use are read one after the other, then written
 * back. What is printed before and after is what `trapline compare --disk-paths` counts exits between.
 */
#include "kernel.h"

enum { SECTORS = 4096, TOGETHER = 128 };

static u8 block[TOGETHER * SECTOR];

static int pass(struct disk *disk, const char *way, int write)
{
    int error = 0;
    print("disk-path %s begins\n", way);
    for (u32 sector = 0; sector < SECTORS && !error; sector += TOGETHER) {
        /* what is written is what was read: the last block goes back to where it lies */
        u32 at = write ? SECTORS - TOGETHER : sector;
        error = write ? disk_write(disk, at, TOGETHER, block) : disk_read(disk, at, TOGETHER, block);
    }
    if (!error && write)
        error = disk_flush(disk);
    if (error)
        print("disk-path fails: %s of %s\n", way, disk->name);
    else
        print("disk-path %s ends: %u sectors\n", way, SECTORS);
    return error;
}

void measure(void)
{
    if (!fs_disk || fs_disk->sectors < SECTORS)
        print("disk-path fails: no disk of %u sectors is in use\n", SECTORS);
    else if (!pass(fs_disk, "read", 0) && !pass(fs_disk, "write", 1))
        print("disk-path done\n");
}
