/*
 * The file system: one directory of files, as a CMS minidisk has.
 *
 * A block is a 512-byte sector. The disk holds, in this order,
 *
 *   block 0        the superblock (struct super)
 *   block 1        scratch, for the self-test to write on
 *   map            one 16-bit word a block: 0 free, FFFFh the last of its file, else the next
 *                  block of its file; the blocks up to the directory's last are marked FFFFh
 *   directory      entries of 32 bytes (struct entry); a name of zeros is a free one
 *   data
 *
 * Map and directory are kept in memory while the disk is mounted. Every change goes to the disk at
 * once and in this order: new data, then the map, then the directory, then the map without what was
 * freed. Power may fail in between: at worst some blocks belong to nobody, never to two.
 *
 * A hard disk begins with the boot sector (boot/boot.asm), which names the sector of the superblock;
 * a RAM disk begins with the superblock.
 */
#include "kernel.h"

enum { MAP_FREE = 0, MAP_LAST = 0xffff, MOST_BLOCKS = 0xfff0, MOST_FILES = 128 };
enum { SIGNATURE_AT = 3, FS_SECTOR_AT = 0x48 }; /* in the boot sector */

struct super {
    char magic[8];
    u32 blocks, map, map_blocks, directory, directory_blocks, data;
};
struct entry {
    char name[NAME_BYTES];
    u32 bytes;
    u16 first, unused;
    u32 reserved;
};

static const char magic[8] = "SNAREFS1";
static struct super super;
static u16 map[MOST_BLOCKS + 16];
static struct entry directory[MOST_FILES];
static u32 fs_start; /* sector of the superblock */
static u32 hint;     /* where to look for a free block */
struct disk *fs_disk;

static int read_blocks(u32 block, u32 count, void *to)
{
    return disk_read(fs_disk, fs_start + block, count, to) ? FS_DISK : FS_OK;
}

static int write_blocks(u32 block, u32 count, const void *from)
{
    return disk_write(fs_disk, fs_start + block, count, from) ? FS_DISK : FS_OK;
}

static int is_sound(const struct super *s, u32 sectors)
{
    return !memcmp(s->magic, magic, sizeof magic) && s->blocks <= sectors && s->blocks <= MOST_BLOCKS && s->map == 2 &&
           s->map_blocks * 256 >= s->blocks && s->map_blocks <= 256 && s->directory == s->map + s->map_blocks &&
           s->directory_blocks * 16 <= MOST_FILES && s->directory_blocks &&
           s->data == s->directory + s->directory_blocks && s->data < s->blocks;
}

/* Use the file system of a disk from now on. If it has none, the one mounted before stays. */
int fs_mount(struct disk *disk)
{
    static u8 sector[SECTOR];
    u32 start = 0;
    if (process_uses(ANY_FILE))
        return FS_BUSY;
    if (disk_read(disk, 0, 1, sector))
        return FS_DISK;
    if (!memcmp(sector + SIGNATURE_AT, "SNARE   ", 8)) {
        start = *(u32 *)(sector + FS_SECTOR_AT);
        if (start >= disk->sectors || disk_read(disk, start, 1, sector))
            return FS_DISK;
    }
    if (!is_sound((struct super *)sector, disk->sectors - start))
        return FS_NO_FS;
    memcpy(&super, sector, sizeof super);
    fs_disk = disk;
    fs_start = start;
    hint = super.data;
    memset(directory, 0, sizeof directory);
    if (read_blocks(super.map, super.map_blocks, map) || read_blocks(super.directory, super.directory_blocks, directory)) {
        fs_disk = 0;
        return FS_DISK;
    }
    return FS_OK;
}

/* The first disk with a file system: what was booted comes first, being the RAM disk if there is one. */
int fs_mount_any(void)
{
    for (int i = 0; i < disk_count; i++)
        if (fs_mount(&disks[i]) == FS_OK)
            return FS_OK;
    return FS_NO_FS;
}

static u32 files(void)
{
    return fs_disk ? super.directory_blocks * (SECTOR / sizeof(struct entry)) : 0;
}

int fs_find(const char *name, u32 *bytes)
{
    if (!fs_disk)
        return FS_NO_FS;
    for (u32 i = 0; i < files(); i++)
        if (directory[i].name[0] && !strncmp(directory[i].name, name, NAME_BYTES)) {
            if (bytes)
                *bytes = directory[i].bytes;
            return (int)i;
        }
    return FS_NO_FILE;
}

int fs_list(u32 index, struct fs_stat *stat)
{
    for (u32 i = 0; i < files(); i++)
        if (directory[i].name[0] && !index--) {
            strcopy(stat->name, directory[i].name, NAME_BYTES);
            stat->bytes = directory[i].bytes;
            return FS_OK;
        }
    return FS_NO_FILE;
}

