"""Sequences of accesses that mean something to a chip, now and then a bit wrong.

A board plays them straight to its buses, a boot sector as instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple


class Step(NamedTuple):
    """One access: a write of `value`, or a read; of memory if the address is no port."""

    address: int
    value: int | None = None
    size: int = 1


Sequence = Callable[[Random], list[Step]]
WINDOW: Final = 0xA0000
WINDOW_BYTES: Final = 0x20000
DISPLAY_FUNCTION: Final = 0x80001000
FDC_COMMANDS: Final = (  # with their parameters
    (0x46, 8), (0x66, 8), (0xE6, 8), (0x45, 8), (0xC5, 8), (0x42, 8), (0x4A, 1), (0x4D, 5), (0x56, 8),
    (0x0F, 2), (0x8F, 2), (0xCF, 2), (0x07, 1), (0x08, 0), (0x03, 2), (0x04, 1), (0x10, 0), (0x0E, 0),
    (0x12, 1), (0x13, 3), (0x14, 0), (0x94, 0), (0x16, 8), (0x49, 8), (0x4C, 8), (0x51, 8), (0x18, 0),
)  # fmt: skip
DISPI_SIZES: Final = (0, 1, 2, 7, 8, 320, 639, 640, 1024, 1600, 2559, 2560, 2561, 4096, 0x7FFF, 0xFFFF)
DISPI_BITS: Final = (0, 1, 4, 8, 15, 16, 24, 32, 33, 0xFFFF)
DISPI_ENABLE: Final = (0, 1, 0x41, 0xC1, 0x61, 0x43, 0x02, 0x81, 0xFFFF)
VGA_MISC: Final = (0x63, 0x67, 0xE3, 0xEB, 0x00, 0xFF)
VGA_GRAPHICS_MODES: Final = (0x00, 0x01, 0x02, 0x03, 0x0A, 0x0B, 0x10, 0x20, 0x40, 0x48, 0xFF)
BAR_VALUES: Final = (
    0,
    0xFFFFFFFF,
    0xE0000000,
    0xE0000008,
    0xA0000,
    0xF0000,
    0x100000,
    0xFEC00000,
    0xFF000000,
)


def odd(rng: Random, *sensible: int) -> int:
    """One of these, or seldom any byte."""
    return rng.randrange(256) if rng.random() < 0.15 else rng.choice(sensible)


def floppy(rng: Random) -> list[Step]:
    """Commands with their parameters, by DMA or PIO, to drives that may not exist, reset half-way."""
    dor = odd(rng, 0x1C, 0x14, 0x2D, 0x1E, 0x4B, 0x8F)
    steps = [Step(0x3F2, odd(rng, dor & ~4)), Step(0x3F2, dor), Step(0x3F7, odd(rng, 0, 1, 2, 3))]
    for _ in range(rng.randrange(1, 4)):
        command, parameters = rng.choice(FDC_COMMANDS)
        stop_at = rng.randrange(parameters + 1) if rng.random() < 0.15 else -1
        steps.append(Step(0x3F5, command))
        for number in range(parameters):
            steps.append(Step(0x3F5, odd(rng, 0, 1, 2, 4, 18, 0xFF)))
            if number == stop_at:
                steps += [Step(0x3F2, 0), Step(0x3F2, dor)] if rng.random() < 0.5 else [Step(0x3F4, 0x80)]
        for _ in range(rng.choice((1, 7, 30, 520))):
            steps.append(Step(0x3F5, odd(rng, 0, 0xFF)) if rng.random() < 0.3 else Step(0x3F5))
        steps += [Step(0x3F4), Step(0x3F7)]
    return steps


def dma(rng: Random) -> list[Step]:
    """A channel of either controller in any mode, cascade and memory to memory among them."""
    second = rng.random() < 0.4
    base, stride = (0xC0, 2) if second else (0, 1)
    channel = rng.randrange(4)
    control = base + 8 * stride
    steps = [Step(control, odd(rng, 0, 1, 3, 4, 0x10)), Step(control + 4 * stride, 0)]
    steps.append(Step(control + 3 * stride, rng.randrange(64) << 2 | channel))
    addressing = (2 * channel, 2 * channel, 2 * channel + 1, 2 * channel + 1)
    steps += [Step(base + register * stride, odd(rng, 0, 1, 0xFF)) for register in addressing]
    steps.append(Step(rng.choice((0x81, 0x82, 0x83, 0x87, 0x89, 0x8A, 0x8B, 0x8F)), rng.randrange(256)))
    steps.append(Step(control + 2 * stride, rng.choice((channel, channel | 4))))
    steps.append(Step(control + stride, rng.choice((4, 0, 5)) | channel))
    steps += [Step(base + rng.randrange(16) * stride) for _ in range(6)]
    if rng.random() < 0.3:
        steps.append(Step(control + rng.choice((5, 6, 7)) * stride, rng.randrange(256)))
    return steps


def vga(rng: Random) -> list[Step]:
    """Random sets of all indexed registers, then the window, then perhaps a switch of the whole mode."""
    steps = [Step(0x3C2, odd(rng, *VGA_MISC))]
    steps += [Step(0x3C4, rng.randrange(256) << 8 | index, 2) for index in range(5) if rng.random() < 0.7]
    steps += [Step(0x3CE, rng.randrange(256) << 8 | index, 2) for index in range(9) if rng.random() < 0.5]
    steps += [
        Step(0x3CE, odd(rng, *VGA_GRAPHICS_MODES) << 8 | 5, 2),
        Step(0x3CE, odd(rng, 1, 5, 9, 13, 0) << 8 | 6, 2),
    ]
    crtc = rng.choice((0x3D4, 0x3D4, 0x3B4))
    steps.append(Step(crtc, 0x0E11, 2))
    steps += [
        Step(crtc, rng.choice((0, 0xFF, rng.randrange(256), rng.randrange(256))) << 8 | index, 2)
        for index in range(0x19)
        if rng.random() < 0.6
    ]
    steps.append(Step(0x3DA))
    for index in range(0x15):
        if rng.random() < 0.5:
            steps += [Step(0x3C0, index), Step(0x3C0, rng.randrange(256))]
    steps += [Step(0x3DA), Step(0x3C0, odd(rng, 0x20, 0x20, 0))]
    return steps + window(rng)


def window(rng: Random) -> list[Step]:
    """Reads and writes all over the window, its ends among them."""
    places = (0, 1, 0x7FFF, 0x8000, 0xFFFC, 0xFFFF, 0x10000, 0x17FFE, 0x18000, 0x1FFFC)
    steps = []
    for _ in range(8):
        at = rng.choice(places) if rng.random() < 0.5 else rng.randrange(WINDOW_BYTES - 4)
        size = rng.choice((1, 2, 4))
        at = min(at, WINDOW_BYTES - size)
        steps.append(Step(WINDOW + at, rng.getrandbits(8 * size) if rng.random() < 0.6 else None, size))
    return steps


def dispi(rng: Random) -> list[Step]:
    """Sizes of nothing and too much, banks and line lengths beyond the memory; the frame buffer moves."""
    steps = []

    def put(index: int, value: int) -> None:
        steps.append(Step(0x1CE, index, 2))
        steps.append(Step(0x1CF, value, 2))

    if rng.random() < 0.7:
        put(4, 0)
    sensible = rng.random() < 0.5
    put(1, rng.choice((8, 320, 640, 1024)) if sensible else rng.choice(DISPI_SIZES))
    put(2, rng.choice((1, 200, 480)) if sensible else rng.choice(DISPI_SIZES))
    put(3, rng.choice((8, 15, 16, 24, 32)) if sensible else rng.choice(DISPI_BITS))
    put(4, rng.choice(DISPI_ENABLE))
    for _ in range(rng.randrange(6)):
        index = rng.choice((0, 5, 6, 7, 8, 9, 10, 11, rng.getrandbits(16)))
        put(index, rng.choice((*DISPI_SIZES, 0xB0C0, 0xB0C5, 255, 256)))
        steps.append(Step(0x1CF, None, rng.choice((1, 2, 4))))
    if rng.random() < 0.3:
        steps += frame_buffer_move(rng)
    return steps + window(rng)


def frame_buffer_move(rng: Random) -> list[Step]:
    """Move the display's BARs onto other things, and switch its decoding off and on."""
    steps = [Step(0xCF8, DISPLAY_FUNCTION | 4, 4), Step(0xCFC, rng.choice((0, 2, 3, 0xFFFF)), 2)]
    steps.append(Step(0xCF8, DISPLAY_FUNCTION | rng.choice((0x10, 0x10, 0x14, 0x18, 0x30)), 4))
    steps.append(Step(0xCFC, rng.choice((*BAR_VALUES, rng.getrandbits(32))), 4))
    steps += [
        Step(0xCFC, None, 4),
        Step(0xCF8, DISPLAY_FUNCTION | 4, 4),
        Step(0xCFC, rng.choice((2, 3, 7)), 2),
    ]
    return steps


