/* The shell: reads a line, finds the command in a table, or runs the program of that name. */
#include "kernel.h"

enum { LINE = 128, MOST_TEXT = 16384 };

struct command {
    const char *name, *arguments, *help;
    void (*run)(char *arguments);
};

/* Cut the first word off: returns it, *rest goes behind it. */
static char *word(char **rest)
{
    char *s = *rest;
    while (*s == ' ')
        s++;
    char *end = s;
    while (*end && *end != ' ')
        end++;
    if (*end)
        *end++ = 0;
    while (*end == ' ')
        end++;
    *rest = end;
    return s;
}

static void say(const char *what, int error)
{
    if (error < 0)
        print("%s: %s\n", what, fs_error(error));
}

static void do_dir(char *rest)
{
    struct fs_stat stat;
    u32 n = 0, bytes = 0;
    (void)rest;
    for (; fs_list(n, &stat) == FS_OK; n++, bytes += stat.bytes)
        print("%-20s %6u\n", stat.name, stat.bytes);
    print("%u files, %u bytes; %u of %u blocks free\n", n, bytes, fs_blocks_free(), fs_blocks());
}

static void do_type(char *rest)
{
    char buffer[SECTOR];
    char *name = word(&rest);
    int file = fs_find(name, 0), n;
    say(name, file);
    for (u32 at = 0; file >= 0 && (n = fs_read(file, at, buffer, sizeof buffer)) > 0; at += (u32)n)
        for (int i = 0; i < n; i++)
            tty_put(buffer[i]);
}

/* `write NAME text` writes one line; without text lines are taken until one that is a single dot. */
static void do_write(char *rest)
{
    static char text[MOST_TEXT];
    char line[LINE];
    char *name = word(&rest);
    u32 n = 0, length;
    if (*rest) {
        n = strlen(rest);
        memcpy(text, rest, n);
        text[n++] = '\n';
    } else {
        print("End with a line that is a single dot.\n");
        while ((length = tty_read_line(line, LINE)) != ~0u && strcmp(line, ".") && n + LINE < MOST_TEXT) {
            memcpy(text + n, line, length);
            n += length;
            text[n++] = '\n';
        }
    }
    int error = fs_write(name, text, n);
    say(name, error ? error : fs_sync());
}

static void do_copy(char *rest)
{
    static char buffer[4 * MOST_TEXT];
    u32 bytes;
    char *from = word(&rest), *to = word(&rest);
    int file = fs_find(from, &bytes);
    say(from, file);
    if (file < 0)
        return;
    int error = bytes > sizeof buffer ? FS_FULL : fs_read(file, 0, buffer, bytes);
    if (error >= 0)
        error = fs_write(to, buffer, bytes);
    say(to, error ? error : fs_sync());
}

static void do_rename(char *rest)
{
    char *from = word(&rest), *to = word(&rest);
    int error = fs_rename(from, to);
    say(from, error ? error : fs_sync());
}

static void do_erase(char *rest)
{
    char *name = word(&rest);
    int error = fs_erase(name);
    say(name, error ? error : fs_sync());
}

static void run_program(const char *name, char *arguments)
{
    u32 n = strlen(arguments);
    int background = n && arguments[n - 1] == '&';
    while (background && n && (arguments[n - 1] == '&' || arguments[n - 1] == ' '))
        arguments[--n] = 0;
    int number = process_start(name, arguments, background);
    if (number == FS_BAD_NAME)
        print("%s: not a program\n", name);
    else if (number == FS_TOO_MANY || number == FS_FULL)
        print("%s: too many programs\n", name);
    else if (number < 0)
        say(name, number);
    else if (background)
        print("[%d] %s\n", number, name);
    else if ((number = process_wait(number)) > 0)
        print("%s ended with %d\n", name, number);
}

static void do_run(char *rest)
{
    char *name = word(&rest);
    run_program(name, rest);
}

