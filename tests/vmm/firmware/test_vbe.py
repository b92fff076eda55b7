"""VESA BIOS extensions: what is told, the modes, the memory, the monitor's description."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import run_tool
from tests.vmm.firmware.test_int10_graphics import BUFFER, Screen
from vmm.firmware.edid import edid

MIB = 1 << 20


@pytest.fixture
def screen() -> Screen:
    return Screen()


def vbe(screen: Screen, function: int, **regs: int) -> bool:
    """Call AX=4Fxxh; whether it says that it succeeded."""
    screen.call(0x10, ax=0x4F00 | function, **regs)
    assert screen.reg("al") == 0x4F
    return screen.reg("ah") == 0


def far(screen: Screen, pointer: bytes) -> int:
    offset, segment = struct.unpack("<HH", pointer)
    return segment * 16 + offset


def modes(screen: Screen) -> list[int]:
    screen.store(b"VBE2")
    assert vbe(screen, 0x00, es=BUFFER, di=0)
    block = screen.stored(512)
    assert block[:6] == b"VESA\x00\x03"
    list_at, found = far(screen, block[14:18]), []
    while (number := int.from_bytes(screen.memory.read(list_at, 2), "little")) != 0xFFFF:
        found.append(number)
        list_at += 2
    return found


def test_the_information_block_lists_the_modes_that_fit(screen: Screen) -> None:
    found = modes(screen)
    assert {0x101, 0x103, 0x105, 0x111, 0x144} <= set(found)
    assert 0x147 not in found  # 1600x1200 in 32 bits: more than the 4 MiB of this card
    block = screen.stored(512)
    assert int.from_bytes(block[18:20], "little") == 64
    assert screen.memory.read(far(screen, block[6:10]), 12) == b"Trapline VBE"


def test_every_listed_mode_is_described_and_can_be_set(screen: Screen) -> None:
    for number in modes(screen):
        assert vbe(screen, 0x01, cx=number, es=BUFFER, di=0)
        info = screen.stored(256)
        attributes, pitch, width, height = struct.unpack_from("<H14xHHH", info)
        assert attributes & 0x0091 == 0x0091
        assert vbe(screen, 0x02, bx=number | 0x4000)
        assert screen.picture().shape == (height, width, 3)
        assert not screen.picture().any()
        bits = info[0x19]
        assert pitch == width * ((bits + 7) // 8)
        assert vbe(screen, 0x03)
        assert screen.reg("bx") == number | 0x4000


def test_pixels_have_the_masks_that_are_told(screen: Screen) -> None:
    for number in (0x110, 0x111, 0x112, 0x142):
        assert vbe(screen, 0x01, cx=number, es=BUFFER, di=0)
        info = screen.stored(256)
        sizes, positions = info[0x1F:0x25:2], info[0x20:0x25:2]
        assert vbe(screen, 0x02, bx=number | 0x4000)
        for component in range(3):
            value = (1 << sizes[component]) - 1 << positions[component]
            size = (info[0x19] + 7) // 8
            screen.card.frame_buffer[:size] = value.to_bytes(size, "little")
            assert screen.pixel(0, 0) == tuple(255 if other == component else 0 for other in range(3))


def test_a_mode_that_is_not_there_fails(screen: Screen) -> None:
    assert not vbe(screen, 0x01, cx=0x147, es=BUFFER, di=0)
    assert not vbe(screen, 0x02, bx=0x147)
    assert not vbe(screen, 0x02, bx=0x1FF)


def test_a_function_that_is_not_there_leaves_the_registers(screen: Screen) -> None:
    screen.call(0x10, ax=0x4F0A)
    assert screen.reg("ax") == 0x4F0A


def test_mode_3_comes_back_by_vbe_and_by_function_0(screen: Screen) -> None:
    for bring_back in ({"ax": 0x4F02, "bx": 3}, {"ax": 0x0003}):
        assert vbe(screen, 0x02, bx=0x4101)
        assert screen.card.dispi.enabled
        screen.call(0x10, **bring_back)
        assert not screen.card.is_graphics
        assert vbe(screen, 0x03)
        assert screen.reg("bx") == 3


def test_bit_15_keeps_the_memory(screen: Screen) -> None:
    assert vbe(screen, 0x02, bx=0x4101)
    screen.card.frame_buffer[5] = 15
    assert vbe(screen, 0x02, bx=0xC101)
    assert screen.pixel(5, 0) == (255, 255, 255)
    assert vbe(screen, 0x02, bx=0x4101)
    assert not screen.picture().any()


def test_the_window_moves_over_the_memory(screen: Screen) -> None:
    assert vbe(screen, 0x02, bx=0x0101)
    assert vbe(screen, 0x05, bx=0, dx=2)
    assert vbe(screen, 0x05, bx=0x0100)
    assert screen.reg("dx") == 2
    screen.memory.write(0xA0007, b"\x0f")
    assert screen.card.frame_buffer[0x20007] == 15
    assert not vbe(screen, 0x05, bx=0, dx=64)


def test_the_line_grows_and_the_picture_scrolls(screen: Screen) -> None:
    assert vbe(screen, 0x02, bx=0x4101)
    assert vbe(screen, 0x06, bx=0x0000, cx=1024)
    assert (screen.reg("bx"), screen.reg("cx"), screen.reg("dx")) == (1024, 1024, 4096)
    assert vbe(screen, 0x07, bx=0, cx=10, dx=20)
    assert vbe(screen, 0x07, bx=1)
    assert (screen.reg("cx"), screen.reg("dx")) == (10, 20)
    screen.card.frame_buffer[20 * 1024 + 10] = 15
    assert screen.pixel(0, 0) == (255, 255, 255)
    assert not vbe(screen, 0x07, bx=0, cx=2000, dx=0)


def test_the_dac_has_8_bits_when_asked_for(screen: Screen) -> None:
    assert vbe(screen, 0x02, bx=0x4101)
    assert vbe(screen, 0x08, bx=0x0800)
    assert screen.reg("bh") == 8
    screen.store(bytes((0x10, 0x80, 0xFF, 0)))
    assert vbe(screen, 0x09, bx=0, cx=1, dx=7, es=BUFFER, di=0)
    screen.card.frame_buffer[0] = 7
    assert screen.pixel(0, 0) == (0xFF, 0x80, 0x10)
    screen.store(bytes(4))
    assert vbe(screen, 0x09, bx=1, cx=1, dx=7, es=BUFFER, di=0)
    assert screen.stored(4) == bytes((0x10, 0x80, 0xFF, 0))


@pytest.mark.parametrize("mode", [0x4101, 0x4111, 0x4112, 0x4142])
def test_characters_are_drawn_in_linear_modes(screen: Screen, mode: int) -> None:
    assert vbe(screen, 0x02, bx=mode)
    screen.call(0x10, ax=0x0200, bx=0, dx=0x0101)
    screen.call(0x10, ax=0x0E41, bx=0x000F)
    lit = screen.picture().any(axis=2)
    assert lit[16:32, 8:16].any()
    assert lit.sum() == lit[16:32, 8:16].sum()
    assert screen.picture().max() == 255


def test_the_state_of_the_interface_comes_back(screen: Screen) -> None:
    assert vbe(screen, 0x02, bx=0x4101)
    screen.card.frame_buffer[3] = 15
    assert vbe(screen, 0x04, dx=0)
    assert screen.reg("bx") * 64 >= 25
    assert vbe(screen, 0x04, dx=1, es=BUFFER, bx=0)
    screen.call(0x10, ax=0x0003)
    assert vbe(screen, 0x04, dx=2, es=BUFFER, bx=0)
    assert screen.picture().shape == (480, 640, 3)
    assert screen.card.frame_buffer[3] == 15


def test_the_monitor_describes_itself(screen: Screen, tmp_path: Path) -> None:
    assert vbe(screen, 0x15, bx=0)
    assert vbe(screen, 0x15, bx=1, cx=0, dx=0, es=BUFFER, di=0)
    assert screen.stored(128) == edid()
    assert sum(edid()) & 0xFF == 0
    path = tmp_path / "edid.bin"
    path.write_bytes(edid())
    told = run_tool("edid-decode", "-c", path)
    assert "Manufacturer: TRL" in told
    assert "DTD 1:  1024x768    60.00" in told
    assert "Display Product Name: 'Trapline'" in told
    assert "EDID conformity: PASS" in told


def test_pictures_are_those_of_the_memory(screen: Screen) -> None:
    assert vbe(screen, 0x02, bx=0x4142)
    rng = np.random.default_rng(1)
    wanted = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    pixels = np.zeros((480, 640, 4), dtype=np.uint8)
    pixels[..., :3] = wanted[..., ::-1]
    screen.card.frame_buffer[: pixels.size] = pixels.tobytes()
    assert (screen.picture() == wanted).all()
