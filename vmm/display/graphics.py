"""Dots of graphics modes: from planes by way of the display's addressing, and from linear frame buffers.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, "Graphics Mode Register".
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from devices.vga.dispi import LinearScreen
from devices.vga.graphics import GraphicsScreen, Serializer

Pixels = NDArray[np.uint8]
_ADDRESS_MASK: Final = 0xFFFF
_CLOCK_DOTS: Final = 8


def render_graphics(screen: GraphicsScreen) -> Pixels:
    """Return what the VGA draws, as lines x dots x 3 bytes."""
    lines = np.array(screen.lines, dtype=np.int64)
    colours = np.array(screen.colours, dtype=np.uint8)
    fetched = [np.frombuffer(plane, dtype=np.uint8)[_addresses(screen, lines)] for plane in screen.planes]
    if screen.serializer is Serializer.BYTES:
        numbers = np.stack(fetched, axis=-1)
    elif screen.serializer is Serializer.PAIRS:
        numbers = _pairs(fetched)
    else:
        numbers = _bits(fetched)
    numbers = numbers.reshape(len(lines), -1)
    pixels = numbers.shape[1] * screen.columns // (screen.columns + 1)
    wanted = np.arange(pixels) + lines[:, 3:4]
    shown = colours[np.take_along_axis(numbers, wanted, axis=1)]
    return np.repeat(shown, screen.width // pixels, axis=1)


def _addresses(screen: GraphicsScreen, lines: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the plane address of each character clock; one more a line than shown, for panning."""
    counter = lines[:, 0:1] + np.arange(screen.columns + 1) & _ADDRESS_MASK
    shift, wrap_bit = screen.addressing
    if shift == 0:
        address = counter
    elif shift == 1:
        address = counter << 1 | counter >> wrap_bit & 1
    else:
        address = counter << 2 | counter >> wrap_bit & 3
    return (address & ~lines[:, 2:3] | lines[:, 1:2]) & _ADDRESS_MASK


def _bits(planes: list[Pixels]) -> Pixels:
    """Return eight pixels a byte: bit n of the colour number from plane n."""
    numbers = np.zeros((*planes[0].shape, _CLOCK_DOTS), dtype=np.uint8)
    for number, plane in enumerate(planes):
        numbers |= np.unpackbits(plane[..., None], axis=-1) << number
    return numbers


def _pairs(planes: list[Pixels]) -> Pixels:
    """Return eight pixels a clock: four of planes 0 and 2, two bits each, then four of 1 and 3."""
    halves = ((planes[0], planes[2]), (planes[1], planes[3]))
    pixels = [low >> shift & 3 | (high >> shift & 3) << 2 for low, high in halves for shift in (6, 4, 2, 0)]
    return np.stack(pixels, axis=-1)


def render_linear(screen: LinearScreen) -> Pixels:
    """Return a linear frame buffer's picture as lines x dots x 3 bytes."""
    pixel_bytes = (screen.bits + 7) // 8
    lines = np.frombuffer(screen.pixels, dtype=np.uint8).reshape(screen.height, screen.pitch)
    lines = lines[:, : screen.width * pixel_bytes]
    if screen.bits == 8:
        return np.array(screen.colours, dtype=np.uint8)[lines]
    if pixel_bytes >= 3:  # blue, green, red
        return np.ascontiguousarray(lines.reshape(screen.height, screen.width, pixel_bytes)[..., 2::-1])
    words: NDArray[np.uint16] = np.ascontiguousarray(lines).view(np.uint16)
    green_bits = screen.bits - 10
    parts = ((words >> 5 + green_bits, 5), (words >> 5, green_bits), (words, 5))
    return np.stack([_widened(value.astype(np.uint16), bits) for value, bits in parts], axis=-1)


def _widened(value: NDArray[np.uint16], bits: int) -> Pixels:
    """Return `bits` low bits as 8, full scale to full scale."""
    kept = value & np.uint16((1 << bits) - 1)
    return (kept << 8 - bits | kept >> 2 * bits - 8).astype(np.uint8)
