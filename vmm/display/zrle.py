"""Tiles of the ZRLE encoding: solid, a packed palette of up to 16 colours, or raw; zlib is the caller's.

Sources:
    [RFC6143] The Remote Framebuffer Protocol, 2011, §7.7.6.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

TILE: Final = 64
RAW: Final = 0
SOLID: Final = 1
MOST_COLOURS: Final = 16


def encode_tiles(pixels: NDArray[np.uint8]) -> bytes:
    """Return the tiles of a rectangle of pixels, height x width x bytes."""
    height, width, _ = pixels.shape
    return b"".join(
        _tile(pixels[y : y + TILE, x : x + TILE])
        for y in range(0, height, TILE)
        for x in range(0, width, TILE)
    )


def _tile(pixels: NDArray[np.uint8]) -> bytes:
    height, width, size = pixels.shape
    values = np.zeros((height, width, 4), dtype=np.uint8)
    values[..., :size] = pixels
    colours, numbers = np.unique(values.reshape(-1, 4).view("<u4"), return_inverse=True)
    if len(colours) == 1:
        return bytes((SOLID, *pixels[0, 0].tolist()))
    if len(colours) > MOST_COLOURS:
        return bytes((RAW,)) + pixels.tobytes()
    palette = colours.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :size]
    bits = 1 if len(colours) == 2 else 2 if len(colours) <= 4 else 4
    return bytes((len(colours),)) + palette.tobytes() + _packed(numbers.reshape(height, width), bits)


def _packed(numbers: NDArray[np.intp], bits: int) -> bytes:
    """Return palette indices, the leftmost in the highest bits; each row begins a byte."""
    height, width = numbers.shape
    each = 8 // bits
    padded = np.zeros((height, -(-width // each) * each), dtype=np.uint8)
    padded[:, :width] = numbers
    packed: NDArray[np.uint8] = np.zeros((height, padded.shape[1] // each), dtype=np.uint8)
    for place in range(each):
        packed |= padded[:, place::each] << np.uint8(8 - bits * (place + 1))
    return packed.tobytes()
