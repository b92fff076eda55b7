"""The screen as INT 10h keeps it in the BIOS data area: mode, pages, cursors; characters on it in any mode.

Characters in text modes are cells of the frame buffer; in graphics modes glyphs, from the font that
INT 43h points to (INT 1Fh for the upper half in the modes of CGA).

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10h - Video", data area.
"""

from __future__ import annotations

from typing import Final

from devices.vga.mode_table import MODES, Kind, Mode
from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.canvas import XOR, Canvas, canvas_of, draw, read_cells, write_cells
from vmm.firmware.host import FirmwareHost

WINDOW_BYTES: Final = 0x8000  # of a text mode's frame buffer
TEXT_MODE: Final = 3
LINEAR_MODE: Final = 0x7F  # what the data area calls a mode of VBE
MODE_NUMBER: Final = 0x7F
CELL_BYTES: Final = 2
BLANK: Final = 0x20
LINE_CURSOR: Final = 0x0607  # the last two lines of a cell of eight, which `shape_cursor` scales
NO_SCALING: Final = 0x01  # of the video options: cursor shapes are meant as they are
CGA_CELL_LINES: Final = 8
CGA_SHAPES: Final = 0x20  # a first line from there on hides the cursor
MAX_PAGES: Final = 8
CRTC: Final = 0x3D4
MONO_CRTC: Final = 0x3B4
CRTC_CURSOR_START: Final = 0x0A
CRTC_START_HIGH: Final = 0x0C
CRTC_CURSOR_HIGH: Final = 0x0E
VGA_COLOUR: Final = 0x08  # display combination code: VGA with a colour monitor
KEEP_COLOURS: Final = 0x08  # 40:89: a mode's own colours are not loaded
GREY_COLOURS: Final = 0x02  # 40:89: colours that are loaded become greys
VGA_ACTIVE: Final = 0x51  # 40:89: a VGA, with text of 400 lines
FONT_VECTOR: Final = 0x43
UPPER_FONT_VECTOR: Final = 0x1F
CGA_MODES: Final = frozenset({Kind.CGA_2, Kind.CGA_4})
BELL, BACKSPACE, LINE_FEED, CARRIAGE_RETURN = 7, 8, 10, 13
CONTROLS: Final = frozenset({BELL, BACKSPACE, LINE_FEED, CARRIAGE_RETURN})

Window = tuple[int, int, int, int]  # top, left, bottom, right


