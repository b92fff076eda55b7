"""The same calls and port accesses on our firmware and VGA, and on QEMU's with SeaBIOS: the same outcomes.

Only what the manuals settle is asked: not where a font lies, what an invalid call leaves behind, nor the
attribute of a line that scrolls in (SeaBIOS has 07h always, [PTL] that of the cursor's cell) or INT 10h
AX=1201h BL=31h (SeaBIOS 1.16 keeps it in 40:87h, [PTL] in 40:89h).
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.guests.assets.script import Script

pytestmark = [pytest.mark.guest, pytest.mark.oracle]

TEXT, GRAPHICS = 0xB800, 0xA000
SCREEN_BYTES = 4000
SEQUENCER, GRAPHICS_CONTROLLER, CRTC = 0x3C4, 0x3CE, 0x3D4
DAC_READ, DAC_WRITE, DAC_DATA = 0x3C7, 0x3C8, 0x3C9


def agree(script: Script, folder: Path) -> None:
    """Run it here and under QEMU."""
    assert script.on_trapline(folder) == script.on_qemu(folder)


def test_scrolling_of_any_window(tmp_path: Path) -> None:
    script = Script()
    script.call(0x10, ax=3)
    script.store(TEXT, 0, bytes(range(32, 127)) * 3)
    for lines, attribute, top_left, bottom_right in (
        (1, 0x17, 0, 0x184F), (3, 0x20, 0x0203, 0x0A14), (0, 7, 0x0505, 0x0707), (9, 0x4E, 0x0A00, 0x0C4F),
        (200, 0x11, 0x0101, 0x0303), (2, 0x33, 0, 0xFFFF), (2, 0x33, 0x0505, 0x0404), (1, 0x12, 0x50, 0x1855),
    ):  # fmt: skip
        for function in (0x06, 0x07):
            script.call(0x10, ax=function << 8 | lines, bx=attribute << 8, cx=top_left, dx=bottom_right)
            script.sum(TEXT, 0, SCREEN_BYTES)
    agree(script, tmp_path)


def test_characters_on_every_page(tmp_path: Path) -> None:
    script = Script()
    script.call(0x10, ax=3)
    for page in (0, 1, 3, 7):
        script.call(0x10, ax=0x0200, bx=page << 8, dx=0x0510 + page)
        script.call(0x10, ax=0x0941 + page, bx=page << 8 | 0x1E, cx=5)
        script.call(0x10, ax=0x0A61 + page, bx=page << 8, cx=2)
        script.call(0x10, "ax", ax=0x0800, bx=page << 8)
        script.call(0x10, "cx", "dx", ax=0x0300, bx=page << 8)
        script.sum(TEXT, page * 0x1000, 0x1000)
    script.call(0x10, ax=0x0501)
    for register in (0x0C, 0x0D, 0x0E, 0x0F):
        script.in_index(CRTC, register)
    for character in b"Hi\r\n\bX\tY\x07Z":  # the teletype writes to the active page, not that in BH
        script.call(0x10, ax=0x0E00 | character, bx=0x0307)
    for page in range(4):
        script.call(0x10, "dx", ax=0x0300, bx=page << 8)
        script.sum(TEXT, page * 0x1000, 0x1000)
    script.store(0x5000, 0, b"Hello\r\nWorld\b!A\x1fB\x2f\r\x3f\nxC\x4f")
    for function in range(4):
        script.call(0x10, ax=0x0500)
        length, at = (14, 0) if function < 2 else (5, 14)
        script.call(0x10, ax=0x1300 | function, bx=0x1C, cx=length, dx=0x114C, es=0x5000, bp=at)
        script.call(0x10, "dx", ax=0x0300)
        script.sum(TEXT, 0, SCREEN_BYTES)
    agree(script, tmp_path)


def test_cursor_shapes_and_switches(tmp_path: Path) -> None:
    script = Script()
    for emulation in (0, 1):
        script.call(0x10, ax=3)
        script.call(0x10, "cx", ax=0x0300)
        script.call(0x10, "ax", ax=0x1200 | emulation, bx=0x34)
        for shape in (0x0607, 0x0007, 0x2000, 0x0B0C, 0x0106, 0x0707, 0x0000, 0x0D0E, 0x0405):
            script.call(0x10, ax=0x0100, cx=shape)
            script.call(0x10, "cx", ax=0x0300)
            script.in_index(CRTC, 0x0A)
            script.in_index(CRTC, 0x0B)
    for switch in (0x30, 0x32, 0x33):
        for setting in (1, 0):
            script.call(0x10, "ax", ax=0x1200 | setting, bx=switch)
            script.load(0x40, 0x87, 3)
            script.in_byte(0x3CC)
    agree(script, tmp_path)


def test_palette_services(tmp_path: Path) -> None:
    script = Script()
    script.call(0x10, ax=3)
    for register in range(0x15):
        script.call(0x10, ax=0x1000, bx=register | 0x2500)
        script.call(0x10, "bx", ax=0x1007, bx=register)
    for blink in (0, 1):
        script.call(0x10, ax=0x1003, bx=blink)
        script.call(0x10, "bx", ax=0x1007, bx=0x10)
    script.store(0x5000, 0, bytes(range(17)))
    script.call(0x10, ax=0x1002, es=0x5000)
    script.call(0x10, ax=0x1009, es=0x5100)
    script.load(0x5100, 0, 17)
    script.store(0x5000, 0, bytes(at * 5 & 0x3F for at in range(60)))
    script.call(0x10, ax=0x1012, bx=10, cx=20, es=0x5000)
    script.call(0x10, ax=0x101B, bx=5, cx=10)
    script.call(0x10, ax=0x1017, bx=0, cx=256, es=0x5100)
    script.sum(0x5100, 0, 768)
    for page in (0x0100, 0x0301, 0x0000, 0x0201):
        script.call(0x10, ax=0x1013, bx=page)
        script.call(0x10, "bx", ax=0x101A)
        script.call(0x10, "bx", ax=0x1007, bx=0x14)
    agree(script, tmp_path)


@pytest.mark.parametrize("mode", [0x0D, 0x0E, 0x10, 0x11, 0x12, 0x13, 0x04, 0x06])
def test_dots_and_characters_in_graphics(mode: int, tmp_path: Path) -> None:
    script = Script()
    script.call(0x10, ax=mode)
    window, length = (TEXT, 0x4000) if mode < 0x0D else (GRAPHICS, 0x8000)
    for x, y, colour in ((0, 0, 1), (5, 3, 3), (300, 199, 2), (17, 100, 0x83), (17, 100, 0x82), (319, 0, 1)):
        script.call(0x10, ax=0x0C00 | colour, cx=x, dx=y)
        script.call(0x10, "ax", ax=0x0D00, cx=x, dx=y)
    script.sum(window, 0, length)
    script.call(0x10, ax=0x0200, dx=0x0203)
    script.call(0x10, ax=0x0941, bx=0x01, cx=3)
    script.call(0x10, ax=0x0200, dx=0x0404)
    for character in b"ab\r\nc":
        script.call(0x10, ax=0x0E00 | character, bx=0x01)
    script.call(0x10, "dx", ax=0x0300)
    for attribute in (0, 1):
        script.call(0x10, ax=0x0601, bx=attribute << 8, cx=0, dx=0x0A20)
        script.call(0x10, ax=0x0702, bx=attribute << 8, cx=0x0103, dx=0x0610)
    agree(script, tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_every_way_through_the_graphics_controller(seed: int, tmp_path: Path) -> None:
    """Random writes and reads under random write modes, masks, rotation, set/reset and comparison."""
    script, rng = Script(), Random(seed)
    script.call(0x10, ax=0x12)
    script.sum(GRAPHICS, 0, 1)  # the latches are known
    for _ in range(600):
        kind = rng.randrange(10)
        if kind == 0:
            script.index(SEQUENCER, 2, rng.randrange(16))
        elif kind == 1:
            register = rng.choice((0, 1, 2, 3, 4, 7, 8))
            script.index(GRAPHICS_CONTROLLER, register, rng.randrange(256))
        elif kind == 2:
            script.index(GRAPHICS_CONTROLLER, 5, rng.choice((0, 0, 1, 2, 3, 8, 10)))
        elif kind < 8:
            script.store(GRAPHICS, rng.randrange(8), bytes((rng.randrange(256),)))
        else:
            script.load(GRAPHICS, rng.randrange(8), 1)
    script.index(GRAPHICS_CONTROLLER, 5, 0)
    for plane in range(4):
        script.index(GRAPHICS_CONTROLLER, 4, plane)
        script.load(GRAPHICS, 0, 8)
    agree(script, tmp_path)


def test_planes_unchained_from_mode_13h_and_registers_read_back(tmp_path: Path) -> None:
    script = Script()
    script.call(0x10, ax=0x13)
    script.fill(GRAPHICS, 0, 64)
    script.load(GRAPHICS, 0, 64)
    script.index(SEQUENCER, 4, 6)
    for plane in range(4):
        script.index(SEQUENCER, 2, 1 << plane)
        script.fill(GRAPHICS, 100 + plane, 40)
    for plane in range(4):
        script.index(GRAPHICS_CONTROLLER, 4, plane)
        script.load(GRAPHICS, 104, 36)
    script.call(0x10, ax=3)
    for port, registers in ((SEQUENCER, range(1, 5)), (GRAPHICS_CONTROLLER, range(9))):
        for register in registers:
            for value in (0xFF, 0, 0x55, 0xAA):
                script.index(port, register, value)
                script.in_index(port, register)
    script.call(0x10, ax=3)
    for register in range(0x19):  # those below 8 are protected
        script.index(CRTC, register, 0x0E if register == 0x11 else 0x55)
        script.in_index(CRTC, register)
    script.index(CRTC, 0x11, 0x8E)
    for register in range(8):
        script.index(CRTC, register, 0x41)
        script.in_index(CRTC, register)
    agree(script, tmp_path)


def test_dac_stores_a_colour_with_its_third_byte(tmp_path: Path) -> None:
    script = Script()
    script.call(0x10, ax=3)
    script.out(DAC_WRITE, 5)
    script.out(DAC_DATA, 1, 2)  # and no third
    script.out(DAC_READ, 5)
    for _ in range(4):
        script.in_byte(DAC_DATA)
    script.out(DAC_WRITE, 255)
    script.out(DAC_DATA, 1, 2, 3, 4, 5, 6)
    script.out(DAC_READ, 255)
    for _ in range(6):
        script.in_byte(DAC_DATA)
    agree(script, tmp_path)
