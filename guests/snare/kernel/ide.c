/*
 * IDE disks by programmed I/O, on the two channels where a PC/AT has them.
 *
 * A command is written to the drive's registers; then, for each sector, the drive interrupts and 256
 * words go through the data port. wait_ready() waits for the interrupt; should it not come, it looks
 * at the status itself, and ends after a second in any case. A channel that has lost an interrupt
 * is polled from then on.
 *
 * Not here: DMA, CD-ROMs, disks above 128 GiB.
 *
 * Source: [ATA-4] T13/1153D r18, §7 (registers), §8 (commands), §9.5 and §9.6 (PIO protocols).
 */
#include "kernel.h"

enum { DATA, ERROR, COUNT_, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, STATUS, COMMAND = STATUS };
enum { BSY = 0x80, DRDY = 0x40, DF = 0x20, DRQ = 0x08, ERR = 0x01 };
enum { READ_SECTORS = 0x20, WRITE_SECTORS = 0x30, FLUSH_CACHE = 0xe7, IDENTIFY = 0xec };
enum { USE_LBA = 0xe0, NO_INTERRUPT = 2, RESET = 4 };
enum { PATIENCE_MS = 1000, MOST_SECTORS = 256 };

static struct channel {
    u16 base, control;
    int irq;
    volatile int interrupted;
    int polled;
} channels[2] = {{0x1f0, 0x3f6, 14, 0, 0}, {0x170, 0x376, 15, 0, 0}};

static struct disk_waits waits;

void ide_interrupt(int number)
{
    struct channel *channel = &channels[number];
    in8(channel->base + STATUS); /* takes the request back */
    channel->interrupted = 1;
    waits.interrupts++;
}

/* Status bits `wanted` with BSY clear: the status, or -1 after PATIENCE_MS or when ERR or DF comes. */
static int poll(struct channel *channel, u8 wanted, u32 ms)
{
    struct deadline end;
    u8 status;
    deadline_in(&end, ms);
    while ((status = in8(channel->control)) & BSY || !(status & (wanted | ERR | DF)))
        if (deadline_passed(&end)) {
            waits.timeouts++;
            return -1;
        }
    return status & (ERR | DF) ? -1 : status;
}

/* The end of a step of a command. */
static int wait_ready(struct channel *channel, u8 wanted)
{
    struct deadline end;
    deadline_in(&end, PATIENCE_MS);
    while (!channel->polled && !channel->interrupted)
        if (deadline_passed(&end)) {
            waits.missed++;
            channel->polled = 1;
        }
    channel->interrupted = 0;
    return poll(channel, wanted, PATIENCE_MS);
}

static void select(struct channel *channel, u8 device)
{
    out8(channel->base + DEVICE, device);
    for (int i = 0; i < 4; i++)
        in8(channel->control); /* 400 ns */
}

static int command(struct disk *disk, u32 lba, u32 count, u8 code)
{
    struct channel *channel = &channels[disk->unit / 2];
    select(channel, (u8)(USE_LBA | (disk->unit & 1) << 4 | lba >> 24));
    if (poll(channel, DRDY, PATIENCE_MS) < 0)
        return -1;
    channel->interrupted = 0;
    out8(channel->base + COUNT_, (u8)count);
    out8(channel->base + LBA_LOW, (u8)lba);
    out8(channel->base + LBA_MID, (u8)(lba >> 8));
    out8(channel->base + LBA_HIGH, (u8)(lba >> 16));
    out8(channel->base + COMMAND, code);
    return 0;
}

static int read_some(struct disk *disk, u32 lba, u32 count, u8 *data)
{
    struct channel *channel = &channels[disk->unit / 2];
    if (command(disk, lba, count, READ_SECTORS) < 0)
        return -1;
    for (; count--; data += SECTOR) {
        if (wait_ready(channel, DRQ) < 0)
            return -1;
        in16s(channel->base + DATA, data, SECTOR / 2);
    }
    return 0;
}

