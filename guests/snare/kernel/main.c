/* From the loader to the shell. */
#include "kernel.h"

struct boot_info boot;

extern char kernel_end[];

/* [MB] §3.3; only what is used here. */
enum { MULTIBOOT = 0x2badb002, HAS_MEMORY = 1, HAS_COMMAND_LINE = 4, HAS_MODULES = 8, HAS_MAP = 0x40 };
struct multiboot {
    u32 flags, lower_kib, upper_kib, boot_device, command_line, module_count, modules, symbols[4], map_bytes, map;
};
struct module {
    u32 start, end, text, reserved;
};
struct map_entry {
    u32 size, base, base_high, length, length_high, type;
} __attribute__((packed));
enum { MAP_RAM = 1 };

static void read_map(const struct multiboot *info)
{
    for (u32 at = info->map; at < info->map + info->map_bytes;) {
        const struct map_entry *entry = (const void *)at;
        if (entry->type == MAP_RAM && !entry->base_high && entry->base >= 0x100000)
            boot.map_kib += entry->length / 1024;
        at += entry->size + 4;
    }
}

/* Take what is needed before anything is written over, last the RAM disk, which goes right behind the kernel. */
static void take_boot_info(const struct multiboot *info)
{
    if (info->flags & HAS_MEMORY)
        boot.upper_kib = info->upper_kib;
    if (info->flags & HAS_MAP)
        read_map(info);
    if (info->flags & HAS_COMMAND_LINE)
        strcopy(boot.command_line, (const char *)info->command_line, sizeof boot.command_line);
    if (info->flags & HAS_MODULES && info->module_count) {
        struct module module = *(const struct module *)info->modules;
        boot.ramdisk = PAGE_UP(kernel_end);
        boot.ramdisk_bytes = module.end - module.start;
        memmove((void *)boot.ramdisk, (const void *)module.start, boot.ramdisk_bytes);
    }
}

int boot_option(const char *option)
{
    u32 n = strlen(option);
    for (const char *s = boot.command_line; *s; s++)
        if (!strncmp(s, option, n) && (s == boot.command_line || s[-1] == ' ') && (s[n] == 0 || s[n] == ' '))
            return 1;
    return 0;
}

void panic(const char *why)
{
    irq_off();
    print("panic: %s\n", why);
    if (boot_option("exit"))
        leave(2);
    stop();
}

void kernel_main(u32 magic, const struct multiboot *info)
{
    machine_init();
    screen_clear();
    serial_init();
    if (magic != MULTIBOOT)
        panic("not started by a Multiboot loader");
    take_boot_info(info);
    mem_init();
    processes_init();
    clock_init();
    keyboard_init();
    irq_on();
    print("Snare, a single-user system\n");
    disks_init();
    if (fs_mount_any() != FS_OK)
        print("No disk with a file system was found, and no RAM disk was given.\n");
    int failed = boot_option("notest") ? 0 : self_test();
    if (boot_option("exit"))
        leave(failed != 0);
    shell();
}