/* Bytes read: fewer than asked for at the end of the file. */
int fs_read(int file, u32 offset, void *to, u32 bytes)
{
    static u8 buffer[SECTOR];
    struct entry *entry = &directory[file];
    if (offset >= entry->bytes)
        return 0;
    if (bytes > entry->bytes - offset)
        bytes = entry->bytes - offset;
    u16 block = entry->first;
    for (u32 skip = offset / SECTOR; skip; skip--)
        block = block < super.blocks ? map[block] : MAP_LAST;
    for (u32 done = 0; done < bytes;) {
        u32 within = (offset + done) % SECTOR, n = SECTOR - within;
        if (n > bytes - done)
            n = bytes - done;
        if (block >= super.blocks || read_blocks(block, 1, buffer))
            return FS_DISK;
        memcpy((u8 *)to + done, buffer + within, n);
        done += n;
        block = map[block];
    }
    return (int)bytes;
}

/* Only the block of the directory that holds an entry. */
static int store_entry(u32 i)
{
    u32 block = i / (SECTOR / sizeof(struct entry));
    return write_blocks(super.directory + block, 1, (u8 *)directory + block * SECTOR);
}

static int store_map(void)
{
    return write_blocks(super.map, super.map_blocks, map);
}

static void release(u32 block)
{
    while (block >= super.data && block < super.blocks) {
        u32 next = map[block];
        map[block] = MAP_FREE;
        block = next;
    }
}

/* A free block, marked as the last of a file; 0 if the disk is full. */
static u16 take_block(void)
{
    for (u32 tries = super.blocks - super.data; tries; tries--) {
        u32 block = hint;
        if (++hint >= super.blocks)
            hint = super.data;
        if (map[block] == MAP_FREE) {
            map[block] = MAP_LAST;
            return (u16)block;
        }
    }
    return 0;
}

/* Put data into a chain of new blocks, beginning at *first. What was taken is given back on failure. */
static int write_chain(const u8 *from, u32 bytes, u16 *first)
{
    static u8 buffer[SECTOR];
    u16 last = 0;
    *first = MAP_LAST;
    for (u32 done = 0; done < bytes; done += SECTOR) {
        u32 n = bytes - done < SECTOR ? bytes - done : SECTOR;
        u16 block = take_block();
        int error = block ? FS_OK : FS_FULL;
        if (block) {
            if (last)
                map[last] = block;
            else
                *first = block;
            last = block;
            memset(buffer, 0, SECTOR);
            memcpy(buffer, from + done, n);
            error = write_blocks(block, 1, buffer);
        }
        if (error) {
            release(*first);
            return error;
        }
    }
    return FS_OK;
}

/* Names are 1 to 19 printable characters without blanks. */
static int is_name(const char *name)
{
    u32 n = strlen(name);
    for (u32 i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] >= 0x7f)
            return 0;
    return n && n < NAME_BYTES;
}

static int free_entry(void)
{
    for (u32 i = 0; i < files(); i++)
        if (!directory[i].name[0])
            return (int)i;
    return FS_TOO_MANY;
}

int fs_write(const char *name, const void *from, u32 bytes)
{
    if (!is_name(name))
        return FS_BAD_NAME;
    int slot = fs_find(name, 0), is_new = slot == FS_NO_FILE;
    if (is_new)
        slot = free_entry();
    if (slot < 0)
        return slot;
    if (process_uses(slot))
        return FS_BUSY;
    struct entry *entry = &directory[slot];
    u16 first, old = is_new ? MAP_LAST : entry->first;
    int error = write_chain(from, bytes, &first);
    if (!error)
        error = store_map();
    if (error)
        return error;
    strcopy(entry->name, name, NAME_BYTES);
    entry->bytes = bytes;
    entry->first = first;
    error = store_entry((u32)slot);
    release(old);
    return error ? error : store_map();
}

int fs_erase(const char *name)
{
    int slot = fs_find(name, 0);
    if (slot < 0)
        return slot;
    if (process_uses(slot))
        return FS_BUSY;
    u16 first = directory[slot].first;
    memset(&directory[slot], 0, sizeof directory[slot]);
    int error = store_entry((u32)slot);
    release(first);
    return error ? error : store_map();
}

int fs_rename(const char *from, const char *to)
{
    int slot = fs_find(from, 0);
    if (slot < 0)
        return slot;
    if (!is_name(to) || fs_find(to, 0) >= 0)
        return FS_BAD_NAME;
    memset(directory[slot].name, 0, NAME_BYTES);
    strcopy(directory[slot].name, to, NAME_BYTES);
    return store_entry((u32)slot);
}

int fs_sync(void)
{
    return fs_disk && disk_flush(fs_disk) ? FS_DISK : FS_OK;
}

u32 fs_blocks_free(void)
{
    u32 n = 0;
    for (u32 i = super.data; fs_disk && i < super.blocks; i++)
        n += map[i] == MAP_FREE;
    return n;
}

u32 fs_blocks(void)
{
    return fs_disk ? super.blocks - super.data : 0;
}

u32 fs_scratch_sector(void)
{
    return fs_start + 1;
}

const char *fs_error(int error)
{
    static const char *const texts[] = {"done", "no such file", "the disk is full", "not a good name", "disk error",
                                        "no file system", "the directory is full",
                                        "it is running"};
    return texts[-error];
}