class Screen:
    """What is shown, and drawing on it."""

    def __init__(self, host: FirmwareHost) -> None:
        self.host = host
        self.data = Bda(host.memory)
        self.linear: Canvas | None = None  # set by VBE; see `canvas`

    # -- the mode

    @property
    def number(self) -> int:
        """The mode's number as the data area has it, without the bit that kept the memory."""
        return self.data.byte(b.VIDEO_MODE) & MODE_NUMBER

    @property
    def mode(self) -> Mode:
        """The mode; that of 80x25 characters where the data area holds nonsense, or a mode of VBE."""
        return MODES.get(self.number, MODES[TEXT_MODE])

    @property
    def columns(self) -> int:
        """Characters in a row."""
        return max(1, min(self.data.word(b.COLUMNS), 255))

    @property
    def rows(self) -> int:
        """Rows of characters, as many as the memory has."""
        rows = self.data.byte(b.LAST_ROW) + 1
        return max(1, min(rows, WINDOW_BYTES // (self.columns * CELL_BYTES)))

    @property
    def cell_lines(self) -> int:
        """Lines of a character."""
        return max(1, min(self.data.word(b.FONT_HEIGHT), 32))

    @property
    def page_bytes(self) -> int:
        """What a page takes in the window."""
        return self.data.word(b.PAGE_BYTES) or self.mode.page_bytes

    def set_mode(self, number: int, *, clear: bool = True) -> None:
        """Enter a mode of `MODES`; without a display only the text modes' memory is known."""
        mode, display, memory = MODES[number], self.host.display, self.host.memory
        if display is not None:
            display.set_mode(number, clear=clear)
        elif clear:
            memory.write(mode.window, bytes((BLANK, 7)) * (WINDOW_BYTES // CELL_BYTES))
        self.describe(mode, number | (0 if clear else 0x80))
        self._crtc_word(CRTC_START_HIGH, 0)
        if mode.kind is Kind.TEXT:
            self.shape_cursor(LINE_CURSOR)
        self.place(0, 0, 0)

    def describe(self, mode: Mode, number: int) -> None:
        """Fill the data area for a mode."""
        data = self.data
        data.set_byte(b.VIDEO_MODE, number & MODE_NUMBER)
        data.set_word(b.COLUMNS, mode.columns)
        data.set_word(b.PAGE_BYTES, mode.page_bytes & 0xFFFF)
        data.set_word(b.PAGE_START, 0)
        for page in range(MAX_PAGES):
            data.set_word(b.CURSORS + 2 * page, 0)
        data.set_word(b.CURSOR_SHAPE, 0)
        data.set_byte(b.ACTIVE_PAGE, 0)
        data.set_word(b.CRTC_PORT, CRTC if mode.registers.misc & 1 else MONO_CRTC)
        data.set_byte(b.LAST_ROW, mode.rows - 1)
        data.set_word(b.FONT_HEIGHT, mode.cell_lines)
        data.set_byte(b.VIDEO_OPTIONS, 0x60 | number & 0x80)
        data.set_byte(b.VIDEO_SWITCHES, 0xF9)
        data.set_byte(b.VGA_FLAGS, data.byte(b.VGA_FLAGS) or VGA_ACTIVE)
        data.set_byte(b.DISPLAY_CODE, VGA_COLOUR)

    @property
    def canvas(self) -> Canvas | None:
        """Where pixels go; None in a text mode, and where there is no display."""
        if self.host.display is None:
            return None
        return self.linear if self.number == LINEAR_MODE else canvas_of(self.mode, self.host.display.planes)

    # -- pages and cursors

    def page(self, number: int) -> int:
        """Return a page that the mode has."""
        return number % max(1, self.mode.pages)

    @property
    def active_page(self) -> int:
        """The page on the screen."""
        return self.page(self.data.byte(b.ACTIVE_PAGE))

    def position(self, page: int) -> tuple[int, int]:
        """Return row and column of a page's cursor."""
        word = self.data.word(b.CURSORS + 2 * page)
        return word >> 8, word & 0xFF

    def place(self, page: int, row: int, column: int) -> None:
        """Move a page's cursor."""
        self.data.set_word(b.CURSORS + 2 * page, row << 8 | column)
        if page == self.data.byte(b.ACTIVE_PAGE) and self.mode.kind is Kind.TEXT:
            cell = page * self.page_bytes // CELL_BYTES + row * self.columns + column
            self._crtc_word(CRTC_CURSOR_HIGH, cell & 0xFFFF)

    def shape_cursor(self, shape: int) -> None:
        """Set the cursor's first and last line; a shape for cells of eight lines is scaled to the font's."""
        self.data.set_word(b.CURSOR_SHAPE, shape)
        first, last, lines = shape >> 8 & 0x3F, shape & 0x1F, self.cell_lines
        scaled = not self.data.byte(b.VIDEO_OPTIONS) & NO_SCALING and lines > CGA_CELL_LINES
        if scaled and last < CGA_CELL_LINES and first < CGA_SHAPES:
            if last == first + 1:  # a line stays a line of two
                first = (last + 1) * lines // CGA_CELL_LINES - 2
            else:
                first = (first + 1) * lines // CGA_CELL_LINES - 1
            last = (last + 1) * lines // CGA_CELL_LINES - 1
        self._crtc_word(CRTC_CURSOR_START, first << 8 | last)

    def select_page(self, page: int) -> None:
        """Show a page."""
        start = page * self.page_bytes & 0xFFFF
        self.data.set_byte(b.ACTIVE_PAGE, page)
        self.data.set_word(b.PAGE_START, start)
        self._crtc_word(CRTC_START_HIGH, start // CELL_BYTES if self.mode.kind is Kind.TEXT else start)
        self.place(page, *self.position(page))

    def _crtc_word(self, index: int, value: int) -> None:
        port = MONO_CRTC if self.data.word(b.CRTC_PORT) == MONO_CRTC else CRTC
        for register, byte in ((index, value >> 8), (index + 1, value & 0xFF)):
            self.host.bus.write(port, 1, register)
            self.host.bus.write(port + 1, 1, byte)

    # -- characters

    def cell(self, page: int, row: int, column: int) -> int:
        """Return the address of a text mode's cell; the window wraps."""
        offset = page * self.page_bytes + (row * self.columns + column) * CELL_BYTES
        return self.mode.window + offset % WINDOW_BYTES

    def glyph(self, byte: int) -> bytes:
        """Return the lines of a character in a graphics mode."""
        upper = byte >= 128 and self.mode.kind in CGA_MODES and self.number != LINEAR_MODE
        vector = UPPER_FONT_VECTOR if upper else FONT_VECTOR
        pointer = self.host.memory.read(vector * 4, 4)
        offset, segment = int.from_bytes(pointer[:2], "little"), int.from_bytes(pointer[2:], "little")
        lines = self.cell_lines
        at = (offset + (byte & 0x7F if upper else byte) * lines) & 0xFFFF
        return self.host.memory.read(segment * 16 + at, lines)

    def read_cell(self, page: int, row: int, column: int) -> tuple[int, int]:
        """Return character and attribute; in a graphics mode the character is told by its dots."""
        canvas = self.canvas
        if canvas is None:
            character, attribute = self.host.memory.read(self.cell(page, row, column), 2)
            return character, attribute
        lines = self.cell_lines
        rows = [read_cells(canvas, page, row * lines + line, column) for line in range(lines)]
        found = bytes(sum(0x80 >> x for x in range(8) if canvas.decode(cells, x)) for cells in rows)
        return next((byte for byte in range(256) if self.glyph(byte) == found), 0), 0

    def put_cell(self, page: int, row: int, column: int, byte: int, attribute: int | None) -> None:
        """Write a character; without an attribute the cell's own stays (7 in a graphics mode)."""
        canvas = self.canvas
        if canvas is None:
            data = bytes((byte,)) if attribute is None else bytes((byte, attribute))
            self.host.memory.write(self.cell(page, row, column), data)
        elif row < self.rows and column < self.columns:
            first = row * self.cell_lines
            colour = 7 if attribute is None else attribute
            for line, bits in enumerate(self.glyph(byte)):
                draw(canvas, page, (first + line, column), bits, colour)

    def scroll(self, page: int, window: Window, lines: int, attribute: int) -> None:
        """Move the window's rows up by `lines` (down if negative), blanking with `attribute`."""
        top, left, bottom, right = window
        bottom, right = min(bottom, self.rows - 1), min(right, self.columns - 1)
        if top > bottom or left > right:
            return
        count = max(-(bottom - top + 1), min(lines, bottom - top + 1))
        if self.canvas is None:
            self._scroll_text(page, (top, left, bottom, right), count, attribute)
        else:
            self._scroll_dots(self.canvas, page, (top, left, bottom, right), count, attribute)

    def _scroll_text(self, page: int, window: Window, lines: int, attribute: int) -> None:
        top, left, bottom, right = window
        width = (right - left + 1) * CELL_BYTES
        memory = self.host.memory
        rows = [memory.read(self.cell(page, row, left), width) for row in range(top, bottom + 1)]
        blank = [bytes((BLANK, attribute)) * (width // CELL_BYTES)] * abs(lines)
        moved = rows[lines:] + blank if lines >= 0 else blank + rows[:lines]
        for row, cells in zip(range(top, bottom + 1), moved, strict=True):
            memory.write(self.cell(page, row, left), cells)

    def _scroll_dots(self, canvas: Canvas, page: int, window: Window, lines: int, attribute: int) -> None:
        top, left, bottom, right = window
        height, cells = self.cell_lines, right - left + 1
        first, end = top * height, (bottom + 1) * height
        rows = [read_cells(canvas, page, line, left, cells) for line in range(first, end)]
        blank = [canvas.encode(0xFF, attribute & 0x7F) * cells] * (abs(lines) * height)
        count = lines * height
        moved = rows[count:] + blank if lines >= 0 else blank + rows[:count]
        for line, data in zip(range(first, end), moved, strict=True):
            write_cells(canvas, page, line, left, data)

    def type(self, page: int, byte: int, attribute: int | None = None) -> None:
        """Write one character at the cursor and move it, scrolling at the end of the screen."""
        row, column = self.position(page)
        if byte not in CONTROLS:
            self.put_cell(page, row, column, byte, attribute)
        row, column = self._advance(row, column, byte)
        if row >= self.rows:
            last = self.rows - 1
            kept = self.read_attribute(page, last)
            self.scroll(page, (0, 0, last, self.columns - 1), 1, kept)
            row = last
        self.place(page, row, column)

    def read_attribute(self, page: int, row: int) -> int:
        """Return what a blank line that scrolls in gets: the attribute of `row`, 0 in a graphics mode."""
        if self.canvas is not None:
            return 0
        return self.host.memory.read(self.cell(page, row, 0) + 1, 1)[0]

    def type_text(self, page: int, text: bytes, attributes: bytes | None) -> None:
        """Write a whole text. In a text mode on a copy of the page: its scrolling costs memory one write."""
        if self.canvas is not None:
            self._type_dots(page, text, attributes)
            return
        columns, rows = self.columns, self.rows
        start, row_bytes = self.cell(page, 0, 0), columns * CELL_BYTES
        cells = bytearray(self.host.memory.read(start, rows * row_bytes))
        row, column = self.position(page)
        for index, byte in enumerate(text):
            at = row * row_bytes + column * CELL_BYTES
            if byte not in CONTROLS and at < len(cells):
                cells[at] = byte
                cells[at + 1] = cells[at + 1] if attributes is None else attributes[index]
            row, column = self._advance(row, column, byte)
            if row >= rows:
                row = rows - 1
                cells = cells[row_bytes:] + bytes((BLANK, cells[row * row_bytes + 1])) * columns
        self.host.memory.write(start, cells)
        self.place(page, row, column)

    def _type_dots(self, page: int, text: bytes, attributes: bytes | None) -> None:
        """In a graphics mode: find where each character comes to rest, scroll once, draw what is left."""
        columns, rows = self.columns, self.rows
        row, column = self.position(page)
        scrolled = 0
        cells: dict[tuple[int, int], list[tuple[int, int | None]]] = {}  # by row as if nothing scrolled
        for index, byte in enumerate(text):
            if byte not in CONTROLS and row < rows and column < columns:
                attribute = None if attributes is None else attributes[index]
                drawn = cells.setdefault((row + scrolled, column), [])
                if not (attribute or 0) & XOR:
                    drawn.clear()
                drawn.append((byte, attribute))
            row, column = self._advance(row, column, byte)
            if row >= rows:
                row = rows - 1
                scrolled += 1
        if scrolled:
            self.scroll(page, (0, 0, rows - 1, columns - 1), scrolled, 0)
        for (at, across), drawn in cells.items():
            if at >= scrolled:
                for byte, attribute in drawn:
                    self.put_cell(page, at - scrolled, across, byte, attribute)
        self.place(page, row, column)

    def _advance(self, row: int, column: int, byte: int) -> tuple[int, int]:
        """Return where the cursor is after `byte`; a row beyond the last asks for scrolling."""
        if byte == BACKSPACE:
            column = max(column - 1, 0)
        elif byte == LINE_FEED:
            row += 1
        elif byte == CARRIAGE_RETURN:
            column = 0
        elif byte != BELL:
            column += 1
        return (row + 1, 0) if column >= self.columns else (row, column)
