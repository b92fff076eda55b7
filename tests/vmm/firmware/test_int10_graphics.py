"""INT 10h over a real VGA: modes, dots, characters in graphics modes, palette, fonts, state."""

from __future__ import annotations

import random

import numpy as np
import pytest

from devices.vga.adapter import Vga
from devices.vga.fonts import font
from tests.vmm.firmware.rig import Rig
from vmm.display.screenshot import draw

BLACK, GREEN, GREY, WHITE = (0, 0, 0), (0, 0xAA, 0), (0xAA, 0xAA, 0xAA), (0xFF, 0xFF, 0xFF)
BUFFER = 0x3000  # segment of what calls point to


class Screen(Rig):
    """The BIOS and a VGA."""

    def __init__(self) -> None:
        super().__init__(with_vga=True)

    @property
    def card(self) -> Vga:
        assert self.vga is not None
        return self.vga

    def picture(self) -> np.ndarray:
        return draw(self.card)

    def pixel(self, x: int, y: int) -> tuple[int, ...]:
        return tuple(int(value) for value in self.picture()[y, x])

    def text(self, row: int) -> str:
        return self.card.text_screen().line(row).rstrip()

    def store(self, data: bytes) -> None:
        self.memory.write(BUFFER * 16, data)

    def stored(self, length: int) -> bytes:
        return self.memory.read(BUFFER * 16, length)


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.mark.parametrize(
    ("mode", "shape"),
    [(0x00, (400, 720)), (0x03, (400, 720)), (0x04, (400, 640)), (0x06, (400, 640)), (0x07, (400, 720)),
     (0x0D, (400, 640)), (0x0E, (400, 640)), (0x10, (350, 640)), (0x12, (480, 640)), (0x13, (400, 640))],
)  # fmt: skip
def test_every_mode_is_set_and_told(screen: Screen, mode: int, shape: tuple[int, int]) -> None:
    screen.call(0x10, ax=mode)
    screen.call(0x10, ax=0x0F00)
    assert screen.reg("al") == mode
    assert screen.card.is_graphics == (mode not in (0x00, 0x03, 0x07))
    picture = screen.picture()
    assert picture.shape[0] == shape[0]
    assert picture.shape[1] in (shape[1], 360)  # 40 columns are drawn single


def random_cells(chance: random.Random) -> bytes:
    """Characters and controls that go over what is there, with colours, some drawn by exclusive or."""
    codes, colours = (65, 66, 0xDB, 8, 8, 10, 13, 7), (7, 12, 0x81, 0x8F)
    return b"".join(
        bytes((chance.choice(codes), chance.choice(colours))) for _ in range(chance.choice((3, 200, 1500)))
    )


