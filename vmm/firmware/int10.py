"""INT 10h: modes, cursor, characters and dots on the screen.

Palette, fonts and VBE have files of their own. Light pen (AH=04h) answers that there is none.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10h - Video".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from devices.vga.mode_table import MODES, Kind
from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.caller import Caller
from vmm.firmware.canvas import CELL_PIXELS, XOR, get_pixel, set_pixel
from vmm.firmware.host import FirmwareHost
from vmm.firmware.int10_fonts import Fonts
from vmm.firmware.int10_palette import Palette
from vmm.firmware.int10_state import DisplayState
from vmm.firmware.screen import CELL_BYTES, MODE_NUMBER, TEXT_MODE, VGA_COLOUR, Screen
from vmm.firmware.vbe import Vbe

KEEP_SCREEN: Final = 0x80  # bit 7 of the mode number: do not clear
MODE_SET: Final = {Kind.TEXT: 0x30, Kind.CGA_2: 0x3F}  # what AL becomes; 20h for the others, as VGA BIOSes do
OTHER_SET: Final = 0x20


class Int10:
    """The video services. `put` is also how the firmware itself writes."""

    def __init__(self, host: FirmwareHost) -> None:
        self.screen = Screen(host)
        self._memory = host.memory
        self._vbe = Vbe(self.screen)
        fonts, palette, state = Fonts(self.screen), Palette(self.screen), DisplayState(self.screen)
        self._set_font, self._palette = fonts.set_for_mode, palette
        self._functions: dict[int, Callable[[Caller], None]] = {
            0x00: self._set_mode,
            0x01: lambda caller: self.screen.shape_cursor(caller.cx),
            0x02: lambda caller: self.screen.place(self._page(caller), caller.dh, caller.dl),
            0x03: self._get_cursor,
            0x04: self._light_pen,
            0x05: lambda caller: self.screen.select_page(self.screen.page(caller.al)),
            0x06: lambda caller: self._scroll(caller, 1),
            0x07: lambda caller: self._scroll(caller, -1),
            0x08: self._read_cell,
            0x09: lambda caller: self._write_cells(caller, caller.bl),
            0x0A: self._write_characters,
            0x0B: palette.set_cga,
            0x0C: self._set_pixel,
            0x0D: self._get_pixel,
            0x0E: self._teletype,
            0x0F: self._get_mode,
            0x10: palette.call,
            0x11: fonts.call,
            0x12: state.alternate_select,
            0x13: self._write_string,
            0x1A: self._display_code,
            0x1B: state.report,
            0x1C: state.save_restore,
            0x4F: self._vbe.call,
        }

    def call(self, caller: Caller) -> None:
        """Serve one INT 10h."""
        function = self._functions.get(caller.ah)
        if function is not None:
            self._vbe.refresh()
            function(caller)

    # -- for the firmware itself

    def set_text_mode(self) -> None:
        """Enter mode 3 with the cursor at the top left."""
        self.screen.set_mode(TEXT_MODE)
        self._set_font(TEXT_MODE)

    def put(self, text: str) -> None:
        """Write `text` on page 0 as a teletype does."""
        self.screen.type_text(0, text.encode("cp437", "replace"), None)

    # -- the functions, by AH

    def _page(self, caller: Caller) -> int:
        return self.screen.page(caller.bh)

    def _set_mode(self, caller: Caller) -> None:
        number = caller.al & MODE_NUMBER
        if number not in MODES or (self.screen.host.display is None and MODES[number].kind is not Kind.TEXT):
            return
        colours = self._palette.kept()
        self.screen.set_mode(number, clear=not caller.al & KEEP_SCREEN)
        self._palette.load(colours)
        self._set_font(number)
        caller.al = MODE_SET.get(MODES[number].kind, OTHER_SET)

    def _get_cursor(self, caller: Caller) -> None:
        caller.dh, caller.dl = self.screen.position(self._page(caller))
        caller.cx = self.screen.data.word(b.CURSOR_SHAPE)

    def _light_pen(self, caller: Caller) -> None:
        caller.ah = 0

    def _scroll(self, caller: Caller, direction: int) -> None:
        lines = caller.al or self.screen.rows
        window = (caller.ch, caller.cl, caller.dh, caller.dl)
        self.screen.scroll(self.screen.active_page, window, lines * direction, caller.bh)

    def _read_cell(self, caller: Caller) -> None:
        page = self._page(caller)
        caller.al, caller.ah = self.screen.read_cell(page, *self.screen.position(page))

    def _write_cells(self, caller: Caller, attribute: int | None) -> None:
        """Write a character CX times, without moving the cursor."""
        screen, page = self.screen, self._page(caller)
        row, column = screen.position(page)
        if screen.canvas is not None:
            for index in range(min(caller.cx, screen.columns - column)):
                screen.put_cell(page, row, column + index, caller.al, attribute)
            return
        start = screen.cell(page, row, column)
        room = screen.cell(0, 0, 0) + 0x8000 - start
        count = min(caller.cx, room // CELL_BYTES)
        if attribute is not None:
            self._memory.write(start, bytes((caller.al, attribute)) * count)
            return
        cells = bytearray(self._memory.read(start, count * CELL_BYTES))
        cells[::CELL_BYTES] = bytes((caller.al,)) * count
        self._memory.write(start, cells)

    def _write_characters(self, caller: Caller) -> None:
        self._write_cells(caller, caller.bl if self.screen.canvas is not None else None)

    def _set_pixel(self, caller: Caller) -> None:
        canvas, x, y = self.screen.canvas, caller.cx, caller.dx
        if canvas is not None and self._on_screen(x, y):
            deep = self.screen.mode.kind is Kind.BYTES
            colour = caller.al if deep else caller.al & ~XOR
            xor = bool(caller.al & XOR) and not deep
            set_pixel(canvas, self._page(caller), x, y, colour, xor=xor)

    def _get_pixel(self, caller: Caller) -> None:
        canvas, x, y = self.screen.canvas, caller.cx, caller.dx
        if canvas is not None:
            caller.al = get_pixel(canvas, self._page(caller), x, y) & 0xFF if self._on_screen(x, y) else 0

    def _on_screen(self, x: int, y: int) -> bool:
        return x < self.screen.columns * CELL_PIXELS and y < self.screen.rows * self.screen.cell_lines

    def _teletype(self, caller: Caller) -> None:
        """Write to the active page, whatever BH says: [PTL] AH=0Eh has no parameter for a page."""
        attribute = caller.bl if self.screen.canvas is not None else None
        self.screen.type(self.screen.active_page, caller.al, attribute)

    def _get_mode(self, caller: Caller) -> None:
        caller.al = self.screen.data.byte(b.VIDEO_MODE) | self.screen.data.byte(b.VIDEO_OPTIONS) & KEEP_SCREEN
        caller.ah = self.screen.data.byte(b.COLUMNS)
        caller.bh = self.screen.data.byte(b.ACTIVE_PAGE)

    def _write_string(self, caller: Caller) -> None:
        """AL bit 0: the cursor moves; bit 1: attributes alternate with the characters."""
        page = self._page(caller)
        before = self.screen.position(page)
        cell = 2 if caller.al & 2 else 1
        data = caller.read(caller.address(r.ES, caller.bp), caller.cx * cell)
        attributes = data[1::2] if cell == CELL_BYTES else bytes((caller.bl,)) * len(data)
        self.screen.place(page, caller.dh, caller.dl)
        self.screen.type_text(page, data[::cell], attributes)
        if not caller.al & 1:
            self.screen.place(page, *before)

    def _display_code(self, caller: Caller) -> None:
        """AL = 0: tell the displays; AL = 1: set them, which there is nothing to do for."""
        if caller.al == 0:
            caller.bx = VGA_COLOUR
        if caller.al in (0, 1):
            caller.al = 0x1A
