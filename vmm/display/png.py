"""Just enough of PNG to write an RGB picture.

Sources:
    [PNG] Portable Network Graphics Specification (Second Edition), W3C, November 2003.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_RGB_8: Final = (8, 2, 0, 0, 0)  # depth, colour type, and the defaults, [PNG] §11.2.2
_LEVEL: Final = 6


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return `pixels` (height x width x 3) as a PNG file; no size may be 0."""
    height, width, _ = pixels.shape
    filtered = np.zeros((height, 1 + width * 3), dtype=np.uint8)  # filter type 0 before each line
    filtered[:, 1:] = pixels.reshape(height, width * 3)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *_RGB_8)),
            _chunk(b"IDAT", zlib.compress(filtered.tobytes(), _LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
