"""Pictures of graphics modes, each pixel put there by the ways the manuals give."""

from __future__ import annotations

import numpy as np
import pytest

from devices.vga import dispi as d
from devices.vga import registers as r
from devices.vga.adapter import Vga
from devices.vga.mode_table import MODES, Kind
from vmm.clock import MachineClock, ManualTime
from vmm.display.screenshot import draw

CGA_WINDOW = 0x1_8000
BLACK, GREEN, RED, WHITE = (0, 0, 0), (0, 0xAA, 0), (0xAA, 0, 0), (0xFF, 0xFF, 0xFF)
GRAPHICS_MODES = [number for number, mode in MODES.items() if mode.kind is not Kind.TEXT]


@pytest.fixture
def vga() -> Vga:
    return Vga(MachineClock(ManualTime()))


def at(picture: np.ndarray, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(value) for value in picture[y, x])


def set_crtc(vga: Vga, index: int, value: int) -> None:
    vga.colour.write(4, 2, index | value << 8)


def set_sequencer(vga: Vga, index: int, value: int) -> None:
    vga.common.write(4, 2, index | value << 8)


def set_graphics(vga: Vga, index: int, value: int) -> None:
    vga.common.write(0xE, 2, index | value << 8)


@pytest.mark.parametrize(
    ("mode", "shape"),
    [
        (0x04, (400, 640)), (0x06, (400, 640)), (0x0D, (400, 640)), (0x0E, (400, 640)),
        (0x10, (350, 640)), (0x12, (480, 640)), (0x13, (400, 640)),
    ],
)  # fmt: skip
def test_each_mode_has_the_dots_the_monitor_shows(vga: Vga, mode: int, shape: tuple[int, int]) -> None:
    vga.set_mode(mode)
    assert draw(vga).shape == (*shape, 3)


@pytest.mark.parametrize("mode", GRAPHICS_MODES)
def test_a_cleared_screen_is_black(vga: Vga, mode: int) -> None:
    vga.set_mode(mode)
    assert not draw(vga).any()


def test_mode_13h_is_a_byte_a_pixel(vga: Vga) -> None:
    vga.set_mode(0x13)
    vga.write(10 * 320 + 7, 1, 2)
    picture = draw(vga)
    assert [at(picture, x, 20) for x in (13, 14, 15, 16)] == [BLACK, GREEN, GREEN, BLACK]
    assert at(picture, 14, 21) == GREEN
    assert at(picture, 14, 22) == BLACK


def test_mode_13h_has_the_256_colours_of_the_bios(vga: Vga) -> None:
    vga.set_mode(0x13)
    for number in range(256):
        vga.write(number, 1, number)
    line = draw(vga)[0, ::2]
    assert tuple(line[15]) == WHITE
    assert tuple(line[0x1F]) == WHITE  # the last grey
    assert tuple(line[0x20]) == (0, 0, 0xFF)  # the first hue
    assert tuple(line[0x28]) == (0xFF, 0, 0)
    assert tuple(line[0x30]) == (0, 0xFF, 0)


def test_mode_12h_takes_a_bit_of_each_plane(vga: Vga) -> None:
    vga.set_mode(0x12)
    set_sequencer(vga, r.SEQ_MAP_MASK, 0b0100)
    vga.write(80 * 5 + 1, 1, 0b1000_0001)
    picture = draw(vga)
    assert [at(picture, x, 5) for x in (7, 8, 9, 15, 16)] == [BLACK, RED, BLACK, RED, BLACK]


def test_mode_10h_draws_by_set_reset_and_bit_mask(vga: Vga) -> None:
    vga.set_mode(0x10)
    set_graphics(vga, r.GC_SET_RESET, 2)
    set_graphics(vga, r.GC_ENABLE_SET_RESET, 0x0F)
    set_graphics(vga, r.GC_BIT_MASK, 0x10)
    vga.read(0, 1)
    vga.write(0, 1, 0)
    picture = draw(vga)
    assert [at(picture, x, 0) for x in (2, 3, 4)] == [BLACK, GREEN, BLACK]


def test_mode_4_has_even_and_odd_lines_apart(vga: Vga) -> None:
    vga.set_mode(0x04)
    vga.write(CGA_WINDOW, 1, 0b01_10_11_00)
    vga.write(CGA_WINDOW + 1, 1, 0b11_00_00_00)
    vga.write(CGA_WINDOW + 0x2000, 1, 0b10_00_00_00)
    picture = draw(vga)
    cyan, magenta = (0x55, 0xFF, 0xFF), (0xFF, 0x55, 0xFF)
    assert [at(picture, x * 2, 0) for x in range(5)] == [cyan, magenta, WHITE, BLACK, WHITE]
    assert at(picture, 0, 1) == cyan  # each line twice
    assert at(picture, 0, 2) == magenta


def test_mode_6_is_a_bit_a_pixel(vga: Vga) -> None:
    vga.set_mode(0x06)
    vga.write(CGA_WINDOW + 0x2000 + 80, 1, 0x40)
    picture = draw(vga)
    assert [at(picture, x, 6) for x in (0, 1, 2)] == [BLACK, WHITE, BLACK]