static int write_some(struct disk *disk, u32 lba, u32 count, const u8 *data)
{
    struct channel *channel = &channels[disk->unit / 2];
    if (command(disk, lba, count, WRITE_SECTORS) < 0 || poll(channel, DRQ, PATIENCE_MS) < 0)
        return -1;
    for (;; data += SECTOR) { /* the first sector is asked for without an interrupt */
        out16s(channel->base + DATA, data, SECTOR / 2);
        if (wait_ready(channel, --count ? DRQ : DRDY) < 0)
            return -1;
        if (!count)
            return 0;
    }
}

static int ide_transfer(struct disk *disk, u32 lba, u32 count, void *data, int write)
{
    while (count) {
        u32 n = count < MOST_SECTORS ? count : MOST_SECTORS;
        int error = write ? write_some(disk, lba, n, data) : read_some(disk, lba, n, data);
        if (error)
            return error;
        lba += n;
        count -= n;
        data = (u8 *)data + n * SECTOR;
    }
    return 0;
}

static int ide_flush(struct disk *disk)
{
    if (command(disk, 0, 0, FLUSH_CACHE) < 0)
        return -1;
    return wait_ready(&channels[disk->unit / 2], DRDY) < 0 ? -1 : 0;
}

/* The words of IDENTIFY, if a disk is there. A CD-ROM aborts the command, an empty place says nothing. */
static int identify(int unit, u16 *words)
{
    struct channel *channel = &channels[unit / 2];
    out8(channel->control, NO_INTERRUPT);
    select(channel, (u8)(USE_LBA | (unit & 1) << 4));
    u8 status = in8(channel->control);
    if (status == 0 || status == 0xff)
        return 0;
    if (poll(channel, 0xff, PATIENCE_MS) < 0 && in8(channel->control) & BSY)
        return 0;
    out8(channel->base + COMMAND, IDENTIFY);
    in8(channel->control);
    if (in8(channel->control) == 0 || poll(channel, DRQ, PATIENCE_MS) < 0)
        return 0;
    in16s(channel->base + DATA, words, SECTOR / 2);
    return !(words[0] & 0x8000) && words[49] & 1 << 9; /* a disk, and it knows LBA */
}

/* The model, 20 words of two characters, the first in the high byte; trailing spaces off. */
static void copy_model(char *to, const u16 *words)
{
    int n = 40;
    for (int i = 0; i < 40; i += 2) {
        to[i] = (char)(words[27 + i / 2] >> 8);
        to[i + 1] = (char)words[27 + i / 2];
    }
    while (n && to[n - 1] == ' ')
        n--;
    to[n] = 0;
}

static void ide_find(void)
{
    static u16 words[SECTOR / 2];
    for (int unit = 0; unit < 4; unit++) {
        if (!identify(unit, words))
            continue;
        char name[] = "ide0";
        name[3] = (char)('0' + unit);
        struct disk *disk = disk_add(name, &ide_driver, unit, words[60] | (u32)words[61] << 16);
        if (disk)
            copy_model(disk->model, words);
    }
    for (int i = 0; i < 2; i++) {
        out8(channels[i].control, 0); /* interrupts on */
        in8(channels[i].base + STATUS);
        irq_unmask(channels[i].irq);
    }
    waits.timeouts = 0;
}

/* Whether looking for a drive ended by an answer (or by nothing being there), not by giving up. */
static int ide_probe_ends(void)
{
    static u16 words[SECTOR / 2];
    u32 before = waits.timeouts;
    for (int unit = 0; unit < 4; unit++)
        identify(unit, words);
    for (int i = 0; i < 2; i++) {
        in8(channels[i].base + STATUS);
        out8(channels[i].control, 0);
    }
    return waits.timeouts == before;
}

const struct disk_driver ide_driver = {"IDE", ide_find, ide_transfer, ide_flush, ide_probe_ends, &waits};
