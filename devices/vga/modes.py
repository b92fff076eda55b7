"""Register values, palette and font that firmware gives the VGA in text mode 3.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, "BIOS Video Mode Tables".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from devices.vga.font8x16 import GLYPH_LINES, GLYPHS, glyphs
from devices.vga.ports import RegisterState

FONT_GLYPH_BYTES: Final = 32  # a glyph has room for 32 lines in plane 2, whatever it uses
BLANK: Final = 0x20
LIGHT_GREY: Final = 0x07
_TEXT_BYTES: Final = 0x8000

MODE_3: Final = RegisterState(  # 80 x 25 characters of 9 x 16 dots, 70 Hz, memory at B8000h
    misc=0x67,
    feature=0,
    enable=1,
    sequencer_index=0,
    sequencer=bytes.fromhex("03 00 03 00 02"),
    graphics_index=0,
    graphics=bytes.fromhex("00 00 00 00 00 10 0e 00 ff"),
    crtc_index=0,
    crtc=bytes.fromhex("5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff"),
    attribute_index=0x20,
    attribute_data_next=False,
    attributes=bytes.fromhex("00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f 0c 00 0f 08 00"),
)

# The text colours are EGA's: two bits for each of red, green, blue, [VGA] "Palette Registers"
_INTENSE: Final = 0x2A
_FAINT: Final = 0x15
_GREYS: Final = (0, 5, 8, 11, 14, 17, 20, 24, 28, 32, 36, 40, 45, 50, 56, 63)


def default_palette() -> bytes:
    """Return the DAC's 256 colours: the 64 of EGA, then greys, and black for the rest."""
    ega = [component for colour in range(64) for component in _ega_colour(colour)]
    greys = [level for level in _GREYS for _ in range(3)]
    return bytes(ega + greys).ljust(768, b"\0")


def _ega_colour(colour: int) -> tuple[int, int, int]:
    """Return red, green, blue of 6 bits; bits 2-0 are the strong ones, 5-3 the faint."""
    red, green, blue = (
        (_INTENSE if colour >> position & 1 else 0) + (_FAINT if colour >> position + 3 & 1 else 0)
        for position in (2, 1, 0)
    )
    return red, green, blue


def load_font(plane: bytearray) -> None:
    """Put our 8 x 16 font at the start of plane 2."""
    font = glyphs()
    for glyph in range(GLYPHS):
        at = glyph * FONT_GLYPH_BYTES
        plane[at : at + GLYPH_LINES] = font[glyph * GLYPH_LINES : (glyph + 1) * GLYPH_LINES]


def clear_text(planes: Sequence[bytearray]) -> None:
    """Fill the window at B8000h with blanks, light grey on black."""
    planes[0][0:_TEXT_BYTES:2] = bytes([BLANK]) * (_TEXT_BYTES // 2)
    planes[1][0:_TEXT_BYTES:2] = bytes([LIGHT_GREY]) * (_TEXT_BYTES // 2)
