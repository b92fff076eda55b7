"""The fonts in the ROM, where INT 1Fh, INT 43h and INT 10h AH=11h point.

Source: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, section 4: F000:FA6E holds the lower half
of the font of 8 lines.
"""

from __future__ import annotations

from typing import Final

from devices.vga.fonts import font

FONT_OFFSETS: Final = {16: 0x8000, 14: 0x9000, 8: 0x9E00}
"""Offsets of the fonts of 256 glyphs, by their height."""
LOWER_FONT: Final = 0xFA6E
HALF: Final = 128
# What the functions of INT 10h can do, [PTL] AH=1Bh: modes 0-7 and 0Dh-13h, 200, 350 and 400 lines, eight
# font blocks of which two are shown, all of colour paging, DAC, fonts, palette, cursor and state saving
STATIC_TABLE: Final = 0xA600
FUNCTIONALITY: Final = bytes((0xFF, 0xE0, 0x0F, 0, 0, 0, 0, 0x07, 2, 8, 0xFF, 0x0E, 0, 0, 0, 0))


def place_fonts(image: bytearray) -> None:
    """Put the fonts into the ROM."""
    pieces = {offset: font(lines) for lines, offset in FONT_OFFSETS.items()}
    pieces |= {LOWER_FONT: font(8)[: 8 * HALF], STATIC_TABLE: FUNCTIONALITY}
    for at, data in pieces.items():
        assert not any(image[at : at + len(data)]), hex(at)
        image[at : at + len(data)] = data
