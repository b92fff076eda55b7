/*
 * SCSI disks: the commands, whatever adapter takes them to the disk.
 *
 * Not here: logical units other than 0, sectors of another size than 512 bytes.
 *
 * Source: [SCSI-2] ANSI X3.131-1994, §8.2 (INQUIRY, REQUEST SENSE) and §9.2 (direct-access devices).
 */
#include "kernel.h"
#include "scsi.h"

enum { REQUEST_SENSE = 0x03, INQUIRY = 0x12, READ_CAPACITY = 0x25, READ_10 = 0x28, WRITE_10 = 0x2a,
       SYNCHRONIZE_CACHE = 0x35 };
enum { RECOVERED_ERROR = 1, UNIT_ATTENTION = 6 };
enum { INQUIRY_BYTES = 36, CAPACITY_BYTES = 8, SENSE_BYTES = 18, MODEL_AT = 8 };
enum { MOST_SECTORS = 256, TRIES = 4, IDS = 16 };

static u32 big_endian(const u8 *bytes)
{
    return (u32)bytes[0] << 24 | (u32)bytes[1] << 16 | (u32)bytes[2] << 8 | bytes[3];
}

/* Groups of commands have CDBs of 6 or 10 bytes: [SCSI-2] §7.2.1. */
static struct scsi_command command_of(int unit, u8 code)
{
    struct scsi_command command = {.id = (u32)unit % IDS, .cdb = {code}, .length = code < 0x20 ? 6 : 10};
    return command;
}

/* Why a command ended with CHECK CONDITION: the sense key, or -1. */
static int sense_key(int unit)
{
    static u8 sense[SENSE_BYTES];
    struct scsi_command command = command_of(unit, REQUEST_SENSE);
    command.cdb[4] = SENSE_BYTES;
    command.data = sense;
    command.left = SENSE_BYTES;
    sense[2] = 0;
    return aic7870_execute(unit / IDS, &command) == SCSI_GOOD ? sense[2] & 15 : -1;
}

/* 0, or negative. What only tells that something has changed, or that the disk is busy, is tried again. */
static int execute(int unit, struct scsi_command command)
{
    for (int i = 0; i < TRIES; i++) {
        struct scsi_command again = command;
        int status = aic7870_execute(unit / IDS, &again);
        int key = status == SCSI_CHECK ? sense_key(unit) : 0;
        if (status == SCSI_GOOD || (status == SCSI_CHECK && key == RECOVERED_ERROR))
            return again.left && command.write ? -1 : 0;
        if (status != SCSI_BUSY && key != UNIT_ATTENTION)
            return status < 0 ? status : -1;
    }
    return -1;
}

static int scsi_transfer(struct disk *disk, u32 lba, u32 count, void *data, int write)
{
    while (count) {
        u32 n = count < MOST_SECTORS ? count : MOST_SECTORS;
        struct scsi_command command = command_of(disk->unit, write ? WRITE_10 : READ_10);
        for (int i = 0; i < 4; i++)
            command.cdb[2 + i] = (u8)(lba >> (24 - 8 * i));
        command.cdb[7] = (u8)(n >> 8);
        command.cdb[8] = (u8)n;
        command.data = data;
        command.left = n * SECTOR;
        command.write = write;
        int error = execute(disk->unit, command);
        if (error)
            return error;
        lba += n;
        count -= n;
        data = (u8 *)data + n * SECTOR;
    }
    return 0;
}

static int scsi_flush(struct disk *disk)
{
    return execute(disk->unit, command_of(disk->unit, SYNCHRONIZE_CACHE));
}

static int inquire(int unit, u8 *answer)
{
    struct scsi_command command = command_of(unit, INQUIRY);
    command.cdb[4] = INQUIRY_BYTES;
    command.data = answer;
    command.left = INQUIRY_BYTES;
    memset(answer, 0, INQUIRY_BYTES);
    return execute(unit, command);
}

/* How many sectors; 0 if they are not of 512 bytes, or if it does not tell. */
static u32 capacity(int unit)
{
    static u8 answer[CAPACITY_BYTES];
    struct scsi_command command = command_of(unit, READ_CAPACITY);
    command.data = answer;
    command.left = CAPACITY_BYTES;
    memset(answer, 0, CAPACITY_BYTES);
    return execute(unit, command) || big_endian(answer + 4) != SECTOR ? 0 : big_endian(answer) + 1;
}

/* Vendor and product, 24 characters, trailing spaces off. */
static void copy_model(char *to, const u8 *answer)
{
    u32 n = INQUIRY_BYTES - MODEL_AT - 4;
    memcpy(to, answer + MODEL_AT, n);
    while (n && to[n - 1] == ' ')
        n--;
    to[n] = 0;
}

static void scsi_add(int unit, const u8 *answer)
{
    static char name[] = "scsi0";
    u32 sectors = answer[0] == 0 ? capacity(unit) : 0; /* a disk, and it is there */
    struct disk *disk = sectors ? disk_add(name, &scsi_driver, unit, sectors) : 0;
    if (disk) {
        copy_model(disk->model, answer);
        name[4]++;
    }
}

static void scsi_look(int add)
{
    static u8 answer[INQUIRY_BYTES];
    for (int unit = 0; unit < aic7870_count * IDS; unit++)
        if (aic7870_has(unit / IDS, (u32)unit % IDS) && !inquire(unit, answer) && add)
            scsi_add(unit, answer);
}

static void scsi_find(void)
{
    aic7870_find();
    scsi_look(1);
}

/* Whether looking for disks ended by answers and by nobody being there, not by giving up. */
static int scsi_probe_ends(void)
{
    u32 before = scsi_waits.timeouts;
    scsi_look(0);
    return scsi_waits.timeouts == before;
}

const struct disk_driver scsi_driver = {"SCSI", scsi_find, scsi_transfer, scsi_flush, scsi_probe_ends, &scsi_waits};
