/* For programs: the system calls of Snare (kernel/syscall.c), and what every program needs. */
#ifndef SNARE_H
#define SNARE_H

typedef unsigned char u8;
typedef unsigned int u32;

enum { EXIT, WRITE, READ_LINE, ARGUMENTS, LOAD, STORE, TICKS, NUMBER, YIELD, CATCH, REPORT };

int system_call(int number, ...);

void *memset(void *to, int value, u32 n);
void put(const char *text);
void put_number(u32 n);
int compare(const char *a, const char *b);

#endif
