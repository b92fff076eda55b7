/*
 * Work for the processor: counts primes by sieve, sorts numbers, and says whether both came out right.
 * An argument says how many times.
 */
#include "snare.h"

enum { LIMIT = 100000, PRIMES_BELOW_LIMIT = 9592, NUMBERS = 2000 };

static u8 composite[LIMIT];
static u32 numbers[NUMBERS];

static u32 count_primes(void)
{
    u32 count = 0;
    memset(composite, 0, sizeof composite);
    for (u32 n = 2; n < LIMIT; n++) {
        if (composite[n])
            continue;
        count++;
        for (u32 m = 2 * n; m < LIMIT; m += n)
            composite[m] = 1;
    }
    return count;
}

/* Shell sort of what a linear congruential generator gives. */
static int sort(void)
{
    u32 x = 1;
    for (u32 i = 0; i < NUMBERS; i++)
        numbers[i] = x = x * 1664525 + 1013904223;
    for (u32 gap = NUMBERS / 2; gap; gap /= 2)
        for (u32 i = gap; i < NUMBERS; i++) {
            u32 n = numbers[i], j = i;
            for (; j >= gap && numbers[j - gap] > n; j -= gap)
                numbers[j] = numbers[j - gap];
            numbers[j] = n;
        }
    for (u32 i = 1; i < NUMBERS; i++)
        if (numbers[i - 1] > numbers[i])
            return 0;
    return 1;
}

int main(void)
{
    char text[16];
    u32 times = 0, primes = 0, sorted = 0;
    system_call(ARGUMENTS, text, sizeof text);
    for (const char *s = text; *s >= '0' && *s <= '9'; s++)
        times = times * 10 + (u32)(*s - '0');
    do {
        primes = count_primes();
        sorted = (u32)sort();
    } while (times > 1 && --times);
    put_number(primes);
    put(" primes below ");
    put_number(LIMIT);
    put(sorted ? ", sorted\n" : ", not sorted\n");
    return primes != PRIMES_BELOW_LIMIT || !sorted;
}
