/* The keyboard behind the 8042: scan codes of set 1 to characters. */
#include "kernel.h"

enum { DATA = 0x60, STATUS = 0x64, COMMAND = 0x64, HAS_DATA = 1, IS_BUSY = 2, FROM_MOUSE = 0x20 };
enum { SELF_TEST = 0xaa, TEST_KEYBOARD_PORT = 0xab, ENABLE_KEYBOARD = 0xae, WRITE_CONFIG = 0x60 };
enum { CONFIG = 0x65 }; /* interrupt, tested, mouse off, codes translated to set 1 */
enum { CONTROL = 0x1d, SHIFT_LEFT = 0x2a, SHIFT_RIGHT = 0x36, CAPS = 0x3a, RELEASED = 0x80, PREFIX = 0xe0 };
enum { ANSWER_MS = 500 };

int keyboard_test = -1, keyboard_port_test = -1;

static const char plain[] = "\0\0331234567890-=\b\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] = "\0\033!@#$%^&*()_+\b\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

static void send(u16 port, u8 value)
{
    struct deadline end;
    deadline_in(&end, ANSWER_MS);
    while (in8(STATUS) & IS_BUSY && !deadline_passed(&end))
        ;
    out8(port, value);
}

static int answer(void)
{
    struct deadline end;
    deadline_in(&end, ANSWER_MS);
    while (!(in8(STATUS) & HAS_DATA))
        if (deadline_passed(&end))
            return -1;
    return in8(DATA);
}

void keyboard_init(void)
{
    for (int i = 0; i < 32 && in8(STATUS) & HAS_DATA; i++)
        in8(DATA);
    send(COMMAND, SELF_TEST);
    keyboard_test = answer();
    send(COMMAND, TEST_KEYBOARD_PORT);
    keyboard_port_test = answer();
    send(COMMAND, WRITE_CONFIG);
    send(DATA, CONFIG);
    send(COMMAND, ENABLE_KEYBOARD);
    irq_unmask(1);
}

static void key(u8 code)
{
    static int shift, control, caps, prefixed;
    int down = !(code & RELEASED), was_prefixed = prefixed;
    prefixed = code == PREFIX;
    code &= (u8)~RELEASED;
    if (code == CONTROL)
        control = down;
    else if ((code == SHIFT_LEFT || code == SHIFT_RIGHT) && !was_prefixed)
        shift = down;
    else if (code == CAPS && down)
        caps = !caps;
    else if (down && code < sizeof plain - 1 && !(was_prefixed && code != 0x1c && code != 0x35)) {
        char c = shift ? shifted[code] : plain[code];
        if (caps && (c | 0x20) >= 'a' && (c | 0x20) <= 'z')
            c ^= 0x20;
        if (control)
            c &= 0x1f;
        if (c)
            tty_type(c);
    }
}

void keyboard_interrupt(void)
{
    u8 status;
    for (int i = 0; i < 64 && (status = in8(STATUS)) & HAS_DATA; i++) {
        u8 code = in8(DATA);
        if (!(status & FROM_MOUSE))
            key(code);
    }
}
