"""The monitor's description, as DDC would read it: an EDID 1.3 block.

Source: [EDID] VESA Enhanced EDID Standard, release A revision 1, 2000 (EDID 1.3), §3.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

HEADER: Final = b"\0\xff\xff\xff\xff\xff\xff\0"
MAKER: Final = "TRL"
PRODUCT: Final = 1
WEEK, YEAR = 1, 2026
ANALOG: Final = 0x08  # 0.7 V, separate syncs
SIZE_CM: Final = (34, 27)
GAMMA_2_2: Final = 120
FEATURES: Final = 0x0E  # colour display, sRGB; the first detailed timing is preferred
# Primaries of sRGB and its white, ten bits a coordinate: low bits, then high ones, [EDID] §3.7
CHROMATICITY: Final = bytes((0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54))
ESTABLISHED: Final = bytes((0x21, 0x08, 0x00))  # 640x480, 800x600 and 1024x768 at 60 Hz
STANDARD: Final = ((1280, 0x80), (1600, 0x40))  # width and the code of its aspect, at 60 Hz
UNUSED_STANDARD: Final = b"\x01\x01"
NAME: Final = b"Trapline\n"
NAME_TAG: Final = 0xFC
RANGES_TAG: Final = 0xFD
DUMMY_TAG: Final = 0x10
BLOCK_BYTES: Final = 128


class Timing(NamedTuple):
    """A detailed timing: pixel clock in units of 10 kHz, then dots and lines."""

    clock: int
    width: int
    blank_width: int
    height: int
    blank_height: int
    sync_start: int
    sync_width: int
    sync_line: int
    sync_lines: int


XGA_60: Final = Timing(6500, 1024, 320, 768, 38, 24, 136, 3, 6)  # VESA DMT 1024x768 at 60 Hz


def _detailed(timing: Timing) -> bytes:
    """Return the 18 bytes of a timing, [EDID] §3.10.2."""
    width_mm, height_mm = (10 * size for size in SIZE_CM)
    return struct.pack(
        "<H16B",
        timing.clock,
        timing.width & 0xFF, timing.blank_width & 0xFF, timing.width >> 8 << 4 | timing.blank_width >> 8,
        timing.height & 0xFF, timing.blank_height & 0xFF, timing.height >> 8 << 4 | timing.blank_height >> 8,
        timing.sync_start & 0xFF, timing.sync_width & 0xFF,
        (timing.sync_line & 15) << 4 | timing.sync_lines & 15,
        timing.sync_start >> 8 << 6 | timing.sync_width >> 8 << 4,
        width_mm & 0xFF, height_mm & 0xFF, width_mm >> 8 << 4 | height_mm >> 8,
        0, 0, 0x18,
    )  # fmt: skip


def _text(tag: int, data: bytes) -> bytes:
    return bytes((0, 0, 0, tag, 0)) + data.ljust(13, b" ")


def edid() -> bytes:
    """Return the 128 bytes."""
    maker = sum((ord(letter) - ord("@")) << 5 * (2 - index) for index, letter in enumerate(MAKER))
    block = (
        HEADER + struct.pack(">H", maker) + struct.pack("<HI", PRODUCT, 1) + bytes((WEEK, YEAR - 1990, 1, 3))
    )
    block += bytes((ANALOG, *SIZE_CM, GAMMA_2_2, FEATURES)) + CHROMATICITY + ESTABLISHED
    block += b"".join(bytes((width // 8 - 31, aspect)) for width, aspect in STANDARD)
    block += UNUSED_STANDARD * (8 - len(STANDARD))
    ranges = bytes((50, 75, 30, 80, 17, 0)) + b"\n"
    block += (
        _detailed(XGA_60) + _text(RANGES_TAG, ranges) + _text(NAME_TAG, NAME) + _text(DUMMY_TAG, bytes(13))
    )
    block += b"\0"  # no extension
    return block + bytes((-sum(block) & 0xFF,))
