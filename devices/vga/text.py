"""What a text mode shows, as values: characters and attributes, and the look of them.

NOT modelled: panning and preset row scan, underline, 40-column double width.

Sources:
    [VGA] IBM PS/2 Hardware Interface Technical Reference, Video Subsystem, "Alphanumeric Modes".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from devices.vga import registers as r
from devices.vga.dac import Dac
from devices.vga.graphics import dac_index
from devices.vga.timing import line_compare, vertical_end

_SCAN_LINE: Final = 0x1F
_PLANE_MASK: Final = 0xFFFF
_FONT_BYTES: Final = 0x2000  # 256 glyphs of 32 bytes
_MAX_ROWS: Final = 256

# Code page 437 with the pictures that the lowest codes have on the screen
_LOW: Final = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
UNICODE: Final = _LOW + bytes(range(32, 127)).decode("ascii") + "⌂" + bytes(range(128, 256)).decode("cp437")


@dataclass(frozen=True)
class Cursor:
    """The cursor: its cell, and the scan lines it covers in it."""

    column: int
    row: int
    first_line: int
    last_line: int


@dataclass(frozen=True)
class TextScreen:
    """Rows of cells, row by row: `characters[i]` in code page 437 has colours `attributes[i]`.

    An attribute holds the foreground colour in bits 3-0, the background in bits 6-4; bit 7 is the
    background's too unless `blinking`.
    """

    columns: int
    rows: int
    cell_lines: int
    characters: bytes
    attributes: bytes
    cursor: Cursor | None
    blinking: bool

    def line(self, row: int) -> str:
        """Return a row as Unicode text, all columns."""
        cells = self.characters[row * self.columns : (row + 1) * self.columns]
        return "".join([UNICODE[cell] for cell in cells])

    def text(self) -> str:
        """Return all rows, without blanks at their ends, joined by newlines."""
        return "\n".join(self.line(row).rstrip() for row in range(self.rows))


NOTHING: Final = TextScreen(0, 0, 1, b"", b"", None, blinking=False)


@dataclass(frozen=True)
class TextLook:
    """How cells become dots.

    `fonts` are the glyphs, 32 bytes each, for cells with attribute bit 3 clear and set; `colours` the
    16 text colours as 8-bit red, green, blue. With `nine_dots` a ninth column follows the eight of the
    font: background, or for box characters (C0h-DFh) with `line_graphics` the eighth again.
    """

    fonts: tuple[bytes, bytes]
    colours: tuple[tuple[int, int, int], ...]
    nine_dots: bool
    line_graphics: bool


def read_screen(crtc: bytearray, attributes: bytearray, planes: Sequence[bytearray]) -> TextScreen:
    """Return what the CRTC fetches from planes 0 and 1."""
    maximum = crtc[r.CRTC_MAXIMUM_SCAN_LINE]
    cell_lines = (maximum & _SCAN_LINE) + 1
    drawn_lines = cell_lines * (2 if maximum & r.DOUBLE_SCAN else 1)
    columns = crtc[r.CRTC_HORIZONTAL_END] + 1
    rows = min(_MAX_ROWS, vertical_end(crtc) // drawn_lines)
    start = crtc[r.CRTC_START_HIGH] << 8 | crtc[r.CRTC_START_LOW]
    starts = _row_starts(crtc, rows, drawn_lines, start)
    shift = 0 if crtc[r.CRTC_MODE_CONTROL] & r.BYTE_ADDRESSES else 1
    fetched = [b"".join(_fetch(plane, at, columns, shift) for at in starts) for plane in planes[:2]]
    return TextScreen(
        columns=columns,
        rows=rows,
        cell_lines=cell_lines,
        characters=fetched[0],
        attributes=fetched[1],
        cursor=_cursor(crtc, starts, columns, cell_lines),
        blinking=bool(attributes[r.ATTR_MODE] & r.MODE_BLINK),
    )


def _row_starts(crtc: bytearray, rows: int, drawn_lines: int, start: int) -> list[int]:
    """Return the character address of each row; below the line compare they start over from 0."""
    pitch = crtc[r.CRTC_OFFSET] * 2
    split = line_compare(crtc) // drawn_lines + 1
    return [
        (start + row * pitch if row < split else (row - split) * pitch) & _PLANE_MASK for row in range(rows)
    ]


def _fetch(plane: bytearray, at: int, columns: int, shift: int) -> bytes:
    """Return the bytes of one row; addresses wrap at the end of the plane."""
    step = 1 << shift
    first = at << shift & _PLANE_MASK
    row = plane[first : first + columns * step : step]
    missing = columns - len(row)
    return bytes(row + plane[0 : missing * step : step] if missing else row)


def _cursor(crtc: bytearray, starts: list[int], columns: int, cell_lines: int) -> Cursor | None:
    """Return the cursor if it is on, has any line, and lies on the screen."""
    first, last = crtc[r.CRTC_CURSOR_START] & _SCAN_LINE, crtc[r.CRTC_CURSOR_END] & _SCAN_LINE
    if crtc[r.CRTC_CURSOR_START] & r.CURSOR_OFF or first > last or first >= cell_lines:
        return None
    at = crtc[r.CRTC_CURSOR_HIGH] << 8 | crtc[r.CRTC_CURSOR_LOW]
    for row, start in enumerate(starts):
        if start <= at < start + columns:
            return Cursor(at - start, row, first, min(last, cell_lines - 1))
    return None


def read_look(sequencer: bytearray, attributes: bytearray, font_plane: bytearray, dac: Dac) -> TextLook:
    """Return fonts and colours as the attribute controller and the DAC make them."""
    select = sequencer[r.SEQ_CHARACTER_MAP]
    map_b = (select & 0x03) << 1 | (select & 0x10) >> 4
    map_a = (select & 0x0C) >> 1 | (select & 0x20) >> 5
    mode, enabled = attributes[r.ATTR_MODE], attributes[r.ATTR_PLANE_ENABLE]
    return TextLook(
        fonts=(_font(font_plane, map_b), _font(font_plane, map_a)),
        colours=tuple(
            dac.colour(dac_index(attributes, mode, number & enabled) & dac.mask) for number in range(16)
        ),
        nine_dots=not sequencer[r.SEQ_CLOCKING_MODE] & r.CLOCKING_8_DOTS,
        line_graphics=bool(mode & r.MODE_LINE_GRAPHICS),
    )


def _font(plane: bytearray, number: int) -> bytes:
    """Return the glyphs of the 8 KiB with that number."""
    start = number * _FONT_BYTES
    return bytes(plane[start : start + _FONT_BYTES])
