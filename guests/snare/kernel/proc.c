/*
 * Processes. Number 0 is the kernel's own, which runs the shell; the others run a program in ring 3.
 *
 * A program file (user/user.ld makes it) begins with struct program. The file lies at USER_BASE,
 * byte for byte: its pages up to `data` are read-only, those from there on writable, and zeros
 * follow up to `memory_bytes`. The stack grows down from USER_TOP. Nothing of all this is there when
 * the program starts: process_page_in() brings each page when it is first touched.
 *
 * The kernel is never preempted: yield() is called by a process that waits, and by trap() when the
 * timer interrupts ring 3. Each process has a kernel stack for its traps.
 */
#include "kernel.h"

struct program {
    char magic[4];
    u32 entry, data, file_bytes, memory_bytes;
};

struct process processes[PROCESSES], *current = processes;
static u8 stacks[PROCESSES][KERNEL_STACK] __attribute__((aligned(16)));
static int last_number;

void switch_stacks(u32 **save, u32 *load);

static void name_process(struct process *p, const char *name, const char *arguments)
{
    strcopy(p->name, name, sizeof p->name);
    strcopy(p->arguments, arguments, sizeof p->arguments);
}

void processes_init(void)
{
    processes[0].state = RUNNABLE;
    processes[0].directory = kernel_directory;
    processes[0].background = 1;
    name_process(&processes[0], "shell", "");
}

static int is_program(const struct program *p, u32 bytes)
{
    return !memcmp(p->magic, "SNX1", 4) && p->file_bytes == bytes && p->data % PAGE == 0 && p->data >= PAGE &&
           p->memory_bytes >= bytes && p->memory_bytes <= USER_TOP - USER_BASE - 2 * STACK_PAGES * PAGE &&
           p->entry >= USER_BASE && p->entry < USER_BASE + bytes;
}

static struct process *free_process(void)
{
    for (struct process *p = processes + 1; p < processes + PROCESSES; p++)
        if (p->state == UNUSED)
            return p;
    return 0;
}

/* The kernel stack as if the program had just been interrupted at its entry: trap_return starts it. */
static void prepare_stack(struct process *p, u32 entry)
{
    u8 *top = stacks[p - processes] + KERNEL_STACK;
    struct frame *frame = (struct frame *)(top - sizeof *frame);
    memset(frame, 0, sizeof *frame);
    frame->ds = frame->es = frame->fs = frame->gs = frame->ss = USER_DATA;
    frame->cs = USER_CODE;
    frame->eip = entry;
    frame->eflags = FLAG_IF | 2;
    frame->esp = USER_TOP - 16;
    u32 *stack = (u32 *)frame;
    *--stack = (u32)trap_return; /* where switch_stacks() returns to */
    stack -= 4;                  /* edi, esi, ebx, ebp */
    memset(stack, 0, 16);
    p->stack = stack;
}

int process_start(const char *name, const char *arguments, int background)
{
    struct program program;
    u32 bytes;
    int file = fs_find(name, &bytes);
    if (file < 0)
        return file;
    if (fs_read(file, 0, &program, sizeof program) != sizeof program || !is_program(&program, bytes))
        return FS_BAD_NAME;
    struct process *p = free_process();
    if (!p)
        return FS_TOO_MANY;
    memset(p, 0, sizeof *p);
    p->directory = directory_new();
    if (!p->directory)
        return FS_FULL;
    name_process(p, name, arguments);
    p->number = ++last_number;
    p->file = file;
    p->file_bytes = bytes;
    p->memory_bytes = program.memory_bytes;
    p->data_offset = program.data;
    p->background = background;
    prepare_stack(p, program.entry);
    p->state = RUNNABLE;
    return p->number;
}

int others_runnable(void)
{
    for (struct process *p = processes; p < processes + PROCESSES; p++)
        if (p != current && p->state == RUNNABLE)
            return 1;
    return 0;
}

/* Let the next runnable process go on, in turn; come back when it is this one's turn again. */
void yield(void)
{
    u32 flags = irq_save();
    struct process *from = current, *to = current;
    do
        to = to + 1 < processes + PROCESSES ? to + 1 : processes;
    while (to->state != RUNNABLE && to != from);
    if (to != from) {
        current = to;
        set_kernel_stack((u32)(stacks[to - processes] + KERNEL_STACK));
        use_page_directory(to->directory);
        switch_stacks(&from->stack, to->stack);
    }
    irq_restore(flags);
}

/* The memory goes back at once; the entry stays until somebody has asked what the end was. */
void process_exit(int code)
{
    irq_off();
    struct process *p = current;
    u32 *directory = p->directory;
    use_page_directory(kernel_directory);
    p->directory = kernel_directory;
    directory_free(directory);
    p->code = code;
    p->state = ENDED;
    for (;;)
        yield();
}

struct process *process_by_number(int number)
{
    for (struct process *p = processes + 1; p < processes + PROCESSES; p++)
        if (p->state != UNUSED && p->number == number)
            return p;
    return 0;
}

int process_kill(int number)
{
    struct process *p = process_by_number(number);
    if (p)
        p->kill = 1;
    return p ? 0 : -1;
}

int process_uses(int file)
{
    for (struct process *p = processes + 1; p < processes + PROCESSES; p++)
        if (p->state == RUNNABLE && (file == ANY_FILE || p->file == file))
            return 1;
    return 0;
}

/* Wait for the end of a process, and return its code. */
int process_wait(int number)
{
    struct process *p = process_by_number(number);
    while (p->state == RUNNABLE)
        wait_idle();
    p->state = UNUSED;
    return p->code;
}

void process_reap(void)
{
    for (struct process *p = processes + 1; p < processes + PROCESSES; p++)
        if (p->state == ENDED) {
            print("[%d] %s ended, %d\n", p->number, p->name, p->code);
            p->state = UNUSED;
        }
}

/* Demand paging: bring in the page of the running program that holds `address`. 0 if it has none there. */
int process_page_in(u32 address, int write)
{
    struct process *p = current;
    u32 page = PAGE_DOWN(address), offset = page - USER_BASE, flags = USER | WRITABLE;
    int from_file = page >= USER_BASE && offset < p->file_bytes;
    int is_memory = page >= USER_BASE && offset < PAGE_UP(p->memory_bytes);
    int is_stack = page < USER_TOP && page >= USER_TOP - STACK_PAGES * PAGE;
    if (p == processes || !(is_memory || is_stack))
        return 0;
    if (from_file && offset < p->data_offset) {
        flags = USER;
        if (write)
            return 0;
    }
    u32 frame = frame_alloc();
    if (!frame)
        return 0;
    if ((from_file && fs_read(p->file, offset, (void *)frame, PAGE) < 0) || !page_map(p->directory, page, frame, flags)) {
        frame_free(frame);
        return 0;
    }
    p->pages++;
    p->faults++;
    return 1;
}

/* For system calls: may the program use these bytes? Brings them in, so that the kernel cannot fault there. */
int user_range(u32 address, u32 bytes, int write)
{
    if (address < USER_BASE || address > USER_TOP || bytes > USER_TOP - address)
        return 0;
    for (u32 page = PAGE_DOWN(address); page < address + bytes; page += PAGE) {
        volatile u32 *entry = page_entry(current->directory, page, 0);
        if (!entry || !(*entry & PRESENT)) {
            if (!process_page_in(page, write))
                return 0;
        } else if (write && !(*entry & WRITABLE)) {
            return 0;
        }
    }
    return 1;
}
