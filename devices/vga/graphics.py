"""What the CRT controller fetches in a graphics mode: a value that `vmm/display` turns into dots.

A line of the picture starts at an address of the display's own counter; how that address reaches the
planes (by bytes, words or double words, with scan lines in place of high bits) and how the bytes fetched
become colours (planes, pairs of bits, whole bytes) are registers of their own. All modes of the VGA and
its unofficial ones (mode X, tweaked 16-colour modes) are settings of these.

NOT modelled: blinking, the preset row scan, skew, borders.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem: "CRT Controller Registers",
        "Graphics Mode Register", "Attribute Controller Registers".
    [FreeVGA] FreeVGA project hardware reference, "VGA CRTC Addressing", "Shift registers".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from devices.vga import registers as r
from devices.vga.dac import Dac
from devices.vga.timing import line_compare, vertical_end

_ADDRESS_MASK: Final = 0xFFFF
_SCAN_LINE: Final = 0x1F
_MOST_LINES: Final = 2048
_BIT_13: Final = 0x2000
_BIT_14: Final = 0x4000


class Serializer(Enum):
    """How four fetched bytes become pixels, [VGA] "Graphics Mode Register"."""

    PLANES = "planes"  # eight pixels, a bit of each plane
    PAIRS = "pairs"  # CGA's: four pixels from planes 0 and 2, then four from 1 and 3, two bits of each
    BYTES = "bytes"  # four pixels of 256 colours, one a plane


class Addressing(NamedTuple):
    """How the counter's address becomes that of a byte in each plane."""

    shift: int  # 0 bytes, 1 words, 2 double words
    wrap_bit: int  # the bit of the counter that becomes bit 0 of a word address


class ScanLine(NamedTuple):
    """One line of the picture: where the counter starts, its bits 13 and 14 if replaced, dots to skip."""

    address: int
    set_bits: int
    clear_bits: int
    panning: int


@dataclass(frozen=True)
class GraphicsScreen:
    """A picture in a graphics mode, `columns` character clocks wide; a clock is eight dots.

    `colours` are 8-bit red, green, blue: 16 or 256. With `half_clock` every dot is drawn twice.
    """

    columns: int
    lines: tuple[ScanLine, ...]
    addressing: Addressing
    serializer: Serializer
    half_clock: bool
    colours: tuple[tuple[int, int, int], ...]
    planes: tuple[bytes, ...]

    @property
    def width(self) -> int:
        """Dots in a line as the monitor counts them."""
        return self.columns * 8 * (2 if self.half_clock else 1)


def read_graphics(
    registers: tuple[bytearray, bytearray, bytearray, bytearray], planes: Sequence[bytearray], dac: Dac
) -> GraphicsScreen:
    """Return what is shown; `registers` are sequencer, graphics, CRT and attribute controller."""
    sequencer, graphics, crtc, attributes = registers
    serializer = _serializer(graphics[r.GC_MODE])
    return GraphicsScreen(
        columns=crtc[r.CRTC_HORIZONTAL_END] + 1,
        lines=_lines(crtc, attributes, serializer),
        addressing=_addressing(crtc),
        serializer=serializer,
        half_clock=bool(sequencer[r.SEQ_CLOCKING_MODE] & r.CLOCKING_HALF),
        colours=_colours(attributes, serializer, dac),
        planes=tuple(bytes(plane) for plane in planes),
    )


def _serializer(mode: int) -> Serializer:
    if mode & r.MODE_256_COLOURS:
        return Serializer.BYTES
    return Serializer.PAIRS if mode & r.MODE_PAIRS else Serializer.PLANES


def _addressing(crtc: bytearray) -> Addressing:
    if crtc[r.CRTC_UNDERLINE] & r.DOUBLE_WORDS:
        return Addressing(2, 14)
    if crtc[r.CRTC_MODE_CONTROL] & r.BYTE_ADDRESSES:
        return Addressing(0, 0)
    return Addressing(1, 15 if crtc[r.CRTC_MODE_CONTROL] & r.WRAP_AT_64K else 13)


def _lines(crtc: bytearray, attributes: bytearray, serializer: Serializer) -> tuple[ScanLine, ...]:
    """Return where each line starts; below the line compare the picture starts over at address 0."""
    doubled = 1 if crtc[r.CRTC_MAXIMUM_SCAN_LINE] & r.DOUBLE_SCAN else 0
    row_lines = (crtc[r.CRTC_MAXIMUM_SCAN_LINE] & _SCAN_LINE) + 1
    pitch = crtc[r.CRTC_OFFSET] * 2
    start = crtc[r.CRTC_START_HIGH] << 8 | crtc[r.CRTC_START_LOW]
    start += crtc[r.CRTC_PRESET_ROW] >> r.BYTE_PAN_SHIFT & 3
    panning = attributes[r.ATTR_PANNING] & 7
    if serializer is Serializer.BYTES:
        panning >>= 1
    split = line_compare(crtc) + 1
    below = 0 if attributes[r.ATTR_MODE] & r.MODE_NO_PAN_BELOW else panning
    control = crtc[r.CRTC_MODE_CONTROL]
    lines = []
    for line in range(min(vertical_end(crtc), _MOST_LINES)):
        first, shown, pan = (start, line, panning) if line < split else (0, line - split, below)
        row, scan = divmod(shown >> doubled, row_lines)
        set_bits = clear_bits = 0
        for bit, keep, number in ((_BIT_13, r.KEEP_BIT_13, 0), (_BIT_14, r.KEEP_BIT_14, 1)):
            if not control & keep:
                set_bits |= bit if scan >> number & 1 else 0
                clear_bits |= bit
        lines.append(ScanLine(first + row * pitch & _ADDRESS_MASK, set_bits, clear_bits, pan))
    return tuple(lines)


def _colours(attributes: bytearray, serializer: Serializer, dac: Dac) -> tuple[tuple[int, int, int], ...]:
    """Return 256 colours straight from the DAC, or 16 by way of the palette registers."""
    if serializer is Serializer.BYTES:
        return tuple(dac.colour(number & dac.mask) for number in range(256))
    mode, enabled = attributes[r.ATTR_MODE], attributes[r.ATTR_PLANE_ENABLE]
    return tuple(dac.colour(dac_index(attributes, mode, number & enabled) & dac.mask) for number in range(16))


def dac_index(attributes: bytearray, mode: int, number: int) -> int:
    """Return the DAC entry of one of 16 colours, [VGA] "Color Select Register"."""
    entry = attributes[number & 0x0F]
    select = attributes[r.ATTR_COLOUR_SELECT]
    if mode & r.MODE_PALETTE_54:
        entry = entry & 0x0F | (select & 0x03) << 4
    return entry & 0x3F | (select & 0x0C) << 4