def mouse(rng: Random) -> list[Step]:
    """Commands to the mouse by D4h, with parameters, and reads of what it answers."""
    steps = [Step(0x64, 0xA8)]
    for _ in range(rng.randrange(1, 6)):
        command = odd(
            rng, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xEB, 0xEC, 0xEE, 0xF0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xFF
        )
        steps += [Step(0x64, 0xD4), Step(0x60, command)]
        if command in (0xE8, 0xF3) and rng.random() < 0.9:
            steps += [Step(0x64, 0xD4), Step(0x60, odd(rng, 0, 3, 10, 20, 40, 60, 80, 100, 200))]
        steps += [Step(rng.choice((0x60, 0x64))) for _ in range(rng.randrange(6))]
    return steps


def parallel(rng: Random) -> list[Step]:
    """Data, a strobe, reads of the status; initialisation and the interrupt enable in between."""
    steps = []
    for _ in range(rng.randrange(1, 8)):
        steps.append(Step(0x378, rng.randrange(256)))
        steps += [Step(0x37A, odd(rng, 0x0D, 0x1D, 0x2D)), Step(0x37A, odd(rng, 0x0C, 0x1C, 0x08))]
        steps += [Step(0x379), Step(0x37A), Step(0x378)]
    return steps


SEQUENCES: Final[tuple[Sequence, ...]] = (floppy, dma, vga, window, dispi, frame_buffer_move, mouse, parallel)
