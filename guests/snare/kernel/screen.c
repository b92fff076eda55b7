/*
 * The VGA's text screen, 80 by 25.
 *
 * Its memory has room for six screens. To scroll, the adapter is told to begin a line further down;
 * only when the end of the memory is reached, the screen is copied back to the beginning.
 */
#include "kernel.h"

enum { WIDTH = 80, HEIGHT = 25, CELLS = 16384, CRTC = 0x3d4 };
enum { START_HIGH = 0x0c, START_LOW, CURSOR_HIGH, CURSOR_LOW };

static volatile u16 *const cells = (u16 *)0xb8000;
static u32 start, at; /* the first cell shown, and the next to be written */
static u8 colour = 0x07;

static void set_register_pair(u8 high, u32 value)
{
    out8(CRTC, high);
    out8(CRTC + 1, (u8)(value >> 8));
    out8(CRTC, high + 1);
    out8(CRTC + 1, (u8)value);
}

void screen_cursor(void)
{
    set_register_pair(CURSOR_HIGH, at);
}

void screen_colour(u8 attribute)
{
    colour = attribute;
}

static void blank(u32 from, u32 count)
{
    while (count--)
        cells[from++] = (u16)(colour << 8 | ' ');
}

void screen_clear(void)
{
    start = at = 0;
    blank(0, WIDTH * HEIGHT);
    set_register_pair(START_HIGH, start);
    screen_cursor();
}

static void scroll(void)
{
    start += WIDTH;
    if (start + WIDTH * HEIGHT > CELLS) {
        for (u32 i = 0; i < WIDTH * (HEIGHT - 1); i++)
            cells[i] = cells[start + i];
        at -= start;
        start = 0;
    }
    blank(start + WIDTH * (HEIGHT - 1), WIDTH);
    set_register_pair(START_HIGH, start);
}

void screen_put(char c)
{
    u32 column = (at - start) % WIDTH;
    if (c == '\n')
        at += WIDTH - column;
    else if (c == '\r')
        at -= column;
    else if (c == '\b')
        at -= column != 0;
    else if (c == '\t')
        at += 8 - column % 8;
    else
        cells[at++] = (u16)(colour << 8 | (u8)c);
    if (at >= start + WIDTH * HEIGHT)
        scroll();
}
