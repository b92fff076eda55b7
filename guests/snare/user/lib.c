/* The few functions that programs share. */
#include "snare.h"

void *memset(void *to, int value, u32 n)
{
    u8 *t = to;
    while (n--)
        *t++ = (u8)value;
    return to;
}

void put(const char *text)
{
    u32 n = 0;
    while (text[n])
        n++;
    system_call(WRITE, text, n);
}

void put_number(u32 n)
{
    char digits[11];
    int at = sizeof digits - 1;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    put(digits + at);
}

int compare(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a - *b;
}
