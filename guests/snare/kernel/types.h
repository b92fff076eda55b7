/* Plain types, and what every file needs. */
#ifndef TYPES_H
#define TYPES_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;

#define PAGE 4096u
#define SECTOR 512u
#define PAGE_UP(x) (((u32)(x) + PAGE - 1) & ~(PAGE - 1))
#define PAGE_DOWN(x) ((u32)(x) & ~(PAGE - 1))
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* lib.c */
void *memcpy(void *to, const void *from, u32 n);
void *memmove(void *to, const void *from, u32 n);
void *memset(void *to, int value, u32 n);
int memcmp(const void *a, const void *b, u32 n);
u32 strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, u32 n);
void strcopy(char *to, const char *from, u32 room); /* cuts, always ends */
u32 number(const char *s);                          /* decimal; 0 if it is none */

#endif
