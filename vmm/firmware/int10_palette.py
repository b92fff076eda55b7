"""INT 10h, AH=0Bh and 10h: palette registers and the DAC.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 10h", functions 0Bh and 10h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from devices.vga.mode_table import Kind
from vmm.cpu import registers as r
from vmm.firmware import bda as b
from vmm.firmware.caller import Caller
from vmm.firmware.screen import GREY_COLOURS, KEEP_COLOURS, Screen
from vmm.firmware.vga_ports import DAC_MASK, VgaPorts

PALETTE_REGISTERS: Final = 16
MODE_CONTROL: Final = 0x10
OVERSCAN: Final = 0x11
COLOUR_SELECT: Final = 0x14
BLINK: Final = 0x08
SIXTEEN_PAGES: Final = 0x80  # of mode control: the DAC is 16 pages of 16 rather than 4 of 64
INTENSE: Final = 0x10
COLOURS: Final = 256
CGA_COLOURS: Final = range(1, 4)


class Palette:
    """The colour functions."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._ports = VgaPorts(screen.host.bus)
        self._functions: dict[int, Callable[[Caller], None]] = {
            0x00: self._set_register, 0x01: self._set_overscan, 0x02: self._set_all, 0x03: self._set_blink,
            0x07: self._get_register, 0x08: self._get_overscan, 0x09: self._get_all,
            0x10: self._set_colour, 0x12: self._set_colours, 0x13: self._select_page,
            0x15: self._get_colour, 0x17: self._get_colours, 0x18: self._set_mask, 0x19: self._get_mask,
            0x1A: self._get_page, 0x1B: self._sum_to_grey,
        }  # fmt: skip

    def call(self, caller: Caller) -> None:
        """Serve AH=10h."""
        function = self._functions.get(caller.al)
        if function is not None:
            function(caller)

    def set_cga(self, caller: Caller) -> None:
        """Serve AH=0Bh: BH=0 sets the border and, of a graphics mode, the background; BH=1 CGA's palette."""
        ports, value = self._ports, caller.bl
        if caller.bh == 0:
            border = value & 0x07 | (value & 0x08) << 1
            ports.write_attribute(OVERSCAN, border)
            if self._screen.mode.kind is Kind.TEXT:
                return
            ports.write_attribute(0, border)
            for index in CGA_COLOURS:
                old = ports.read_attribute(index)
                ports.write_attribute(index, old & ~INTENSE | value & INTENSE)
        elif caller.bh == 1:
            for index in CGA_COLOURS:
                ports.write_attribute(index, ports.read_attribute(index) & ~1 | value & 1)

    # -- mode changes

    def kept(self) -> bytes | None:
        """Return the colours that a mode change is not to load others over, if 12h has said so."""
        keep = self._screen.data.byte(b.VGA_FLAGS) & KEEP_COLOURS
        return self._ports.read_colours(0, COLOURS) if keep else None

    def load(self, colours: bytes | None) -> None:
        """After a mode change: put back what `kept` returned; else the mode's own, perhaps as greys."""
        if colours is not None:
            self._ports.write_colours(0, colours)
        elif self._screen.data.byte(b.VGA_FLAGS) & GREY_COLOURS:
            self._make_grey(0, COLOURS)

    # -- palette registers

    def _set_register(self, caller: Caller) -> None:
        if caller.bl <= COLOUR_SELECT:
            self._ports.write_attribute(caller.bl, caller.bh)

    def _set_overscan(self, caller: Caller) -> None:
        self._ports.write_attribute(OVERSCAN, caller.bh)

    def _set_all(self, caller: Caller) -> None:
        values = caller.read(caller.address(r.ES, caller.dx), PALETTE_REGISTERS + 1)
        for index, value in enumerate(values[:PALETTE_REGISTERS]):
            self._ports.write_attribute(index, value)
        self._ports.write_attribute(OVERSCAN, values[PALETTE_REGISTERS])

    def _set_blink(self, caller: Caller) -> None:
        """BL = 0: bit 7 of an attribute is intensity; 1: it blinks."""
        mode = self._ports.read_attribute(MODE_CONTROL)
        self._ports.write_attribute(MODE_CONTROL, mode | BLINK if caller.bl & 1 else mode & ~BLINK)

    def _get_register(self, caller: Caller) -> None:
        if caller.bl <= COLOUR_SELECT:
            caller.bh = self._ports.read_attribute(caller.bl)

    def _get_overscan(self, caller: Caller) -> None:
        caller.bh = self._ports.read_attribute(OVERSCAN)

    def _get_all(self, caller: Caller) -> None:
        indices = (*range(PALETTE_REGISTERS), OVERSCAN)
        values = bytes(self._ports.read_attribute(index) & 0xFF for index in indices)
        caller.write(caller.address(r.ES, caller.dx), values)

    # -- the DAC

    def _set_colour(self, caller: Caller) -> None:
        self._ports.write_colours(caller.bl, bytes((caller.dh, caller.ch, caller.cl)))
        self._grey_if_asked(caller.bl, 1)

    def _set_colours(self, caller: Caller) -> None:
        count = min(caller.cx, COLOURS)
        self._ports.write_colours(caller.bl, caller.read(caller.address(r.ES, caller.dx), 3 * count))
        self._grey_if_asked(caller.bl, count)

    def _get_colour(self, caller: Caller) -> None:
        caller.dh, caller.ch, caller.cl = self._ports.read_colours(caller.bl, 1)

    def _get_colours(self, caller: Caller) -> None:
        count = min(caller.cx, COLOURS)
        caller.write(caller.address(r.ES, caller.dx), self._ports.read_colours(caller.bl, count))

    def _select_page(self, caller: Caller) -> None:
        """BL = 0: four pages of 64 colours or (BH = 1) sixteen of 16; BL = 1: show page BH."""
        mode = self._ports.read_attribute(MODE_CONTROL)
        if caller.bl == 0:
            wanted = mode | SIXTEEN_PAGES if caller.bh & 1 else mode & ~SIXTEEN_PAGES
            self._ports.write_attribute(MODE_CONTROL, wanted)
        elif caller.bl == 1:
            page = caller.bh if mode & SIXTEEN_PAGES else caller.bh << 2
            self._ports.write_attribute(COLOUR_SELECT, page & 0x0F)

    def _get_page(self, caller: Caller) -> None:
        sixteen = bool(self._ports.read_attribute(MODE_CONTROL) & SIXTEEN_PAGES)
        select = self._ports.read_attribute(COLOUR_SELECT)
        caller.bl, caller.bh = int(sixteen), select & 0x0F if sixteen else select >> 2 & 3

    def _set_mask(self, caller: Caller) -> None:
        self._ports.write_port(DAC_MASK, caller.bl)

    def _get_mask(self, caller: Caller) -> None:
        caller.bl = self._ports.read_port(DAC_MASK)

    def _grey_if_asked(self, first: int, count: int) -> None:
        if self._screen.data.byte(b.VGA_FLAGS) & GREY_COLOURS:
            self._make_grey(first, count)

    def _sum_to_grey(self, caller: Caller) -> None:
        self._make_grey(caller.bl, min(caller.cx, COLOURS))

    def _make_grey(self, first: int, count: int) -> None:
        """Replace colours by greys: 30 % red, 59 % green, 11 % blue."""
        colours = self._ports.read_colours(first, count)
        greys = bytearray()
        for red, green, blue in zip(colours[::3], colours[1::3], colours[2::3], strict=True):
            greys += bytes((min(0x3F, (red * 77 + green * 151 + blue * 28 + 128) >> 8),)) * 3
        self._ports.write_colours(first, bytes(greys))
