"""INT 10h, AH=11h: character generators of text modes, and the fonts of graphics modes.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10h", function 11h.
"""

from __future__ import annotations

from typing import Final

from devices.vga.fonts import font
from devices.vga.mode_table import MODES, Kind
from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.caller import Caller
from vmm.firmware.rom_fonts import FONT_OFFSETS, HALF
from vmm.firmware.screen import CELL_BYTES, FONT_VECTOR, UPPER_FONT_VECTOR, Screen
from vmm.firmware.vga_ports import SEQUENCER, VgaPorts

ROM_SEGMENT: Final = 0xF000
USER_FONT: Final = 0x00
ROM_FONTS: Final = {0x01: 14, 0x02: 8, 0x04: 16}  # by AL, without the bit that also sets the rows
BLOCK_SPECIFIER: Final = 0x03
SET_ROWS: Final = 0x10
GRAPHICS: Final = 0x20
UPPER_HALF: Final = 0x20
USER_GRAPHICS_FONT: Final = 0x21
GRAPHICS_FONTS: Final = {0x22: 14, 0x23: 8, 0x24: 16}
INFORMATION: Final = 0x30
ROWS_BY_CODE: Final = {1: 14, 2: 25, 3: 43}
CHARACTER_MAP: Final = 3
CRTC_OVERFLOW: Final = 0x07
CRTC_MAXIMUM_SCAN_LINE: Final = 0x09
CRTC_VERTICAL_END: Final = 0x12
PAGE_UNIT: Final = 0x800
MAX_LINES: Final = 32


class Fonts:
    """The font functions."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._data = screen.data
        self._memory = screen.host.memory
        self._ports = VgaPorts(screen.host.bus)

    def set_for_mode(self, number: int) -> None:
        """Point INT 43h to the mode's font, and INT 1Fh to the upper half of the font of 8 lines."""
        self._point(FONT_VECTOR, FONT_OFFSETS[MODES[number].cell_lines])
        if self._memory.read(UPPER_FONT_VECTOR * 4, 4) == bytes(4):
            self._point(UPPER_FONT_VECTOR, FONT_OFFSETS[8] + 8 * HALF)

    def call(self, caller: Caller) -> None:
        """Serve AH=11h."""
        number = caller.al
        if number == INFORMATION:
            self._inform(caller)
        elif number == UPPER_HALF:
            self._point(UPPER_FONT_VECTOR, caller.bp, self._segment(caller))
        elif number >= GRAPHICS:
            self._set_graphics_font(caller, number)
        elif number == BLOCK_SPECIFIER:
            self._ports.write(SEQUENCER, CHARACTER_MAP, caller.bl & 0x3F)
        else:
            self._load(caller, number & ~SET_ROWS, rows=bool(number & SET_ROWS))

    def _segment(self, caller: Caller) -> int:
        return caller.view.segs[r.ES].base >> 4 & 0xFFFF

    def _point(self, vector: int, offset: int, segment: int = ROM_SEGMENT) -> None:
        self._memory.write(vector * 4, offset.to_bytes(2, "little") + segment.to_bytes(2, "little"))

    # -- text modes

    def _load(self, caller: Caller, number: int, *, rows: bool) -> None:
        """Load glyphs into block BL: those at ES:BP, or one of the ROM's fonts."""
        display = self._screen.host.display
        if number == USER_FONT:
            lines, first = caller.bh, caller.dx & 0xFF
            if not 1 <= lines <= MAX_LINES:
                return
            glyphs = caller.read(caller.address(r.ES, caller.bp), lines * min(caller.cx, 256))
        elif number in ROM_FONTS:
            lines, first = ROM_FONTS[number], 0
            glyphs = font(lines)
        else:
            return
        if display is not None:
            display.load_glyphs(caller.bl & 7, first, lines, glyphs)
        if rows and self._screen.mode.kind is Kind.TEXT:
            self._set_rows(lines)

    def _set_rows(self, lines: int) -> None:
        """Have cells of so many lines, and as many rows of them as the picture holds."""
        ports, data = self._ports, self._data
        crtc = ports.crtc
        scan = ports.read(crtc, CRTC_MAXIMUM_SCAN_LINE)
        overflow = ports.read(crtc, CRTC_OVERFLOW)
        end = ports.read(crtc, CRTC_VERTICAL_END) | (overflow & 0x02) << 7 | (overflow & 0x40) << 3
        height = 350 if end + 1 < 400 else 400
        rows = height // lines
        end = rows * lines - 1
        ports.write(crtc, CRTC_MAXIMUM_SCAN_LINE, scan & 0xE0 | lines - 1)
        ports.write(crtc, CRTC_VERTICAL_END, end & 0xFF)
        ports.write(crtc, CRTC_OVERFLOW, overflow & ~0x42 | end >> 7 & 0x02 | end >> 3 & 0x40)
        data.set_byte(b.LAST_ROW, rows - 1)
        data.set_word(b.FONT_HEIGHT, lines)
        data.set_word(b.PAGE_BYTES, -(-rows * self._screen.columns * CELL_BYTES // PAGE_UNIT) * PAGE_UNIT)
        self._screen.shape_cursor(max(lines - 3, 0) << 8 | max(lines - 2, 0))

    # -- graphics modes

    def _set_graphics_font(self, caller: Caller, number: int) -> None:
        if number == USER_GRAPHICS_FONT:
            lines = caller.cx
            if not 1 <= lines <= MAX_LINES:
                return
            self._point(FONT_VECTOR, caller.bp, self._segment(caller))
        elif number in GRAPHICS_FONTS:
            lines = GRAPHICS_FONTS[number]
            self._point(FONT_VECTOR, FONT_OFFSETS[lines])
        else:
            return
        rows = ROWS_BY_CODE.get(caller.bl, caller.dl) or 1
        self._data.set_word(b.FONT_HEIGHT, lines)
        self._data.set_byte(b.LAST_ROW, rows - 1)

    def _inform(self, caller: Caller) -> None:
        """Return a font's address in ES:BP, the height of the one in use in CX, the last row in DL."""
        offsets = {
            2: FONT_OFFSETS[14], 3: FONT_OFFSETS[8], 4: FONT_OFFSETS[8] + 8 * HALF, 5: FONT_OFFSETS[14],
            6: FONT_OFFSETS[16], 7: FONT_OFFSETS[16],
        }  # fmt: skip
        vectors = {0: UPPER_FONT_VECTOR, 1: FONT_VECTOR}
        if caller.bh in vectors:
            pointer = self._memory.read(vectors[caller.bh] * 4, 4)
            offset, segment = int.from_bytes(pointer[:2], "little"), int.from_bytes(pointer[2:], "little")
        elif caller.bh in offsets:
            offset, segment = offsets[caller.bh], ROM_SEGMENT
        else:
            return
        caller.bp = offset
        caller.set_es(segment)
        caller.cx = self._screen.cell_lines
        caller.dl = self._data.byte(b.LAST_ROW)
