"""What a text mode shows."""

from __future__ import annotations

import hashlib

import pytest

from devices.vga import registers as r
from devices.vga.adapter import Vga
from devices.vga.font8x16 import glyphs
from devices.vga.mode_table import Palette, palette
from devices.vga.text import UNICODE, Cursor
from vmm.clock import MachineClock, ManualTime

TEXT = 0x1_8000
FONT_SHA256 = "1a04e2103b099a1e47818afa8d87f5c970716f64338a53e75dc1f12c90065cb4"


class Rig:
    """A VGA in mode 3."""

    def __init__(self) -> None:
        self.vga = Vga(MachineClock(ManualTime()))
        self.vga.set_text_mode_3()

    def put(self, cell: int, text: str, attribute: int = 7) -> None:
        for at, character in enumerate(text.encode("cp437")):
            self.vga.write(TEXT + (cell + at) * 2, 2, character | attribute << 8)

    def crtc(self, index: int, value: int) -> None:
        self.vga.colour.write(4, 2, index | value << 8)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_mode_3_is_80_by_25_blank_with_a_cursor_at_home(rig: Rig) -> None:
    screen = rig.vga.text_screen()
    assert (screen.columns, screen.rows, screen.cell_lines) == (80, 25, 16)
    assert screen.text() == "\n" * 24
    assert screen.cursor == Cursor(0, 0, 13, 14)


def test_cells_hold_what_was_written(rig: Rig) -> None:
    rig.put(80, "Hello ░", 0x1E)
    screen = rig.vga.text_screen()
    assert screen.line(1).startswith("Hello ░ ")
    assert screen.attributes[80:87] == b"\x1e" * 7


def test_start_address_scrolls(rig: Rig) -> None:
    rig.put(80, "second line")
    rig.crtc(r.CRTC_START_LOW, 80)
    assert rig.vga.text_screen().line(0).startswith("second line")


def test_start_address_wraps_at_the_end_of_the_plane(rig: Rig) -> None:
    rig.put(0, "start")
    rig.crtc(r.CRTC_START_HIGH, 0x7F)
    rig.crtc(r.CRTC_START_LOW, 0xF0)
    assert rig.vga.text_screen().line(0)[16:21] == "start"


def test_rows_below_the_line_compare_start_over_from_address_0(rig: Rig) -> None:
    rig.put(0, "status")
    rig.crtc(r.CRTC_START_HIGH, 0x04)
    rig.crtc(r.CRTC_MAXIMUM_SCAN_LINE, 0x0F)
    rig.crtc(r.CRTC_RETRACE_END, 0x0E)
    rig.crtc(r.CRTC_OVERFLOW, 0x1F)
    rig.crtc(r.CRTC_LINE_COMPARE, 24 * 16 - 1 - 256)
    screen = rig.vga.text_screen()
    assert screen.line(23).strip() == ""
    assert screen.line(24).startswith("status")


def test_maximum_scan_line_decides_the_number_of_rows(rig: Rig) -> None:
    rig.crtc(r.CRTC_MAXIMUM_SCAN_LINE, 0x47)
    screen = rig.vga.text_screen()
    assert (screen.rows, screen.cell_lines) == (50, 8)


def test_offset_register_is_the_distance_of_rows(rig: Rig) -> None:
    rig.crtc(r.CRTC_OFFSET, 0x40)
    rig.put(128, "row one")
    assert rig.vga.text_screen().line(1).startswith("row one")


def test_cursor_follows_its_location_relative_to_the_start(rig: Rig) -> None:
    rig.crtc(r.CRTC_START_LOW, 80)
    rig.crtc(r.CRTC_CURSOR_LOW, 80 + 163)
    assert rig.vga.text_screen().cursor == Cursor(3, 2, 13, 14)


@pytest.mark.parametrize(
    ("index", "value"),
    [(r.CRTC_CURSOR_START, r.CURSOR_OFF | 13), (r.CRTC_CURSOR_END, 3), (r.CRTC_CURSOR_HIGH, 0x20)],
)
def test_cursor_can_be_off_or_away(rig: Rig, index: int, value: int) -> None:
    rig.crtc(index, value)
    assert rig.vga.text_screen().cursor is None


def test_graphics_mode_has_no_text(rig: Rig) -> None:
    rig.vga.common.write(14, 2, 0x0506)
    assert rig.vga.is_graphics
    assert rig.vga.text_screen().rows == 0


def test_look_has_our_font_and_the_standard_colours(rig: Rig) -> None:
    look = rig.vga.text_look()
    assert look.fonts[0] == look.fonts[1]
    assert look.fonts[0][0x41 * 32 : 0x41 * 32 + 16] == glyphs()[0x41 * 16 : 0x42 * 16]
    assert look.colours[1] == (0, 0, 0xAA)
    assert look.colours[6] == (0xAA, 0x55, 0)  # brown, not dark yellow
    assert look.colours[15] == (0xFF, 0xFF, 0xFF)
    assert look.nine_dots
    assert look.line_graphics


def test_character_map_select_gives_intense_cells_another_font(rig: Rig) -> None:
    rig.vga.memory.planes[2][0x4000] = 0x99
    rig.vga.common.write(4, 2, 0x0403)  # map A = 1, map B = 0
    look = rig.vga.text_look()
    assert look.fonts[0][0] == 0
    assert look.fonts[1][0] == 0x99


def test_font_is_the_one_whose_provenance_is_recorded() -> None:
    assert len(glyphs()) == 4096
    assert hashlib.sha256(glyphs()).hexdigest() == FONT_SHA256


def test_every_code_has_one_character() -> None:
    assert len(UNICODE) == 256
    assert UNICODE[0x01] == "☺"
    assert UNICODE[0x41] == "A"
    assert UNICODE[0xDB] == "█"


def test_text_modes_have_the_colours_of_ega_of_six_bits() -> None:
    colours = palette(Palette.EGA)
    assert len(colours) == 768
    assert max(colours) == 0x3F
    assert colours[0x14 * 3 : 0x15 * 3] == bytes((0x2A, 0x15, 0))