static void do_mem(char *rest)
{
    extern char kernel_start[], kernel_end[];
    (void)rest;
    print("RAM above 1 MiB   %6u KiB\n", boot.upper_kib);
    print("kernel            %6u KiB at %08x\n", (u32)(kernel_end - kernel_start) / 1024, (u32)kernel_start);
    if (boot.ramdisk_bytes)
        print("RAM disk          %6u KiB at %08x\n", boot.ramdisk_bytes / 1024, boot.ramdisk);
    print("page frames       %6u, %u free\n", frames_total, frames_free);
}

static void do_ps(char *rest)
{
    (void)rest;
    print("  no name                 pages faults  calls  ticks\n");
    for (struct process *p = processes; p < processes + PROCESSES; p++)
        if (p->state == RUNNABLE)
            print("%4d %-20s %5u %6u %6u %6u\n", p->number, p->name, p->pages, p->faults, p->calls, p->ticks);
}

static void do_kill(char *rest)
{
    int n = (int)number(word(&rest));
    if (process_kill(n))
        print("kill: no such process\n");
    else if (process_wait(n) == KILLED)
        print("[%d] killed\n", n);
}

static void do_disk(char *rest)
{
    if (*rest) {
        char *name = word(&rest);
        struct disk *disk = disk_find(name);
        if (!disk)
            print("%s: no such disk\n", name);
        else
            say(name, fs_mount(disk));
        return;
    }
    for (int i = 0; i < disk_count; i++)
        print("%c %-5s %-7s %8u sectors  %s\n", fs_disk == &disks[i] ? '*' : ' ', disks[i].name, disks[i].driver->name,
              disks[i].sectors, disks[i].model);
    disks_print_waits();
}

static void do_test(char *rest)
{
    (void)rest;
    self_test();
}

static void do_measure(char *rest)
{
    (void)rest;
    measure();
}

static void do_sync(char *rest)
{
    (void)rest;
    say("sync", fs_sync());
}

static void do_clear(char *rest)
{
    (void)rest;
    screen_clear();
}

static void do_reboot(char *rest)
{
    (void)rest;
    fs_sync();
    reboot();
}

static void do_halt(char *rest)
{
    fs_sync();
    print("Halted.\n");
    leave((u8)number(rest));
    stop();
}

static void do_help(char *rest);

static const struct command commands[] = {
    {"help", "", "this list", do_help},
    {"dir", "", "the files", do_dir},
    {"type", "FILE", "show a file", do_type},
    {"write", "FILE [TEXT]", "write a file: one line, or lines up to a dot", do_write},
    {"copy", "FROM TO", "copy a file", do_copy},
    {"rename", "FROM TO", "give a file another name", do_rename},
    {"erase", "FILE", "remove a file", do_erase},
    {"run", "PROGRAM [ARGS] [&]", "run a program; with & in the background", do_run},
    {"ps", "", "the processes", do_ps},
    {"kill", "NUMBER", "end a process", do_kill},
    {"mem", "", "what memory is used for", do_mem},
    {"disk", "[NAME]", "the disks; use another one", do_disk},
    {"measure", "", "read and write the disk, for `trapline compare --disk-paths`", do_measure},
    {"sync", "", "have the disk write all it keeps", do_sync},
    {"test", "", "run the self-test", do_test},
    {"clear", "", "clear the screen", do_clear},
    {"reboot", "", "start again", do_reboot},
    {"halt", "[N]", "stop; N for the exit port", do_halt},
};

static void do_help(char *rest)
{
    (void)rest;
    for (u32 i = 0; i < COUNT(commands); i++)
        print("%-7s%-19s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    print("The name of a program runs it. Ctrl-C ends it.\n");
}

static void execute(char *line)
{
    char *name = word(&line);
    if (!*name)
        return;
    for (u32 i = 0; i < COUNT(commands); i++)
        if (!strcmp(name, commands[i].name)) {
            commands[i].run(line);
            return;
        }
    if (fs_find(name, 0) >= 0)
        run_program(name, line);
    else
        print("%s: no such command or program; `help` lists commands, `dir` files\n", name);
}

void shell(void)
{
    char line[LINE];
    for (;;) {
        process_reap();
        print("snare> ");
        if (tty_read_line(line, LINE) == ~0u)
            tty_put('\n');
        else
            execute(line);
    }
}
