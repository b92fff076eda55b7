/*
 * Disks and files. What is read and written is the disk the system lives on, whatever drives it; of
 * all drivers it is tested that nothing was waited for in vain.
 */
#include "selftest.h"

enum { TOGETHER = 8 };

static u8 saved[SECTOR], written[SECTOR], found[SECTOR], many[TOGETHER * SECTOR];

static int identified(void)
{
    for (int i = 0; i < disk_count; i++)
        if (!disks[i].sectors || !disks[i].model[0])
            return 0;
    return 1;
}

static int same_together_as_alone(struct disk *disk, u32 sector)
{
    if (disk_read(disk, sector, TOGETHER, many))
        return 0;
    for (u32 i = 0; i < TOGETHER; i++)
        if (disk_read(disk, sector + i, 1, found) || memcmp(found, many + i * SECTOR, SECTOR))
            return 0;
    return 1;
}

/* Write a pattern to the scratch sector and read it back. */
static int write_and_verify(struct disk *disk, u8 seed)
{
    for (u32 i = 0; i < SECTOR; i++)
        written[i] = (u8)(i * 7 + seed);
    memset(found, 0, SECTOR);
    return !disk_write(disk, fs_scratch_sector(), 1, written) && !disk_read(disk, fs_scratch_sector(), 1, found) &&
           !memcmp(found, written, SECTOR);
}

void test_disks(void)
{
    struct disk *disk = fs_disk;
    int there = disk != 0;
    check("a disk with a file system was found", there, 1);
    check("every disk has told its size and its name", (u32)identified(), 1);
    check("the first sector of the disk is read", (u32)(there && !disk_read(disk, 0, 1, saved)), 1);
    check("8 sectors together are those read alone", (u32)(there && same_together_as_alone(disk, 0)), 1);
    check("a read beyond the end of the disk is refused", (u32)(there && disk_read(disk, disk->sectors, 1, found) < 0), 1);
    int kept = there && !disk_read(disk, fs_scratch_sector(), 1, saved);
    check("a sector written reads back", (u32)(kept && write_and_verify(disk, 1)), 1);
    check("and with other bytes written again", (u32)(kept && write_and_verify(disk, 2)), 1);
    check("what the sector held is put back", (u32)(kept && !disk_write(disk, fs_scratch_sector(), 1, saved)), 1);
    check("the disk writes out what it keeps", (u32)(there && !disk_flush(disk)), 1);
    check("looking for disks again comes to an end", (u32)disks_probe_ends(), 1);
    check("disk interrupts waited for in vain", disks_waits().missed, 0);
    check("disk commands that took too long", disks_waits().timeouts, 0);
}

static const char name[] = "selftest.tmp";
static u8 content[3000], back[sizeof content];

static int holds(u32 bytes)
{
    u32 size;
    int file = fs_find(name, &size);
    memset(back, 0, sizeof back);
    return file >= 0 && size == bytes && fs_read(file, 0, back, sizeof back) == (int)bytes &&
           !memcmp(back, content, bytes);
}

void test_files(void)
{
    fs_erase(name); /* of a self-test that was switched off */
    u32 free = fs_blocks_free(), size;
    for (u32 i = 0; i < sizeof content; i++)
        content[i] = (u8)(i * 13 + i / 256);
    check("a file is written", (u32)(fs_write(name, content, sizeof content) == FS_OK && fs_sync() == FS_OK), 1);
    check("the file reads back", (u32)holds(sizeof content), 1);
    check("the file takes as many blocks as it must", free - fs_blocks_free(), 6);
    int file = fs_find(name, &size);
    int middle = file >= 0 && fs_read(file, 1000, back, 100) == 100 && !memcmp(back, content + 1000, 100);
    check("a piece from the middle of the file", (u32)middle, 1);
    check("the file is there after mounting again", (u32)(fs_disk && fs_mount(fs_disk) == FS_OK && holds(sizeof content)), 1);
    check("the file is replaced by a shorter one", (u32)(fs_write(name, content, 10) == FS_OK && holds(10)), 1);
    check("a name with a blank is refused", (u32)-fs_write("a b", content, 1), (u32)-FS_BAD_NAME);
    check("the file is erased", (u32)-fs_erase(name), FS_OK);
    check("the erased file is not found", (u32)-fs_find(name, 0), (u32)-FS_NO_FILE);
    check("the blocks of the file are free again", free - fs_blocks_free(), 0);
}
