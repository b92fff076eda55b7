"""Screenshots: dots, colours, cursor, and a file other programs can read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from devices.vga import registers as r
from devices.vga.adapter import Vga
from devices.vga.font8x16 import glyphs
from vmm.clock import MachineClock, ManualTime
from vmm.display.png import encode_png
from vmm.display.screenshot import render_png, render_text

TEXT = 0x1_8000
GREY, BLUE, YELLOW = (0xAA, 0xAA, 0xAA), (0, 0, 0xAA), (0xFF, 0xFF, 0x55)


@pytest.fixture
def vga() -> Vga:
    card = Vga(MachineClock(ManualTime()))
    card.set_text_mode_3()
    card.colour.write(4, 2, r.CRTC_CURSOR_START | 0x20 << 8)
    return card


def picture(vga: Vga) -> np.ndarray:
    return render_text(vga.text_screen(), vga.text_look())


def test_mode_3_is_720_by_400(vga: Vga) -> None:
    assert picture(vga).shape == (400, 720, 3)


def test_blank_screen_is_black(vga: Vga) -> None:
    assert not picture(vga).any()


def test_glyph_dots_have_the_foreground_colour(vga: Vga) -> None:
    vga.write(TEXT + 81 * 2, 2, 0x1E41)  # row 1, column 1
    cell = picture(vga)[16:32, 9:18]
    for line, dots in enumerate(glyphs()[0x41 * 16 : 0x42 * 16]):
        for dot in range(8):
            expected = YELLOW if dots & 0x80 >> dot else BLUE
            assert tuple(cell[line, dot]) == expected
        assert tuple(cell[line, 8]) == BLUE


def test_ninth_dot_of_box_characters_repeats_the_eighth(vga: Vga) -> None:
    vga.write(TEXT, 2, 0x07C4)
    vga.write(TEXT + 2, 2, 0x07B3)
    shown = picture(vga)
    lit = shown[:16, :9].any(axis=(1, 2)).argmax()
    assert tuple(shown[lit, 8]) == GREY
    assert not shown[:16, 17].any()


def test_eight_dot_mode_is_640_wide(vga: Vga) -> None:
    vga.common.write(4, 2, 0x0101)
    assert picture(vga).shape == (400, 640, 3)


def test_cursor_is_drawn_in_the_foreground_colour(vga: Vga) -> None:
    vga.colour.write(4, 2, r.CRTC_CURSOR_START | 13 << 8)
    shown = picture(vga)
    assert (shown[13:15, 0:9] == GREY).all()
    assert not shown[15].any()
    assert not shown[:13].any()


def test_bit_7_is_blink_or_a_bright_background(vga: Vga) -> None:
    vga.write(TEXT, 2, 0x9720)
    assert tuple(picture(vga)[0, 0]) == BLUE
    vga.colour.read(10, 1)
    vga.common.write(0, 1, 0x30)
    vga.common.write(0, 1, 0x04)
    assert tuple(picture(vga)[0, 0]) == (0x55, 0x55, 0xFF)


def test_dark_screen_is_a_black_picture(vga: Vga) -> None:
    vga.reset()
    assert not picture(vga).any()


def test_png_holds_the_pixels(tmp_path: Path, vga: Vga) -> None:
    vga.write(TEXT, 2, 0x1E41)
    path = tmp_path / "screen.png"
    render_png(vga, path)
    assert (decode(path.read_bytes()) == picture(vga)).all()


def test_png_of_one_pixel() -> None:
    pixels = np.array([[[1, 2, 3]]], dtype=np.uint8)
    assert (decode(encode_png(pixels)) == pixels).all()


def decode(data: bytes) -> np.ndarray:
    """Decode a PNG by its specification, checking every checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *kind_of_picture = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert kind_of_picture == [8, 2, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, 1 + width * 3)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)
