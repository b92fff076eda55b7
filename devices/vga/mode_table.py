"""Register values of the BIOS video modes, and the palettes that go with them.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, "BIOS Video Mode Tables".
    [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10h", mode list.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from devices.vga.ports import RegisterState


class Kind(Enum):
    """How a mode's memory holds the picture."""

    TEXT = "characters and attributes"
    CGA_4 = "two bits a pixel, even and odd lines apart"
    CGA_2 = "one bit a pixel, even and odd lines apart"
    PLANES = "four planes, a bit of each for a pixel"
    BYTES = "a byte a pixel"


class Palette(Enum):
    """Contents of the DAC."""

    CGA = "the 16 colours of CGA, thrice"
    EGA = "64 colours, two bits a component"
    VGA = "16 colours, 16 greys, 216 hues"


class Mode(NamedTuple):
    """One mode; `page_bytes` is what a display page takes in the processor's window."""

    kind: Kind
    columns: int
    rows: int
    cell_lines: int
    colours: int
    window: int
    page_bytes: int
    pages: int
    palette: Palette
    registers: RegisterState


_PALETTE_16: Final = "00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f"
_PALETTE_CGA: Final = "00 01 02 03 04 05 06 07 10 11 12 13 14 15 16 17"
_PALETTE_4: Final = "00 13 15 17 02 04 06 07 10 11 12 13 14 15 16 17"
_LINES_200: Final = "bf 1f 00 {} 00 00 00 00 00 00 9c 8e 8f {} {} 96 b9 {} ff"
_LINES_350: Final = "bf 1f 00 40 00 00 00 00 00 00 83 85 5d 28 0f 63 ba e3 ff"
_LINES_480: Final = "0b 3e 00 40 00 00 00 00 00 00 ea 8c df 28 00 e7 04 {} ff"
_TEXT_LINES: Final = "bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f {} {} 96 b9 a3 ff"
_NARROW_TEXT: Final = "2d 27 28 90 2b a0 "
_NARROW: Final = "2d 27 28 90 2b 80 "
_WIDE_TEXT: Final = "5f 4f 50 82 55 81 "
_WIDE: Final = "5f 4f 50 82 54 80 "


def _registers(misc: int, sequencer: str, graphics: str, crtc: str, attributes: str) -> RegisterState:
    return RegisterState(
        misc=misc,
        feature=0,
        enable=1,
        sequencer_index=0,
        sequencer=bytes.fromhex("03" + sequencer),
        graphics_index=0,
        graphics=bytes.fromhex(graphics + "ff"),
        crtc_index=0,
        crtc=bytes.fromhex(crtc),
        attribute_index=0x20,
        attribute_data_next=False,
        attributes=bytes.fromhex(attributes),
    )


_TEXT_40: Final = Mode(
    Kind.TEXT, 40, 25, 16, 16, 0xB8000, 0x0800, 8, Palette.EGA,
    _registers(0x67, "08 03 00 02", "00 00 00 00 00 10 0e 00", _NARROW_TEXT + _TEXT_LINES.format("14", "1f"),
               _PALETTE_16 + "0c 00 0f 08 00"),
)  # fmt: skip
_TEXT_80: Final = Mode(
    Kind.TEXT, 80, 25, 16, 16, 0xB8000, 0x1000, 8, Palette.EGA,
    _registers(0x67, "00 03 00 02", "00 00 00 00 00 10 0e 00", _WIDE_TEXT + _TEXT_LINES.format("28", "1f"),
               _PALETTE_16 + "0c 00 0f 08 00"),
)  # fmt: skip
_CGA_4: Final = Mode(
    Kind.CGA_4, 40, 25, 8, 4, 0xB8000, 0x4000, 1, Palette.CGA,
    _registers(0x63, "09 03 00 02", "00 00 00 00 00 30 0f 00",
               _NARROW + _LINES_200.format("c1", "14", "00", "a2"), _PALETTE_4 + "01 00 03 00 00"),
)  # fmt: skip

