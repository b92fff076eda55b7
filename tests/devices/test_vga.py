"""VGA registers, one sentence of the manual per test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devices.vga import registers as r
from devices.vga.adapter import Vga
from vmm.clock import MachineClock, ManualTime

ATTRIBUTE, ATTRIBUTE_READ, MISC, SEQUENCER, DAC_READ, DAC_WRITE, DAC_DATA, GRAPHICS = 0, 1, 2, 4, 7, 8, 9, 14
FEATURE_READ, MISC_READ, DAC_MASK = 10, 12, 6
CRTC, STATUS1 = 4, 10


class Rig:
    """A VGA with a clock that moves when told, in text mode unless told otherwise."""

    def __init__(self, *, mode_3: bool = True) -> None:
        self.time = ManualTime()
        self.vga = Vga(MachineClock(self.time))
        if mode_3:
            self.vga.set_text_mode_3()

    def set(self, port: int, index: int, value: int) -> None:
        """Write an index and data pair of the common ports."""
        self.vga.common.write(port, 1, index)
        self.vga.common.write(port + 1, 1, value)

    def get(self, port: int, index: int) -> int:
        self.vga.common.write(port, 1, index)
        return self.vga.common.read(port + 1, 1)

    def set_crtc(self, index: int, value: int) -> None:
        self.vga.colour.write(CRTC, 1, index)
        self.vga.colour.write(CRTC + 1, 1, value)

    def get_crtc(self, index: int) -> int:
        self.vga.colour.write(CRTC, 1, index)
        return self.vga.colour.read(CRTC + 1, 1)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_crtc_answers_at_the_colour_ports_while_misc_bit_0_is_set(rig: Rig) -> None:
    rig.set_crtc(r.CRTC_CURSOR_LOW, 0x12)
    assert rig.get_crtc(r.CRTC_CURSOR_LOW) == 0x12
    assert rig.vga.mono.read(CRTC + 1, 1) == 0xFF
    rig.vga.mono.write(CRTC + 1, 1, 0x34)
    assert rig.get_crtc(r.CRTC_CURSOR_LOW) == 0x12


def test_crtc_moves_to_the_mono_ports_when_misc_bit_0_is_clear(rig: Rig) -> None:
    rig.set_crtc(r.CRTC_CURSOR_LOW, 0x12)
    rig.vga.common.write(MISC, 1, 0x66)
    assert rig.vga.mono.read(CRTC + 1, 1) == 0x12
    assert rig.vga.colour.read(CRTC + 1, 1) == 0xFF
    assert rig.vga.common.read(MISC_READ, 1) == 0x66


def test_a_word_write_sets_index_and_data(rig: Rig) -> None:
    rig.vga.common.write(GRAPHICS, 2, 0x3C_08)
    assert rig.get(GRAPHICS, r.GC_BIT_MASK) == 0x3C
    assert rig.vga.common.read(GRAPHICS, 2) == 0x3C_08


@pytest.mark.parametrize(("index", "writable"), list(enumerate(r.SEQ_WRITABLE)))
def test_sequencer_keeps_only_the_bits_that_exist(rig: Rig, index: int, writable: int) -> None:
    rig.set(SEQUENCER, index, 0xFF)
    assert rig.get(SEQUENCER, index) == writable


@pytest.mark.parametrize(("index", "writable"), list(enumerate(r.GC_WRITABLE)))
def test_graphics_controller_keeps_only_the_bits_that_exist(rig: Rig, index: int, writable: int) -> None:
    rig.set(GRAPHICS, index, 0xFF)
    assert rig.get(GRAPHICS, index) == writable


def test_registers_that_do_not_exist_float(rig: Rig) -> None:
    assert rig.get(SEQUENCER, 6) == 0xFF
    assert rig.get(GRAPHICS, 12) == 0xFF
    assert rig.get_crtc(0x30) == 0xFF


def test_crtc_registers_0_to_7_are_protected_by_bit_7_of_register_11h(rig: Rig) -> None:
    assert rig.get_crtc(r.CRTC_RETRACE_END) & r.RETRACE_END_PROTECT
    rig.set_crtc(r.CRTC_HORIZONTAL_TOTAL, 0)
    assert rig.get_crtc(r.CRTC_HORIZONTAL_TOTAL) == 0x5F
    rig.set_crtc(r.CRTC_RETRACE_END, 0x0E)
    rig.set_crtc(r.CRTC_HORIZONTAL_TOTAL, 0)
    assert rig.get_crtc(r.CRTC_HORIZONTAL_TOTAL) == 0


def test_line_compare_bit_of_the_overflow_register_is_never_protected(rig: Rig) -> None:
    rig.set_crtc(r.CRTC_OVERFLOW, 0)
    assert rig.get_crtc(r.CRTC_OVERFLOW) == 0x1F & ~r.OVERFLOW_LINE_COMPARE


def test_attribute_port_takes_index_and_data_in_turn(rig: Rig) -> None:
    rig.vga.colour.read(STATUS1, 1)
    rig.vga.common.write(ATTRIBUTE, 1, 0x01)
    rig.vga.common.write(ATTRIBUTE, 1, 0x2A)
    rig.vga.common.write(ATTRIBUTE, 1, 0x21)
    assert rig.vga.common.read(ATTRIBUTE, 1) == 0x21
    assert rig.vga.common.read(ATTRIBUTE_READ, 1) == 0x2A


def test_reading_input_status_1_makes_the_next_attribute_write_an_index(rig: Rig) -> None:
    rig.vga.colour.read(STATUS1, 1)
    rig.vga.common.write(ATTRIBUTE, 1, 0x01)
    rig.vga.colour.read(STATUS1, 1)
    rig.vga.common.write(ATTRIBUTE, 1, 0x25)
    assert rig.vga.common.read(ATTRIBUTE, 1) == 0x25


def test_screen_is_dark_while_the_palette_is_in_the_hands_of_the_program(rig: Rig) -> None:
    rig.vga.colour.read(STATUS1, 1)
    rig.vga.common.write(ATTRIBUTE, 1, 0x00)
    assert rig.vga.is_dark
    rig.vga.colour.read(STATUS1, 1)
    rig.vga.common.write(ATTRIBUTE, 1, 0x20)
    assert not rig.vga.is_dark


def test_dac_index_advances_after_three_components(rig: Rig) -> None:
    rig.vga.common.write(DAC_WRITE, 1, 200)
    for component in (1, 2, 3, 4, 5, 0xFF):
        rig.vga.common.write(DAC_DATA, 1, component)
    rig.vga.common.write(DAC_READ, 1, 200)
    assert [rig.vga.common.read(DAC_DATA, 1) for _ in range(6)] == [1, 2, 3, 4, 5, 0x3F]
    assert rig.vga.common.read(DAC_WRITE, 1) == 202


def test_dac_index_wraps_after_the_last_colour(rig: Rig) -> None:
    rig.vga.common.write(DAC_WRITE, 1, 255)
    for component in (9, 9, 9, 7, 7, 7):
        rig.vga.common.write(DAC_DATA, 1, component)
    assert rig.vga.dac.palette[0] == 7


def test_dac_state_tells_reading_from_writing(rig: Rig) -> None:
    rig.vga.common.write(DAC_READ, 1, 0)
    assert rig.vga.common.read(DAC_READ, 1) == 3
    rig.vga.common.write(DAC_WRITE, 1, 0)
    assert rig.vga.common.read(DAC_READ, 1) == 0


def test_pixel_mask_and_feature_control_are_kept(rig: Rig) -> None:
    rig.vga.common.write(DAC_MASK, 1, 0x5A)
    rig.vga.colour.write(STATUS1, 1, 0xFF)
    assert rig.vga.common.read(DAC_MASK, 1) == 0x5A
    assert rig.vga.common.read(FEATURE_READ, 1) == 0x03


def frame(rig: Rig, step_ns: int) -> list[int]:
    """Return input status 1 over two frames of mode 3, one value a step."""
    samples = []
    for now_ns in range(0, 28_600_000, step_ns):
        rig.time.value_ns = now_ns
        samples.append(rig.vga.colour.read(STATUS1, 1))
    return samples


def test_vertical_retrace_comes_70_times_a_second(rig: Rig) -> None:
    retrace = [bool(sample & r.STATUS1_VERTICAL_RETRACE) for sample in frame(rig, 10_000)]
    starts = [at for at in range(1, len(retrace)) if retrace[at] and not retrace[at - 1]]
    assert len(starts) == 2
    assert 14_200_000 < (starts[1] - starts[0]) * 10_000 < 14_300_000


def test_display_is_disabled_during_retrace_and_a_fifth_of_each_line(rig: Rig) -> None:
    samples = frame(rig, 1_009)
    assert all(s & r.STATUS1_DISPLAY_DISABLED for s in samples if s & r.STATUS1_VERTICAL_RETRACE)
    disabled = sum(s & r.STATUS1_DISPLAY_DISABLED for s in samples) / len(samples)
    assert 0.27 < disabled < 0.31  # 1 - 400/449 lines x 80/100 characters


def test_mode_3_reads_back_as_the_bios_tables_have_it(rig: Rig) -> None:
    assert rig.vga.common.read(MISC_READ, 1) == 0x67
    assert [rig.get(SEQUENCER, index) for index in range(1, 5)] == [0, 3, 0, 2]
    assert [rig.get(GRAPHICS, index) for index in range(9)] == [0, 0, 0, 0, 0, 0x10, 0x0E, 0, 0xFF]


def test_reset_leaves_a_dark_screen_and_empty_memory(rig: Rig) -> None:
    rig.vga.reset()
    assert rig.vga.save() == Vga(MachineClock(ManualTime())).save()
    assert rig.vga.is_dark


def make_for_contract(
    clock: MachineClock,
) -> tuple[Vga, list[tuple[object, int]], list[Callable[[], object]]]:
    vga = Vga(clock, frame_buffer=bytearray(0x8_0000))
    banks: list[tuple[object, int]] = [
        (vga.mono, 12), (vga.common, 16), (vga.colour, 16), (vga, 0x2_0000),
        (vga.dispi.bank, 2), (vga.dispi, 0x8_0000),
    ]  # fmt: skip
    exercises: list[Callable[[], object]] = [
        vga.set_text_mode_3,
        lambda: vga.write(0x1_8000, 2, 0x1741),
        lambda: vga.common.write(ATTRIBUTE, 1, 0x05),
        lambda: vga.common.write(DAC_WRITE, 2, 0x1234),
        lambda: vga.common.write(GRAPHICS, 2, 0x00_06),
        lambda: vga.write(0x100, 1, 0x5A),
        lambda: vga.set_mode(0x13),
        lambda: vga.dispi.bank.write(0, 2, 1),
        lambda: vga.dispi.write(0x100, 4, 0x12345678),
    ]
    return vga, banks, exercises


CONTRACT = [("vga", make_for_contract)]
