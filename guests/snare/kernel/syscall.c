/*
 * System calls: INT 80h, the number in EAX, arguments in EBX, ECX and EDX, the result in EAX. A
 * negative result is an error. Pointers are checked; a bad one gives -1. docs/guide/snare.md has
 * the table for those who write programs, user/snare.h the C side.
 */
#include "kernel.h"

u32 reports[REPORTS];

static int call_exit(u32 code, u32 unused, u32 unused2)
{
    (void)unused, (void)unused2;
    process_exit((int)(code & 255));
}

static int call_write(u32 from, u32 bytes, u32 unused)
{
    (void)unused;
    if (!user_range(from, bytes, 0))
        return -1;
    for (u32 i = 0; i < bytes; i++)
        tty_put(((char *)from)[i]);
    return (int)bytes;
}

/* A line from the console. A program in the background finds nothing there. */
static int call_read_line(u32 to, u32 room, u32 unused)
{
    (void)unused;
    if (room < 1 || !user_range(to, room, 1))
        return -1;
    return current->background ? -1 : (int)tty_read_line((char *)to, room);
}

static int call_arguments(u32 to, u32 room, u32 unused)
{
    (void)unused;
    if (room < 1 || !user_range(to, room, 1))
        return -1;
    strcopy((char *)to, current->arguments, room);
    return (int)strlen((char *)to);
}

static int copy_name(char *name, u32 from)
{
    for (u32 i = 0; i < NAME_BYTES; i++) {
        if (!user_range(from + i, 1, 0))
            return -1;
        name[i] = ((char *)from)[i];
        if (!name[i])
            return 0;
    }
    return -1;
}

/* Read a whole file: its size, of which no more than `room` bytes are copied. */
static int call_load(u32 name_at, u32 to, u32 room)
{
    char name[NAME_BYTES];
    u32 bytes;
    if (copy_name(name, name_at) || !user_range(to, room, 1))
        return -1;
    int file = fs_find(name, &bytes);
    if (file < 0)
        return -1;
    return fs_read(file, 0, (void *)to, bytes < room ? bytes : room) < 0 ? -1 : (int)bytes;
}

static int call_store(u32 name_at, u32 from, u32 bytes)
{
    char name[NAME_BYTES];
    if (copy_name(name, name_at) || !user_range(from, bytes, 0))
        return -1;
    int error = fs_write(name, (void *)from, bytes);
    return error ? error : fs_sync();
}

/* 0: timer interrupts so far; 1: those that came in ring 3; 2: the timer's counter, running down. */
static int call_ticks(u32 which, u32 unused, u32 unused2)
{
    (void)unused, (void)unused2;
    return (int)(which == 0 ? ticks : which == 1 ? user_ticks : timer_count());
}

static int call_number(u32 unused, u32 unused2, u32 unused3)
{
    (void)unused, (void)unused2, (void)unused3;
    return current->number;
}

static int call_yield(u32 unused, u32 unused2, u32 unused3)
{
    (void)unused, (void)unused2, (void)unused3;
    yield();
    return 0;
}

/* The next fault goes to `handler`, with vector, error code and address in EAX, EDX, ECX; 0: to nobody. */
static int call_catch(u32 handler, u32 unused, u32 unused2)
{
    (void)unused, (void)unused2;
    current->catcher = handler;
    return 0;
}

/* For programs of the self-test: leave a value. */
static int call_report(u32 index, u32 value, u32 unused)
{
    (void)unused;
    if (index >= REPORTS)
        return -1;
    reports[index] = value;
    return 0;
}

static int (*const calls[])(u32, u32, u32) = {
    call_exit, call_write, call_read_line, call_arguments, call_load,   call_store,
    call_ticks, call_number, call_yield, call_catch, call_report,
};

void system_call(struct frame *frame)
{
    irq_on();
    current->calls++;
    frame->eax = frame->eax < COUNT(calls) ? (u32)calls[frame->eax](frame->ebx, frame->ecx, frame->edx) : ~0u;
}