MODES: Final = {
    0x00: _TEXT_40,
    0x01: _TEXT_40,
    0x02: _TEXT_80,
    0x03: _TEXT_80,
    0x04: _CGA_4,
    0x05: _CGA_4,
    0x06: Mode(
        Kind.CGA_2, 80, 25, 8, 2, 0xB8000, 0x4000, 1, Palette.CGA,
        _registers(0x63, "01 01 00 06", "00 00 00 00 00 00 0d 00",
                   _WIDE + _LINES_200.format("c1", "28", "00", "c2"), "00" + "17" * 15 + "01 00 01 00 00"),
    ),
    0x07: Mode(
        Kind.TEXT, 80, 25, 16, 2, 0xB0000, 0x1000, 8, Palette.EGA,
        _registers(0x66, "00 03 00 02", "00 00 00 00 00 10 0a 00",
                   _WIDE_TEXT + _TEXT_LINES.format("28", "0f"),
                   "00 08 08 08 08 08 08 08 10 18 18 18 18 18 18 18 0e 00 0f 08 00"),
    ),
    0x0D: Mode(
        Kind.PLANES, 40, 25, 8, 16, 0xA0000, 0x2000, 8, Palette.CGA,
        _registers(0x63, "09 0f 00 06", "00 00 00 00 00 00 05 0f",
                   _NARROW + _LINES_200.format("c0", "14", "00", "e3"), _PALETTE_CGA + "01 00 0f 00 00"),
    ),
    0x0E: Mode(
        Kind.PLANES, 80, 25, 8, 16, 0xA0000, 0x4000, 4, Palette.CGA,
        _registers(0x63, "01 0f 00 06", "00 00 00 00 00 00 05 0f",
                   _WIDE + _LINES_200.format("c0", "28", "00", "e3"), _PALETTE_CGA + "01 00 0f 00 00"),
    ),
    0x0F: Mode(
        Kind.PLANES, 80, 25, 14, 2, 0xA0000, 0x8000, 2, Palette.EGA,
        _registers(0xA2, "01 0f 00 06", "00 00 00 00 00 00 05 05", _WIDE + _LINES_350,
                   "00 08 00 00 18 18 00 00 00 08 00 00 00 18 00 00 0b 00 05 00 00"),
    ),
    0x10: Mode(
        Kind.PLANES, 80, 25, 14, 16, 0xA0000, 0x8000, 2, Palette.EGA,
        _registers(0xA3, "01 0f 00 06", "00 00 00 00 00 00 05 0f", _WIDE + _LINES_350,
                   _PALETTE_16 + "01 00 0f 00 00"),
    ),
    0x11: Mode(
        Kind.PLANES, 80, 30, 16, 2, 0xA0000, 0xA000, 1, Palette.EGA,
        _registers(0xE3, "01 0f 00 06", "00 00 00 00 00 00 05 01", _WIDE + _LINES_480.format("c3"),
                   "00" + "3f" * 15 + "01 00 0f 00 00"),
    ),
    0x12: Mode(
        Kind.PLANES, 80, 30, 16, 16, 0xA0000, 0xA000, 1, Palette.EGA,
        _registers(0xE3, "01 0f 00 06", "00 00 00 00 00 00 05 0f", _WIDE + _LINES_480.format("e3"),
                   _PALETTE_16 + "01 00 0f 00 00"),
    ),
    0x13: Mode(
        Kind.BYTES, 40, 25, 8, 256, 0xA0000, 0x10000, 1, Palette.VGA,
        _registers(0x63, "01 0f 00 0e", "00 00 00 00 00 40 05 0f",
                   _WIDE + _LINES_200.format("41", "28", "40", "a3"),
                   "".join(f"{number:02x}" for number in range(16)) + "41 00 0f 00 00"),
    ),
}  # fmt: skip
"""The modes of a VGA's BIOS by number, [PTL]."""

# The DAC, 6 bits a component
_INTENSE: Final = 0x2A
_FAINT: Final = 0x15
_GREYS: Final = (0, 5, 8, 11, 14, 17, 20, 24, 28, 32, 36, 40, 45, 50, 56, 63)
_HUE_STEPS: Final = (  # from no colour to all of it: three intensities, three saturations each
    (0, 16, 31, 47, 63), (31, 39, 47, 55, 63), (45, 49, 54, 58, 63),
    (0, 7, 14, 21, 28), (14, 17, 21, 24, 28), (20, 22, 24, 26, 28),
    (0, 4, 8, 12, 16), (8, 10, 12, 14, 16), (11, 12, 13, 15, 16),
)  # fmt: skip
COMPONENTS: Final = 3 * 256


def palette(kind: Palette) -> bytes:
    """Return the DAC's 256 colours, three bytes each; black for what a mode does not use."""
    if kind is Palette.EGA:
        colours = [_ega(number) for number in range(64)]
    elif kind is Palette.CGA:
        row = [_cga(number) for number in range(16)]
        colours = (row[:8] * 2 + row[8:] * 2) * 2
    else:
        greys = [(level, level, level) for level in _GREYS]
        colours = [*(_cga(number) for number in range(16)), *greys, *_hues()]
    return bytes(component for colour in colours for component in colour).ljust(COMPONENTS, b"\0")


def _ega(colour: int) -> tuple[int, int, int]:
    """Return red, green, blue; bits 2-0 are the strong ones, 5-3 the faint, [VGA] "Palette Registers"."""
    red, green, blue = (
        (_INTENSE if colour >> position & 1 else 0) + (_FAINT if colour >> position + 3 & 1 else 0)
        for position in (2, 1, 0)
    )
    return red, green, blue


def _cga(colour: int) -> tuple[int, int, int]:
    """Return one of 16 colours: bit 3 is intensity, and dark yellow is brown."""
    if colour == 6:
        return (_INTENSE, _FAINT, 0)
    return _ega(colour & 7 | (0x38 if colour & 8 else 0))


def _hues() -> list[tuple[int, int, int]]:
    """Return the 216 hues: round the colour circle from blue in 24 steps, for each of the nine rows."""
    colours = []
    for steps in _HUE_STEPS:
        low, high = steps[0], steps[4]
        rising = list(steps[:4])
        falling = [high, *steps[3:0:-1]]
        circle = [(value, low, high) for value in rising]
        circle += [(high, low, value) for value in falling]
        circle += [(high, value, low) for value in rising]
        circle += [(value, high, low) for value in falling]
        circle += [(low, high, value) for value in rising]
        circle += [(low, value, high) for value in falling]
        colours += circle
    return colours
