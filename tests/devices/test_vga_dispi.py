"""The Bochs display interface: its registers, the bank at A0000h, and the picture."""

from __future__ import annotations

import pytest

from devices.vga import dispi as d
from devices.vga.dac import Dac

VRAM = 1 << 20


class Rig:
    """The interface over one MiB."""

    def __init__(self) -> None:
        self.dac = Dac()
        self.dispi = d.Dispi(self.dac, bytearray(VRAM))

    def set(self, index: int, value: int) -> None:
        self.dispi.bank.write(0, 2, index)
        self.dispi.bank.write(1, 2, value)

    def get(self, index: int) -> int:
        self.dispi.bank.write(0, 2, index)
        return self.dispi.bank.read(1, 2)

    def enable(self, x: int, y: int, bits: int, flags: int = 0) -> None:
        for index, value in ((d.ENABLE, 0), (d.X_RESOLUTION, x), (d.Y_RESOLUTION, y), (d.BITS, bits)):
            self.set(index, value)
        self.set(d.ENABLE, d.ENABLED | d.LINEAR | flags)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_id_is_the_newest_version_until_an_older_one_is_asked_for(rig: Rig) -> None:
    assert rig.get(d.ID) == 0xB0C5
    rig.set(d.ID, 0xB0C2)
    assert rig.get(d.ID) == 0xB0C2
    rig.set(d.ID, 0x1234)
    assert rig.get(d.ID) == 0xB0C2


def test_the_size_of_the_memory_is_told_in_units_of_64_kib(rig: Rig) -> None:
    assert rig.get(d.MEMORY_64K) == 16


def test_enabling_shows_the_size_asked_for_from_the_start_of_the_memory(rig: Rig) -> None:
    rig.enable(320, 200, 32)
    screen = rig.dispi.screen()
    assert (screen.width, screen.height, screen.bits, screen.pitch) == (320, 200, 32, 1280)
    assert (rig.get(d.VIRTUAL_WIDTH), rig.get(d.VIRTUAL_HEIGHT)) == (320, VRAM // 1280)


def test_the_sizes_cannot_change_while_enabled(rig: Rig) -> None:
    rig.enable(320, 200, 8)
    rig.set(d.X_RESOLUTION, 640)
    assert rig.get(d.X_RESOLUTION) == 320


@pytest.mark.parametrize(
    ("x", "y", "bits"), [(0, 200, 8), (320, 0, 8), (320, 200, 12), (2048, 1024, 32), (2561, 1, 8)]
)
def test_what_does_not_fit_is_not_enabled(rig: Rig, x: int, y: int, bits: int) -> None:
    rig.enable(x, y, bits)
    assert not rig.dispi.enabled
    assert not rig.get(d.ENABLE) & d.ENABLED


def test_zero_bits_mean_eight(rig: Rig) -> None:
    rig.enable(320, 200, 0)
    assert rig.get(d.BITS) == 8


def test_enabling_clears_the_memory_unless_told_to_keep_it(rig: Rig) -> None:
    rig.dispi.write(0x1000, 4, 0xAABBCCDD)
    rig.enable(320, 200, 8, d.KEEP_MEMORY)
    assert rig.dispi.read(0x1000, 4) == 0xAABBCCDD
    rig.enable(320, 200, 8)
    assert rig.dispi.read(0x1000, 4) == 0


def test_with_the_capability_bit_the_sizes_read_as_the_largest(rig: Rig) -> None:
    rig.set(d.ENABLE, d.CAPABILITIES)
    assert [rig.get(index) for index in (d.X_RESOLUTION, d.Y_RESOLUTION, d.BITS)] == [2560, 1600, 32]
    rig.set(d.ENABLE, 0)
    assert rig.get(d.X_RESOLUTION) == 0


def test_a_longer_line_makes_fewer_of_them(rig: Rig) -> None:
    rig.enable(320, 200, 8)
    rig.set(d.VIRTUAL_WIDTH, 1024)
    assert (rig.get(d.VIRTUAL_WIDTH), rig.get(d.VIRTUAL_HEIGHT)) == (1024, 1024)
    rig.set(d.VIRTUAL_WIDTH, 100)
    assert rig.get(d.VIRTUAL_WIDTH) == 1024


def test_the_offsets_scroll_within_the_virtual_size(rig: Rig) -> None:
    rig.enable(320, 200, 8)
    rig.set(d.VIRTUAL_WIDTH, 640)
    rig.set(d.X_OFFSET, 8)
    rig.set(d.Y_OFFSET, 3)
    rig.dispi.write(3 * 640 + 8, 1, 0x77)
    assert rig.dispi.screen().pixels[0] == 0x77
    rig.set(d.X_OFFSET, 321)
    assert rig.get(d.X_OFFSET) == 8


def test_the_window_is_a_bank_of_64_kib(rig: Rig) -> None:
    rig.enable(640, 480, 8)
    rig.set(d.BANK, 3)
    rig.dispi.write_window(0x10, 2, 0xBEEF)
    assert rig.dispi.read(0x3_0010, 2) == 0xBEEF
    assert rig.dispi.read_window(0x10, 2) == 0xBEEF
    rig.set(d.BANK, 16)
    assert rig.get(d.BANK) == 3


def test_beyond_the_bank_nothing_answers(rig: Rig) -> None:
    rig.enable(640, 480, 8)
    rig.dispi.write_window(0x1_0000, 1, 0x55)
    assert rig.dispi.read_window(0xFFFE, 4) == 0xFFFF_FFFF
    assert not any(rig.dispi.memory)


def test_the_dac_has_eight_bits_when_asked_for(rig: Rig) -> None:
    rig.enable(320, 200, 8, d.DAC_8_BITS)
    rig.dac.write_write_index(1)
    for component in (0xFF, 0x80, 0x01):
        rig.dac.write_data(component)
    assert rig.dispi.screen().colours[1] == (0xFF, 0x80, 0x01)


def test_only_words_are_taken(rig: Rig) -> None:
    rig.set(d.X_RESOLUTION, 640)
    rig.dispi.bank.write(1, 1, 0x12)
    rig.dispi.bank.write(0, 4, 0xFFFFFFFF)
    assert rig.get(d.X_RESOLUTION) == 640
