/*
 * PCI: finding a function on bus 0, and reading and writing what it tells of itself.
 *
 * Not here: bridges, and giving out addresses and interrupt lines, which firmware has done.
 *
 * Source: [PCI] PCI Local Bus Specification 2.1, §3.7.4.1 (configuration mechanism #1) and §6.1.
 */
#include "kernel.h"

enum { CONFIG_ADDRESS = 0xcf8, CONFIG_DATA = 0xcfc };
enum { SLOTS = 32, FUNCTIONS = 8, HEADER = 0x0c, MULTIFUNCTION = 0x800000 };
#define ENABLE 0x80000000u

/* A function is named by slot * 8 + its number; a register by its offset, a multiple of 4. */
u32 pci_read(u32 function, u32 offset)
{
    out32(CONFIG_ADDRESS, ENABLE | function << 8 | offset);
    return in32(CONFIG_DATA);
}

void pci_write(u32 function, u32 offset, u32 value)
{
    out32(CONFIG_ADDRESS, ENABLE | function << 8 | offset);
    out32(CONFIG_DATA, value);
}

/* The first function from `first` on that carries this identity (device << 16 | vendor), or -1. */
int pci_find(u32 identity, u32 first)
{
    out32(CONFIG_ADDRESS, ENABLE);
    if (in32(CONFIG_ADDRESS) != ENABLE) /* no PCI, or another mechanism */
        return -1;
    for (u32 function = first; function < SLOTS * FUNCTIONS; function++) {
        if (function % FUNCTIONS && !(pci_read(function & ~(FUNCTIONS - 1u), HEADER) & MULTIFUNCTION))
            continue;
        if (pci_read(function, 0) == identity)
            return (int)function;
    }
    return -1;
}