@pytest.mark.parametrize("mode", [0x04, 0x06, 0x0D, 0x12, 0x13])
@pytest.mark.parametrize("seed", range(3))
def test_a_string_leaves_what_its_characters_one_by_one_leave(mode: int, seed: int) -> None:
    cells = random_cells(random.Random(seed))
    place = random.Random(seed).randrange(30) << 8 | random.Random(seed + 100).randrange(80)
    pictures = []
    for size in (len(cells), 2):
        screen = Screen()
        screen.call(0x10, ax=mode)
        screen.call(0x10, ax=0x0200, bx=0, dx=place)
        for at in range(0, len(cells), size):
            screen.call(0x10, ax=0x0300, bx=0)
            screen.store(cells[at : at + size])
            screen.call(0x10, ax=0x1303, bx=0, cx=size // 2, dx=screen.reg("dx"), es=BUFFER, bp=0)
        screen.call(0x10, ax=0x0300, bx=0)
        pictures.append((screen.reg("dx"), screen.picture().tobytes()))
    assert pictures[0] == pictures[1]


def test_a_mode_that_is_not_there_changes_nothing(screen: Screen) -> None:
    screen.call(0x10, ax=0x0055)
    screen.call(0x10, ax=0x0F00)
    assert screen.reg("al") == 3


@pytest.mark.parametrize(
    ("mode", "colour", "shown"),
    [
        (0x04, 3, WHITE),
        (0x06, 1, WHITE),
        (0x0D, 2, GREEN),
        (0x10, 2, GREEN),
        (0x12, 15, WHITE),
        (0x13, 2, GREEN),
    ],
)
def test_a_dot_is_drawn_and_read_back(
    screen: Screen, mode: int, colour: int, shown: tuple[int, int, int]
) -> None:
    screen.call(0x10, ax=mode)
    screen.call(0x10, ax=0x0C00 | colour, bx=0, cx=101, dx=53)
    screen.call(0x10, ax=0x0D00, bx=0, cx=101, dx=53)
    assert screen.reg("al") == colour
    screen.call(0x10, ax=0x0D00, bx=0, cx=102, dx=53)
    assert screen.reg("al") == 0
    picture = screen.picture()
    lit = np.argwhere(picture.any(axis=2))
    down, across = picture.shape[0] // (200 if mode in (4, 6, 0xD, 0x13) else picture.shape[0]), 1
    across = 2 if mode in (0x04, 0x0D, 0x13) else 1
    assert len(lit) == down * across
    assert tuple(lit[0]) == (53 * down, 101 * across)
    assert tuple(int(v) for v in picture[tuple(lit[0])]) == shown


def test_bit_7_of_the_colour_draws_by_exclusive_or(screen: Screen) -> None:
    screen.call(0x10, ax=0x0012)
    for expected in (5, 0):
        screen.call(0x10, ax=0x0C85, bx=0, cx=7, dx=7)
        screen.call(0x10, ax=0x0D00, bx=0, cx=7, dx=7)
        assert screen.reg("al") == expected


def test_a_dot_off_the_screen_is_not_drawn(screen: Screen) -> None:
    screen.call(0x10, ax=0x0012)
    screen.call(0x10, ax=0x0C0F, bx=0, cx=640, dx=0)
    screen.call(0x10, ax=0x0C0F, bx=0, cx=0, dx=480)
    assert not screen.picture().any()


@pytest.mark.parametrize(
    ("mode", "lines", "scale"), [(0x12, 16, 1), (0x10, 14, 1), (0x13, 8, 2), (0x06, 8, 1), (0x04, 8, 2)]
)
def test_characters_in_graphics_modes_are_those_of_the_font(
    screen: Screen, mode: int, lines: int, scale: int
) -> None:
    screen.call(0x10, ax=mode)
    screen.call(0x10, ax=0x0200, bx=0, dx=0x0102)
    screen.call(0x10, ax=0x0E41, bx=0x0001 if mode == 6 else 0x0003)
    glyph = font(lines)[0x41 * lines : 0x42 * lines]
    picture = screen.picture()
    high = 2 if lines == 8 else 1
    cell = picture[lines * high : 2 * lines * high : high, 16 * scale : 24 * scale : scale].any(axis=2)
    assert [sum(0x80 >> x for x in range(8) if row[x]) for row in cell] == list(glyph)
    screen.call(0x10, ax=0x0300, bx=0)
    assert screen.reg("dx") == 0x0103
    screen.call(0x10, ax=0x0200, bx=0, dx=0x0102)
    screen.call(0x10, ax=0x0800, bx=0)
    assert screen.reg("al") == 0x41


@pytest.mark.parametrize("mode", [0x12, 0x13, 0x04])
def test_the_teletype_scrolls_dots(screen: Screen, mode: int) -> None:
    screen.call(0x10, ax=mode)
    screen.call(0x10, ax=0x0F00)
    rows = 30 if mode == 0x12 else 25
    screen.call(0x10, ax=0x0E58, bx=3)
    first = screen.picture()
    screen.call(0x10, ax=0x0200, bx=0, dx=(rows - 1) << 8)
    screen.call(0x10, ax=0x0E0A, bx=3)
    assert not screen.picture().any()
    screen.call(0x10, ax=0x0200, bx=0, dx=0x0100)
    screen.call(0x10, ax=0x0E58, bx=3)
    screen.call(0x10, ax=0x0601, bx=0, cx=0, dx=(rows - 1) << 8 | 79)
    assert (screen.picture() == first).all()


def test_a_window_scrolls_down_and_is_filled(screen: Screen) -> None:
    screen.call(0x10, ax=0x0012)
    screen.call(0x10, ax=0x0702, bx=0x0200, cx=0x0101, dx=0x0402)
    picture = screen.picture()
    assert (picture[16:48, 8:24] == np.array(GREEN)).all()
    assert picture.any(axis=2).sum() == 32 * 16


def test_a_palette_register_chooses_the_colour(screen: Screen) -> None:
    screen.call(0x10, ax=0x0012)
    screen.call(0x10, ax=0x0C01, bx=0, cx=0, dx=0)
    screen.call(0x10, ax=0x1000, bx=0x0201)
    assert screen.pixel(0, 0) == GREEN
    screen.call(0x10, ax=0x1007, bx=0x0001)
    assert screen.reg("bh") == 2


def test_all_palette_registers_at_once(screen: Screen) -> None:
    screen.store(bytes(range(16)) + b"\x05")
    screen.call(0x10, ax=0x1002, es=BUFFER, dx=0)
    screen.memory.write(BUFFER * 16, bytes(32))
    screen.call(0x10, ax=0x1009, es=BUFFER, dx=0)
    assert screen.stored(17) == bytes(range(16)) + b"\x05"
    screen.call(0x10, ax=0x1008)
    assert screen.reg("bh") == 5
    assert not screen.card.is_dark


def test_dac_colours_one_and_many(screen: Screen) -> None:
    screen.call(0x10, ax=0x0013)
    screen.call(0x10, ax=0x1010, bx=0x20, cx=0x3F01, dx=0x2000)
    screen.call(0x10, ax=0x1015, bx=0x20)
    assert (screen.reg("dh"), screen.reg("ch"), screen.reg("cl")) == (0x20, 0x3F, 0x01)
    screen.store(bytes(range(30)))
    screen.call(0x10, ax=0x1012, bx=0x40, cx=10, es=BUFFER, dx=0)
    screen.memory.write(BUFFER * 16, bytes(32))
    screen.call(0x10, ax=0x1017, bx=0x40, cx=10, es=BUFFER, dx=0)
    assert screen.stored(30) == bytes(range(30))


def test_blinking_becomes_intensity(screen: Screen) -> None:
    assert screen.card.text_screen().blinking
    screen.call(0x10, ax=0x1003, bx=0)
    assert not screen.card.text_screen().blinking


def test_greys_weigh_green_most(screen: Screen) -> None:
    screen.call(0x10, ax=0x1010, bx=0x20, cx=0x3F00, dx=0)
    screen.call(0x10, ax=0x101B, bx=0x20, cx=1)
    screen.call(0x10, ax=0x1015, bx=0x20)
    assert screen.reg("dh") == screen.reg("ch") == screen.reg("cl") == round(0x3F * 0.59)


def test_a_font_of_8_lines_makes_50_rows(screen: Screen) -> None:
    screen.call(0x10, ax=0x1112, bx=0)
    shown = screen.card.text_screen()
    assert (shown.columns, shown.rows, shown.cell_lines) == (80, 50, 8)
    screen.call(0x10, ax=0x1130, bx=0x0100)
    assert (screen.reg("cx"), screen.reg("dl")) == (8, 49)
    screen.call(0x10, ax=0x0200, bx=0, dx=0x3100)
    screen.call(0x10, ax=0x0E5A, bx=7)
    assert screen.text(49) == "Z"


def test_a_users_glyph_is_shown(screen: Screen) -> None:
    glyph = bytes([0xFF, 0x81] * 8)
    screen.store(glyph)
    screen.call(0x10, ax=0x1100, bx=0x1000, cx=1, dx=0x41, es=BUFFER, bp=0)
    assert screen.card.text_look().fonts[0][0x41 * 32 : 0x41 * 32 + 16] == glyph


@pytest.mark.parametrize(("which", "lines"), [(2, 14), (3, 8), (6, 16)])
def test_the_roms_fonts_are_where_function_30h_says(screen: Screen, which: int, lines: int) -> None:
    screen.call(0x10, ax=0x1130, bx=which << 8)
    assert screen.memory.read(screen.es * 16 + screen.reg("bp"), 256 * lines) == font(lines)


def test_the_lower_font_is_at_its_fixed_address(screen: Screen) -> None:
    assert screen.memory.read(0xFFA6E, 1024) == font(8)[:1024]


def test_a_users_font_draws_in_graphics_modes(screen: Screen) -> None:
    screen.call(0x10, ax=0x0013)
    screen.store(bytes([0xFF] * 8) * 256)
    screen.call(0x10, ax=0x1121, bx=0x0002, cx=8, es=BUFFER, bp=0)
    screen.call(0x10, ax=0x0E20, bx=2)
    assert (screen.picture()[:16, :16] == np.array(GREEN)).all()


def test_the_screen_goes_off_and_on(screen: Screen) -> None:
    screen.call(0x10, ax=0x1201, bx=0x36)
    assert screen.reg("al") == 0x12
    assert screen.card.is_dark
    screen.call(0x10, ax=0x1200, bx=0x36)
    assert not screen.card.is_dark


def test_what_the_display_can_do_is_64_bytes(screen: Screen) -> None:
    screen.call(0x10, ax=0x0012)
    screen.call(0x10, ax=0x1B00, bx=0, es=BUFFER, di=0)
    report = screen.stored(64)
    assert screen.reg("al") == 0x1B
    assert report[4] == 0x12
    assert int.from_bytes(report[5:7], "little") == 80
    assert report[0x22] == 30
    assert report[0x25] == 0x08
    assert int.from_bytes(report[0x27:0x29], "little") == 16
    table = int.from_bytes(report[2:4], "little") * 16 + int.from_bytes(report[:2], "little")
    assert screen.memory.read(table, 3) == b"\xff\xe0\x0f"


def test_the_state_is_saved_and_restored(screen: Screen) -> None:
    screen.call(0x10, ax=0x0013)
    screen.call(0x10, ax=0x1C00, cx=7)
    assert screen.reg("al") == 0x1C
    assert screen.reg("bx") * 64 >= 768
    screen.call(0x10, ax=0x1C01, cx=7, es=BUFFER, bx=0)
    before = screen.card.registers.save(), bytes(screen.card.dac.palette)
    screen.call(0x10, ax=0x0003)
    screen.call(0x10, ax=0x1C02, cx=7, es=BUFFER, bx=0)
    after = screen.card.registers.save(), bytes(screen.card.dac.palette)
    assert after[0].crtc == before[0].crtc
    assert after[0].sequencer == before[0].sequencer
    assert after[0].graphics == before[0].graphics
    assert after[0].attributes == before[0].attributes
    assert after[1] == before[1]
    screen.call(0x10, ax=0x0F00)
    assert screen.reg("al") == 0x13


def test_cga_palettes(screen: Screen) -> None:
    screen.call(0x10, ax=0x0004)
    screen.call(0x10, ax=0x0C01, bx=0, cx=0, dx=0)
    screen.call(0x10, ax=0x0B00, bx=0x0100)
    assert screen.pixel(0, 0) == (0x55, 0xFF, 0x55)
    screen.call(0x10, ax=0x0B00, bx=0x0001)
    assert screen.pixel(4, 0) == (0, 0, 0xAA)
    assert screen.pixel(0, 0) == GREEN


def test_border_of_a_text_mode_is_not_its_background(screen: Screen) -> None:
    screen.call(0x10, ax=0x0003)
    screen.call(0x10, ax=0x0B00, bx=0x0002)
    assert screen.pixel(0, 0) == (0, 0, 0)


def test_mode_change_leaves_colours_or_makes_them_grey_when_told(screen: Screen) -> None:
    screen.call(0x10, ax=0x1201, bx=0x0031)  # do not load a mode's colours
    screen.call(0x10, ax=0x1010, bx=1, cx=0x0102, dx=0x0300)
    screen.call(0x10, ax=0x0013)
    screen.call(0x10, ax=0x1015, bx=1)
    assert (screen.reg("dh"), screen.reg("cx")) == (3, 0x0102)

    screen.call(0x10, ax=0x1200, bx=0x0031)
    screen.call(0x10, ax=0x1200, bx=0x0033)  # colours become greys
    screen.call(0x10, ax=0x0013)
    screen.call(0x10, ax=0x1015, bx=1)
    assert (screen.reg("dh"), screen.reg("ch"), screen.reg("cl")) == (5, 5, 5)  # of 0, 0, 42
