"""INT 10h: text on the screen. Writes the frame buffer and the CRTC as a VGA BIOS does.

Pages 0 to 7 of mode 3 (80x25, sixteen colours) are here; other modes, palette and font functions
are not, and leave the registers as they are, which tells callers so.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10h - Video".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import Caller
from vmm.firmware.host import FirmwareHost

FRAME_BUFFER: Final = 0xB8000
FRAME_BUFFER_BYTES: Final = 0x8000
TEXT_MODE: Final = 3
COLUMNS: Final = 80
ROWS: Final = 25
PAGE_BYTES: Final = 0x1000
PAGES: Final = 8
CELL_BYTES: Final = 2
ROW_BYTES: Final = COLUMNS * CELL_BYTES
BLANK: Final = b" \x07"
KEEP_SCREEN: Final = 0x80  # bit 7 of the mode number: do not clear
BLOCK_CURSOR: Final = 0x0D0E  # scan lines 13-14 of 16
CRTC: Final = 0x3D4
CRTC_CURSOR_START: Final = 0x0A
CRTC_START_HIGH: Final = 0x0C
CRTC_CURSOR_HIGH: Final = 0x0E
VGA_COLOUR: Final = 0x08  # display combination code: VGA with a colour monitor
BELL, BACKSPACE, LINE_FEED, CARRIAGE_RETURN = 7, 8, 10, 13
CONTROLS: Final = frozenset({BELL, BACKSPACE, LINE_FEED, CARRIAGE_RETURN})


def _advance(row: int, column: int, byte: int) -> tuple[int, int]:
    """Return where the cursor is after `byte`; row 25 asks for scrolling."""
    if byte == BACKSPACE:
        column = max(column - 1, 0)
    elif byte == LINE_FEED:
        row += 1
    elif byte == CARRIAGE_RETURN:
        column = 0
    elif byte != BELL:
        column += 1
    return (row + 1, 0) if column >= COLUMNS else (row, column)


class Int10:
    """The video services. `put` is also how the firmware itself writes."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bda = Bda(host.memory)
        self._functions: dict[int, Callable[[Caller], None]] = {
            0x00: self._set_mode,
            0x01: self._set_cursor_shape,
            0x02: self._set_cursor,
            0x03: self._get_cursor,
            0x05: self._select_page,
            0x06: self._scroll_up,
            0x07: self._scroll_down,
            0x08: self._read_cell,
            0x09: self._write_cells,
            0x0A: self._write_characters,
            0x0E: self._teletype,
            0x0F: self._get_mode,
            0x12: self._alternate_select,
            0x13: self._write_string,
            0x1A: self._display_code,
        }

    def call(self, caller: Caller) -> None:
        """Serve one INT 10h."""
        function = self._functions.get(caller.ah)
        if function is not None:
            function(caller)

    # -- for the firmware itself

    def set_text_mode(self, clear: bool = True) -> None:
        """Enter mode 3 with the cursor at the top left."""
        display, memory = self._host.display, self._host.memory
        kept = None if clear else memory.read(FRAME_BUFFER, FRAME_BUFFER_BYTES)
        if display is not None:
            display.set_text_mode_3()
        if kept is not None or display is None:
            memory.write(FRAME_BUFFER, kept or BLANK * (FRAME_BUFFER_BYTES // CELL_BYTES))
        data = self._bda
        data.set_byte(b.VIDEO_MODE, TEXT_MODE)
        data.set_word(b.COLUMNS, COLUMNS)
        data.set_word(b.PAGE_BYTES, PAGE_BYTES)
        data.set_word(b.PAGE_START, 0)
        for page in range(PAGES):
            data.set_word(b.CURSORS + 2 * page, 0)
        data.set_word(b.CURSOR_SHAPE, BLOCK_CURSOR)
        data.set_byte(b.ACTIVE_PAGE, 0)
        data.set_word(b.CRTC_PORT, CRTC)
        data.set_byte(b.LAST_ROW, ROWS - 1)
        data.set_word(b.FONT_HEIGHT, 16)
        data.set_byte(b.VIDEO_OPTIONS, 0x60)
        data.set_byte(b.VIDEO_SWITCHES, 0xF9)
        data.set_byte(b.VGA_FLAGS, 0x51)
        data.set_byte(b.DISPLAY_CODE, VGA_COLOUR)
        self._crtc_word(CRTC_START_HIGH, 0)
        self._crtc_word(CRTC_CURSOR_START, BLOCK_CURSOR)
        self._place(0, 0, 0)

    def put(self, text: str) -> None:
        """Write `text` on page 0 as a teletype does."""
        self._type_text(0, text.encode("cp437", "replace"), None)

    # -- cells and cursor

    def _cell(self, page: int, row: int, column: int) -> int:
        return FRAME_BUFFER + (page * PAGE_BYTES + row * ROW_BYTES + column * CELL_BYTES) % FRAME_BUFFER_BYTES

    def _position(self, page: int) -> tuple[int, int]:
        word = self._bda.word(b.CURSORS + 2 * page)
        return word >> 8, word & 0xFF

    def _place(self, page: int, row: int, column: int) -> None:
        self._bda.set_word(b.CURSORS + 2 * page, row << 8 | column)
        if page == self._bda.byte(b.ACTIVE_PAGE):
            self._crtc_word(
                CRTC_CURSOR_HIGH, (page * PAGE_BYTES // CELL_BYTES + row * COLUMNS + column) & 0xFFFF
            )

    def _crtc_word(self, index: int, value: int) -> None:
        for register, byte in ((index, value >> 8), (index + 1, value & 0xFF)):
            self._host.bus.write(CRTC, 1, register)
            self._host.bus.write(CRTC + 1, 1, byte)

    def _type(self, page: int, byte: int) -> None:
        """Write one character at the cursor and move it, scrolling at the end of the screen."""
        row, column = self._position(page)
        if byte not in CONTROLS:
            self._host.memory.write(self._cell(page, row, column), bytes((byte,)))
        row, column = _advance(row, column, byte)
        if row >= ROWS:
            self._scroll(page, (0, 0, ROWS - 1, COLUMNS - 1), 1, self._last_attribute(page))
            row = ROWS - 1
        self._place(page, row, column)

    def _type_text(self, page: int, text: bytes, attributes: bytes | None) -> None:
        """Do the same for a whole text, on a copy of the page: its scrolling costs memory one write."""
        start = self._cell(page, 0, 0)
        cells = bytearray(self._host.memory.read(start, ROWS * ROW_BYTES))
        row, column = self._position(page)
        for index, byte in enumerate(text):
            at = row * ROW_BYTES + column * CELL_BYTES
            if byte not in CONTROLS and at < len(cells):
                cells[at] = byte
                cells[at + 1] = cells[at + 1] if attributes is None else attributes[index]
            row, column = _advance(row, column, byte)
            if row >= ROWS:
                row = ROWS - 1
                cells = cells[ROW_BYTES:] + bytes((0x20, cells[row * ROW_BYTES + 1])) * COLUMNS
        self._host.memory.write(start, cells)
        self._place(page, row, column)

    def _last_attribute(self, page: int) -> int:
        return self._host.memory.read(self._cell(page, ROWS - 1, 0) + 1, 1)[0]

    def _scroll(self, page: int, window: tuple[int, int, int, int], lines: int, attribute: int) -> None:
        """Move the window's rows up by `lines` (down if negative), blanking with `attribute`."""
        top, left, bottom, right = window
        bottom, right = min(bottom, ROWS - 1), min(right, COLUMNS - 1)
        if top > bottom or left > right:
            return
        width = (right - left + 1) * CELL_BYTES
        memory = self._host.memory
        rows = [memory.read(self._cell(page, row, left), width) for row in range(top, bottom + 1)]
        blank = [bytes((0x20, attribute)) * (width // CELL_BYTES)] * min(abs(lines), len(rows))
        moved = rows[lines:] + blank if lines >= 0 else blank + rows[:lines]
        for row, cells in zip(range(top, bottom + 1), moved, strict=True):
            memory.write(self._cell(page, row, left), cells)

    # -- the functions, by AH

    def _set_mode(self, caller: Caller) -> None:
        if caller.al & ~KEEP_SCREEN in (2, TEXT_MODE):
            self.set_text_mode(clear=not caller.al & KEEP_SCREEN)
            caller.al = 0x30

    def _set_cursor_shape(self, caller: Caller) -> None:
        self._bda.set_word(b.CURSOR_SHAPE, caller.cx)
        self._crtc_word(CRTC_CURSOR_START, caller.cx & 0x3F1F)

    def _set_cursor(self, caller: Caller) -> None:
        self._place(caller.bh % PAGES, caller.dh, caller.dl)

    def _get_cursor(self, caller: Caller) -> None:
        row, column = self._position(caller.bh % PAGES)
        caller.dh, caller.dl = row, column
        caller.cx = self._bda.word(b.CURSOR_SHAPE)

    def _select_page(self, caller: Caller) -> None:
        page = caller.al % PAGES
        self._bda.set_byte(b.ACTIVE_PAGE, page)
        self._bda.set_word(b.PAGE_START, page * PAGE_BYTES)
        self._crtc_word(CRTC_START_HIGH, page * PAGE_BYTES // CELL_BYTES)
        self._place(page, *self._position(page))

    def _window(self, caller: Caller) -> tuple[int, int, int, int]:
        return caller.ch, caller.cl, caller.dh, caller.dl

    def _scroll_up(self, caller: Caller) -> None:
        lines = caller.al or ROWS
        self._scroll(self._bda.byte(b.ACTIVE_PAGE) % PAGES, self._window(caller), min(lines, ROWS), caller.bh)

    def _scroll_down(self, caller: Caller) -> None:
        lines = caller.al or ROWS
        self._scroll(
            self._bda.byte(b.ACTIVE_PAGE) % PAGES, self._window(caller), -min(lines, ROWS), caller.bh
        )

    def _read_cell(self, caller: Caller) -> None:
        page = caller.bh % PAGES
        caller.ax = int.from_bytes(
            self._host.memory.read(self._cell(page, *self._position(page)), 2), "little"
        )

    def _write_cells(self, caller: Caller) -> None:
        page = caller.bh % PAGES
        self._host.memory.write(
            self._cell(page, *self._position(page)),
            (bytes((caller.al, caller.bl)) * caller.cx)[: self._room(page)],
        )

    def _write_characters(self, caller: Caller) -> None:
        page = caller.bh % PAGES
        start = self._cell(page, *self._position(page))
        for index in range(min(caller.cx, self._room(page) // CELL_BYTES)):
            self._host.memory.write(start + index * CELL_BYTES, bytes((caller.al,)))

    def _room(self, page: int) -> int:
        """Return the bytes from the cursor to the end of the frame buffer."""
        return FRAME_BUFFER + FRAME_BUFFER_BYTES - self._cell(page, *self._position(page))

    def _teletype(self, caller: Caller) -> None:
        self._type(caller.bh % PAGES, caller.al)

    def _get_mode(self, caller: Caller) -> None:
        caller.al = self._bda.byte(b.VIDEO_MODE)
        caller.ah = self._bda.byte(b.COLUMNS)
        caller.bh = self._bda.byte(b.ACTIVE_PAGE)

    def _alternate_select(self, caller: Caller) -> None:
        """BL = 10h: colour, 256 KiB, no feature bits, the switches of a VGA. The rest is not here."""
        if caller.bl == 0x10:
            caller.bx, caller.cx = 0x0003, 0x0009

    def _write_string(self, caller: Caller) -> None:
        """AL bit 0: the cursor moves; bit 1: attributes alternate with the characters."""
        page = caller.bh % PAGES
        before = self._position(page)
        cell = 2 if caller.al & 2 else 1
        data = caller.read(caller.address(r.ES, caller.bp), caller.cx * cell)
        attributes = data[1::2] if cell == CELL_BYTES else bytes((caller.bl,)) * len(data)
        self._place(page, caller.dh, caller.dl)
        self._type_text(page, data[::cell], attributes)
        if not caller.al & 1:
            self._place(page, *before)

    def _display_code(self, caller: Caller) -> None:
        if caller.al == 0:
            caller.al, caller.bx = 0x1A, VGA_COLOUR
