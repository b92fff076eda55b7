/* print(): a small printf to the console. */
#include "kernel.h"

#include <stdarg.h>

static void put_number(u32 value, u32 base, int width, char fill)
{
    char digits[12];
    int n = 0;
    do
        digits[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    for (; width > n; width--)
        tty_put(fill);
    while (n)
        tty_put(digits[--n]);
}

/* A negative width pads on the right. */
static void put_string(const char *s, int width)
{
    int n = (int)strlen(s);
    while (*s)
        tty_put(*s++);
    for (; -width > n; width++)
        tty_put(' ');
}

void print(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    for (; *format; format++) {
        if (*format != '%') {
            tty_put(*format);
            continue;
        }
        int left = *++format == '-';
        format += left;
        char fill = *format == '0' ? '0' : ' ';
        int width = 0;
        while (*format >= '0' && *format <= '9')
            width = width * 10 + *format++ - '0';
        i32 value;
        switch (*format) {
        case 'd':
            value = va_arg(list, i32);
            if (value < 0)
                tty_put('-');
            put_number(value < 0 ? -(u32)value : (u32)value, 10, width, fill);
            break;
        case 'u':
            put_number(va_arg(list, u32), 10, width, fill);
            break;
        case 'x':
            put_number(va_arg(list, u32), 16, width, fill);
            break;
        case 's':
            put_string(va_arg(list, const char *), left ? -width : width);
            break;
        case 'c':
            tty_put((char)va_arg(list, int));
            break;
        default:
            tty_put(*format);
        }
    }
    va_end(list);
}
