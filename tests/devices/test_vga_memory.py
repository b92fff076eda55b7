"""The processor's way to video memory, one sentence of the manual per test."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.vga import registers as r
from devices.vga.memory import VideoMemory
from devices.vga.mode_table import MODES

TEXT = 0x1_8000  # B8000h seen from A0000h
ALL_PLANES = 0x0F


class Rig:
    """Video memory and the registers that rule it; planar at A0000h with all planes at first."""

    def __init__(self) -> None:
        self.memory = VideoMemory()
        self.sequencer = bytearray((3, 1, ALL_PLANES, 0, 0x06))
        self.graphics = bytearray((0, 0, 0, 0, 0, 0, 0x05, 0x0F, 0xFF))
        self.apply()

    def apply(self) -> None:
        self.memory.configure(self.sequencer, self.graphics, r.MISC_RAM_ENABLE)

    def set(self, **registers: int) -> None:
        """Set registers by the names of `devices.vga.registers`."""
        for name, value in registers.items():
            bank = self.graphics if name.startswith("GC_") else self.sequencer
            bank[getattr(r, name)] = value
        self.apply()

    def column(self, offset: int) -> list[int]:
        """Return the byte of each plane at `offset`."""
        return [plane[offset] for plane in self.memory.planes]

    def fill(self, offset: int, values: list[int]) -> None:
        for plane, value in zip(self.memory.planes, values, strict=True):
            plane[offset] = value


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def text_rig() -> Rig:
    rig = Rig()
    rig.sequencer[:] = MODES[3].registers.sequencer
    rig.graphics[:] = MODES[3].registers.graphics
    rig.apply()
    return rig


def test_map_mask_chooses_the_planes_written(rig: Rig) -> None:
    rig.set(SEQ_MAP_MASK=0b1010)
    rig.memory.write(5, 1, 0x77)
    assert rig.column(5) == [0, 0x77, 0, 0x77]


def test_wide_accesses_are_bytes_at_rising_addresses(rig: Rig) -> None:
    rig.memory.write(8, 4, 0x44332211)
    assert [rig.column(8 + lane)[0] for lane in range(4)] == [0x11, 0x22, 0x33, 0x44]
    assert rig.memory.read(8, 4) == 0x44332211


def test_write_mode_0_rotates_right(rig: Rig) -> None:
    rig.set(GC_DATA_ROTATE=3)
    rig.memory.write(0, 1, 0b0000_0101)
    assert rig.column(0)[0] == 0b1010_0000


def test_write_mode_0_replaces_enabled_planes_by_set_reset(rig: Rig) -> None:
    rig.set(GC_SET_RESET=0b0101, GC_ENABLE_SET_RESET=0b0011)
    rig.memory.write(0, 1, 0x3C)
    assert rig.column(0) == [0xFF, 0x00, 0x3C, 0x3C]


@pytest.mark.parametrize(("function", "expected"), [(0, 0x0F), (1, 0x05), (2, 0x5F), (3, 0x5A)])
def test_alu_combines_data_with_the_latch(rig: Rig, function: int, expected: int) -> None:
    rig.fill(0, [0x55] * 4)
    rig.memory.read(0, 1)
    rig.set(GC_DATA_ROTATE=function << 3)
    rig.memory.write(0, 1, 0x0F)
    assert rig.column(0) == [expected] * 4


def test_bit_mask_takes_masked_bits_from_the_latch(rig: Rig) -> None:
    rig.fill(0, [0xAA, 0xBB, 0xCC, 0xDD])
    rig.memory.read(0, 1)
    rig.set(GC_BIT_MASK=0x0F)
    rig.memory.write(1, 1, 0x00)
    assert rig.column(1) == [0xA0, 0xB0, 0xC0, 0xD0]


def test_write_mode_1_copies_the_latches(rig: Rig) -> None:
    rig.fill(0x1234, [1, 2, 3, 4])
    rig.set(GC_MODE=1)
    rig.memory.read(0x1234, 1)
    rig.memory.write(0x2000, 1, 0xFF)
    assert rig.column(0x2000) == [1, 2, 3, 4]


def test_write_mode_2_spreads_a_colour_over_the_planes(rig: Rig) -> None:
    rig.set(GC_MODE=2, GC_BIT_MASK=0x80)
    rig.memory.write(0, 1, 0b1001)
    assert rig.column(0) == [0x80, 0, 0, 0x80]


def test_write_mode_3_uses_data_as_a_bit_mask_for_set_reset(rig: Rig) -> None:
    rig.fill(0, [0xFF] * 4)
    rig.memory.read(0, 1)
    rig.set(GC_MODE=3, GC_SET_RESET=0b0001, GC_BIT_MASK=0xF0)
    rig.memory.write(0, 1, 0x3C)
    assert rig.column(0) == [0xFF, 0xCF, 0xCF, 0xCF]


def test_read_mode_0_returns_the_plane_of_the_read_map(rig: Rig) -> None:
    rig.fill(7, [1, 2, 3, 4])
    for plane in range(4):
        rig.set(GC_READ_MAP=plane)
        assert rig.memory.read(7, 1) == plane + 1


def test_read_mode_1_compares_colours_in_the_planes_cared_for(rig: Rig) -> None:
    rig.fill(0, [0b1100, 0b1010, 0xFF, 0])
    rig.set(GC_MODE=r.MODE_READ_COMPARE, GC_COLOUR_COMPARE=0b0011, GC_COLOUR_DONT_CARE=0b0011)
    assert rig.memory.read(0, 1) == 0b1000


def test_read_mode_1_without_care_matches_everywhere(rig: Rig) -> None:
    rig.set(GC_MODE=r.MODE_READ_COMPARE, GC_COLOUR_DONT_CARE=0)
    assert rig.memory.read(0, 1) == 0xFF


def test_chain_4_chooses_the_plane_by_the_low_address_bits(rig: Rig) -> None:
    rig.set(SEQ_MEMORY_MODE=0x0E)
    rig.memory.write(0x100, 4, 0x04030201)
    assert rig.column(0x100) == [1, 2, 3, 4]
    assert rig.memory.read(0x100, 4) == 0x04030201


def test_chain_4_and_its_fast_path_agree(rig: Rig) -> None:
    rig.set(SEQ_MEMORY_MODE=0x0E, GC_BIT_MASK=0xFF)
    rig.memory.write(0x40, 4, 0x0D0C0B0A)
    fast = rig.column(0x40)
    rig.set(GC_ENABLE_SET_RESET=0x0F, GC_SET_RESET=0x0F)
    rig.memory.write(0x40, 4, 0)
    assert rig.column(0x40) == [0xFF] * 4
    assert fast == [0x0A, 0x0B, 0x0C, 0x0D]


def test_odd_even_puts_characters_in_plane_0_and_attributes_in_plane_1(text_rig: Rig) -> None:
    text_rig.memory.write(TEXT + 4, 2, 0x1F41)
    assert text_rig.column(4) == [0x41, 0x1F, 0, 0]
    assert text_rig.memory.read(TEXT + 4, 2) == 0x1F41


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 64), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFF_FFFF))))
def test_text_memory_looks_like_memory(accesses: list[tuple[int, int, int]]) -> None:
    rig = Rig()
    rig.sequencer[:] = MODES[3].registers.sequencer
    rig.graphics[:] = MODES[3].registers.graphics
    rig.apply()
    model = bytearray(80)
    for offset, size, value in accesses:
        data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        rig.memory.write(TEXT + offset, size, int.from_bytes(data, "little"))
        model[offset : offset + size] = data
        assert rig.memory.read(TEXT + offset, size) == int.from_bytes(data, "little")
    assert bytes(rig.memory.read(TEXT + at, 1) for at in range(80)) == model


def test_font_written_to_plane_2_survives_text(text_rig: Rig) -> None:
    text_rig.set(SEQ_MAP_MASK=0x04, SEQ_MEMORY_MODE=0x06, GC_MODE=0, GC_MISC=0x04, GC_READ_MAP=2)
    text_rig.memory.write(0x41 * 32 + 1, 1, 0x5A)
    text_rig.set(SEQ_MAP_MASK=0x03, SEQ_MEMORY_MODE=0x02, GC_MODE=0x10, GC_MISC=0x0E, GC_READ_MAP=0)
    for at in range(0, 0x8000, 4):
        text_rig.memory.write(TEXT + at, 4, 0xFFFF_FFFF)
    assert text_rig.memory.planes[2][0x41 * 32 + 1] == 0x5A


@pytest.mark.parametrize(
    ("select", "first", "last"),
    [(0, 0, 0x1_FFFF), (1, 0, 0xFFFF), (2, 0x1_0000, 0x1_7FFF), (3, 0x1_8000, 0x1_FFFF)],
)
def test_memory_map_select_moves_the_window(rig: Rig, select: int, first: int, last: int) -> None:
    rig.set(GC_MISC=select << 2)
    inside = {0, 0x1_0000, 0x1_8000, 0x1_FFFF, 0x1_7FFF, 0xFFFF}
    for offset in inside:
        rig.memory.write(offset, 1, 0x21)
        expected = 0x21 if first <= offset <= last else 0xFF
        assert rig.memory.read(offset, 1) == expected


def test_memory_floats_while_misc_disables_it(rig: Rig) -> None:
    rig.memory.configure(rig.sequencer, rig.graphics, 0)
    rig.memory.write(0, 1, 0x12)
    assert rig.memory.read(0, 1) == 0xFF
    assert rig.column(0) == [0, 0, 0, 0]


def test_access_across_the_end_of_the_window_floats_beyond(text_rig: Rig) -> None:
    text_rig.memory.write(0x1_FFFF, 2, 0xBBAA)
    assert text_rig.memory.read(0x1_FFFF, 2) == 0xFFAA
