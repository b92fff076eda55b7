/* What the files of the kernel offer each other, by file. */
#ifndef KERNEL_H
#define KERNEL_H

#include "machine.h"
#include "trap.h"
#include "types.h"

/* main.c: what the loader told. */
struct boot_info {
    u32 upper_kib;      /* RAM from 1 MiB on without a hole */
    u32 map_kib;        /* RAM above 1 MiB of the memory map; 0 if there was no map */
    u32 ramdisk, ramdisk_bytes;
    char command_line[64];
};
extern struct boot_info boot;
int boot_option(const char *word); /* is it on the command line? */
void panic(const char *why) __attribute__((noreturn));

/* print.c: %d %u %x %s %c, a width and a leading 0. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* screen.c, serial.c, keyboard.c: the two ends of the console. */
void screen_put(char c);
void screen_clear(void);
void screen_cursor(void); /* show where the next character goes */
void screen_colour(u8 attribute);
void serial_init(void);
void serial_put(char c);
void serial_interrupt(void);
void keyboard_init(void);
void keyboard_interrupt(void);
extern int keyboard_test, keyboard_port_test; /* what the controller answered; -1: nothing */

/* tty.c: the console. */
enum { INTERRUPT_KEY = 3 }; /* Ctrl-C */
extern int tty_muted; /* nothing is shown: the self-test runs programs */
void tty_put(char c);
void tty_type(char c); /* a character has come in */
u32 tty_read_line(char *line, u32 room);

/* clock.c: the timer, and waits that end. */
#define HZ 100
extern volatile u32 ticks, user_ticks;
extern int clock_runs; /* timer interrupts have been seen to come */
struct deadline {
    u32 counts, polls, end_tick;
    u16 last;
};
void clock_init(void);
void clock_interrupt(struct frame *frame);
u16 timer_count(void);
void deadline_in(struct deadline *deadline, u32 ms);
int deadline_passed(struct deadline *deadline);
void wait_idle(void); /* let others run, or sleep */

/* mem.c: page frames and page tables. */
enum { PRESENT = 1, WRITABLE = 2, USER = 4, ACCESSED = 0x20, DIRTY = 0x40 };
#define USER_BASE 0x40000000u
#define USER_TOP 0x50000000u
#define STACK_PAGES 16
#define TEST_WINDOW 0x30000000u /* addresses for the self-test to map */
#define MAPPED_LIMIT 0x04000000u /* RAM beyond 64 MiB is not used */
extern u32 *kernel_directory;
extern u32 frames_total, frames_free;
void mem_init(void);
u32 frame_alloc(void); /* zeroed; 0: none left */
void frame_free(u32 frame);
u32 *directory_new(void);
void directory_free(u32 *directory);
volatile u32 *page_entry(u32 *directory, u32 address, int make);
int page_map(u32 *directory, u32 address, u32 frame, u32 flags);

/* pci.c: a function is slot * 8 + number. */
u32 pci_read(u32 function, u32 offset);
void pci_write(u32 function, u32 offset, u32 value);
int pci_find(u32 identity, u32 first); /* -1: none */

/* block.c, ide.c, scsi.c, aic7870.c: disks. */
struct disk_waits {
    u32 interrupts, missed, timeouts; /* that came; that were waited for in vain; steps that did not end */
};
struct disk {
    char name[6];
    u32 sectors;
    int unit;
    const struct disk_driver *driver;
    char model[41];
};
struct disk_driver {
    const char *name;
    void (*find)(void); /* calls disk_add() for each disk */
    int (*transfer)(struct disk *disk, u32 lba, u32 count, void *data, int write);
    int (*flush)(struct disk *disk);
    int (*probe_ends)(void);  /* look again, add nothing: 0 if it had to give up; may be missing */
    struct disk_waits *waits; /* may be missing too */
};
extern struct disk disks[];
extern int disk_count;
struct disk *disk_add(const char *name, const struct disk_driver *driver, int unit, u32 sectors);
void disks_init(void);
struct disk *disk_find(const char *name);
int disk_read(struct disk *disk, u32 lba, u32 count, void *data); /* 0, or negative */
int disk_write(struct disk *disk, u32 lba, u32 count, const void *data);
int disk_flush(struct disk *disk);
struct disk_waits disks_waits(void);
int disks_probe_ends(void);
void disks_print_waits(void);
extern const struct disk_driver ide_driver, scsi_driver, ring_driver; /* the last in para/ */
extern struct disk_waits scsi_waits;
void ide_interrupt(int channel);
void aic7870_interrupt(int irq);

/* fs.c: files. See there for what the errors are. */
#define NAME_BYTES 20
enum { FS_OK = 0, FS_NO_FILE = -1, FS_FULL = -2, FS_BAD_NAME = -3, FS_DISK = -4, FS_NO_FS = -5, FS_TOO_MANY = -6,
       FS_BUSY = -7 };
struct fs_stat {
    char name[NAME_BYTES];
    u32 bytes;
};
extern struct disk *fs_disk;
int fs_mount(struct disk *disk);
int fs_mount_any(void);
int fs_list(u32 index, struct fs_stat *stat); /* FS_NO_FILE after the last */
int fs_find(const char *name, u32 *bytes);    /* a handle for fs_read */
int fs_read(int file, u32 offset, void *to, u32 bytes);
int fs_write(const char *name, const void *from, u32 bytes); /* replaces */
int fs_erase(const char *name);
int fs_rename(const char *from, const char *to);
int fs_sync(void);
u32 fs_blocks_free(void), fs_blocks(void);
u32 fs_scratch_sector(void);
const char *fs_error(int error);

/* proc.c: processes. */
enum { PROCESSES = 8, KERNEL_STACK = 8192, KILLED = -256 };
enum state { UNUSED, RUNNABLE, ENDED };
struct process {
    enum state state;
    int number;
    char name[NAME_BYTES];
    char arguments[64];
    u32 *directory, *stack;         /* of its page tables; where its kernel stack ended */
    int file;
    u32 file_bytes, memory_bytes, data_offset; /* of the program: see proc.c */
    u32 pages, faults, ticks, calls;
    u32 catcher;                    /* where a fault goes instead of ending it */
    int background, kill;
    int code;                       /* what it ended with, or minus the vector of the fault */
};
extern struct process processes[], *current;
void processes_init(void);
int process_start(const char *name, const char *arguments, int background); /* number, or an FS error */
struct process *process_by_number(int number); /* 0: none */
int process_wait(int number);
int process_kill(int number);
enum { ANY_FILE = -1 };
int process_uses(int file); /* does one run from it? */
void process_reap(void); /* say what background processes ended with */
void process_exit(int code) __attribute__((noreturn));
int process_page_in(u32 address, int write);
int user_range(u32 address, u32 bytes, int write); /* paged in and allowed? */
void yield(void);
int others_runnable(void);

/* syscall.c */
enum { REPORTS = 64 };
extern u32 reports[REPORTS];
void system_call(struct frame *frame);

/* shell.c, selftest/ */
void shell(void) __attribute__((noreturn));
int self_test(void); /* the number of failures */
void measure(void);  /* reads and writes the disk in use */

#endif