def test_mode_x_has_a_plane_for_each_fourth_pixel(vga: Vga) -> None:
    """[FreeVGA]: mode 13h with chain 4 off and byte addresses, 256 KiB of which 64,000 bytes are shown."""
    vga.set_mode(0x13)
    set_sequencer(vga, r.SEQ_MEMORY_MODE, 0x06)
    set_crtc(vga, r.CRTC_UNDERLINE, 0)
    set_crtc(vga, r.CRTC_MODE_CONTROL, 0xE3)
    set_sequencer(vga, r.SEQ_MAP_MASK, 0b0100)
    vga.write(80 + 3, 1, 4)
    picture = draw(vga)
    assert [at(picture, x * 2, 2) for x in (13, 14, 15)] == [BLACK, RED, BLACK]


def test_the_start_address_scrolls(vga: Vga) -> None:
    vga.set_mode(0x12)
    vga.write(80 * 7, 1, 0x80)
    set_crtc(vga, r.CRTC_START_LOW, 80 * 7 & 0xFF)
    set_crtc(vga, r.CRTC_START_HIGH, 80 * 7 >> 8)
    assert at(draw(vga), 0, 0) == WHITE


def test_panning_shifts_left_by_dots(vga: Vga) -> None:
    vga.set_mode(0x12)
    vga.write(0, 2, 0x80_01)  # dots 7 and 8
    vga.colour.read(0xA, 1)
    vga.common.write(0, 1, 0x20 | r.ATTR_PANNING)
    vga.common.write(0, 1, 3)
    picture = draw(vga)
    assert [at(picture, x, 0) for x in (3, 4, 5, 6)] == [BLACK, WHITE, WHITE, BLACK]


def test_below_the_line_compare_the_picture_starts_over(vga: Vga) -> None:
    vga.set_mode(0x12)
    vga.write(0, 1, 0x80)
    set_crtc(vga, r.CRTC_START_HIGH, 0x40)
    set_crtc(vga, r.CRTC_LINE_COMPARE, 99)
    set_crtc(vga, r.CRTC_OVERFLOW, 0x2E)
    set_crtc(vga, r.CRTC_MAXIMUM_SCAN_LINE, 0)
    picture = draw(vga)
    assert at(picture, 0, 0) == BLACK
    assert at(picture, 0, 100) == WHITE


def test_a_plane_that_is_not_enabled_is_not_seen(vga: Vga) -> None:
    vga.set_mode(0x12)
    vga.write(0, 1, 0x80)
    vga.colour.read(0xA, 1)
    vga.common.write(0, 1, 0x20 | r.ATTR_PLANE_ENABLE)
    vga.common.write(0, 1, 0x02)
    assert at(draw(vga), 0, 0) == GREEN


def test_the_pixel_mask_lies_before_the_dac(vga: Vga) -> None:
    vga.set_mode(0x13)
    vga.write(0, 1, 0x0F)
    vga.common.write(6, 1, 0x02)
    assert at(draw(vga), 0, 0) == GREEN


@pytest.mark.parametrize(
    ("bits", "value", "colour"),
    [
        (15, 0b11111_00000_10000, (0xFF, 0x00, 0x84)),
        (16, 0b00000_111111_10000, (0x00, 0xFF, 0x84)),
        (24, 0x123456, (0x12, 0x34, 0x56)),
        (32, 0x00123456, (0x12, 0x34, 0x56)),
    ],
)
def test_linear_pixels_have_blue_in_the_lowest_bits(
    vga: Vga, bits: int, value: int, colour: tuple[int, int, int]
) -> None:
    for index, number in ((d.X_RESOLUTION, 320), (d.Y_RESOLUTION, 240), (d.BITS, bits), (d.ENABLE, 0x41)):
        vga.dispi.bank.write(0, 2, index)
        vga.dispi.bank.write(1, 2, number)
    size = (bits + 7) // 8
    offset = (2 * 320 + 5) * size
    for lane in range(size):
        vga.dispi.write(offset + lane, 1, value >> 8 * lane & 0xFF)
    picture = draw(vga)
    assert picture.shape == (240, 320, 3)
    assert at(picture, 5, 2) == colour
    assert picture.any(axis=2).sum() == 1
    assert vga.is_graphics


def test_an_8_bit_linear_pixel_is_a_colour_of_the_dac(vga: Vga) -> None:
    vga.set_mode(0x13)
    for index, number in ((d.X_RESOLUTION, 64), (d.Y_RESOLUTION, 64), (d.BITS, 8), (d.ENABLE, 0x41)):
        vga.dispi.bank.write(0, 2, index)
        vga.dispi.bank.write(1, 2, number)
    vga.dispi.write(64, 1, 2)
    assert at(draw(vga), 0, 1) == GREEN


def test_setting_a_vga_mode_takes_the_screen_back(vga: Vga) -> None:
    for index, number in ((d.X_RESOLUTION, 64), (d.Y_RESOLUTION, 64), (d.ENABLE, 0x41)):
        vga.dispi.bank.write(0, 2, index)
        vga.dispi.bank.write(1, 2, number)
    vga.set_mode(3)
    assert draw(vga).shape == (400, 720, 3)
    assert not vga.is_graphics
