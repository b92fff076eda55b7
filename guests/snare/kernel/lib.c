/* Memory and strings. gcc may call the mem functions on its own. */
#include "types.h"

void *memcpy(void *to, const void *from, u32 n)
{
    u8 *t = to;
    const u8 *f = from;
    while (n--)
        *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, u32 n)
{
    u8 *t = to;
    const u8 *f = from;
    if (t <= f)
        return memcpy(to, from, n);
    while (n--)
        t[n] = f[n];
    return to;
}

void *memset(void *to, int value, u32 n)
{
    u8 *t = to;
    while (n--)
        *t++ = (u8)value;
    return to;
}

int memcmp(const void *a, const void *b, u32 n)
{
    const u8 *x = a, *y = b;
    for (; n--; x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

u32 strlen(const char *s)
{
    u32 n = 0;
    while (s[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, u32 n)
{
    for (; n; n--, a++, b++)
        if (*a != *b || !*a)
            return (u8)*a - (u8)*b;
    return 0;
}

void strcopy(char *to, const char *from, u32 room)
{
    while (--room && *from)
        *to++ = *from++;
    *to = 0;
}

u32 number(const char *s)
{
    u32 n = 0;
    while (*s >= '0' && *s <= '9')
        n = n * 10 + (u32)(*s++ - '0');
    return n;
}
