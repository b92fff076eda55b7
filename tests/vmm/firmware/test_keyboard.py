"""INT 9 and INT 16h."""

from __future__ import annotations

import pytest

from tests.vmm.firmware.rig import Latches, Rig


def typed(*codes: int) -> Rig:
    rig = Rig()
    for code in codes:
        rig.call(0x09, ax=code)
    return rig


@pytest.mark.parametrize(
    ("codes", "word"),
    [
        ((0x1E,), 0x1E61),  # a
        ((0x2A, 0x1E), 0x1E41),  # Shift A
        ((0x2A, 0xAA, 0x1E), 0x1E61),  # Shift released
        ((0x3A, 0xBA, 0x1E), 0x1E41),  # Caps Lock
        ((0x3A, 0xBA, 0x2A, 0x1E), 0x1E61),  # Caps Lock and Shift
        ((0x3A, 0xBA, 0x02), 0x0231),  # Caps Lock leaves digits
        ((0x1D, 0x2E), 0x2E03),  # Ctrl C
        ((0x38, 0x1E), 0x1E00),  # Alt A
        ((0x38, 0x02), 0x7800),  # Alt 1
        ((0x1C,), 0x1C0D),  # Enter
        ((0x3B,), 0x3B00),  # F1
        ((0x1D, 0x3B), 0x5E00),  # Ctrl F1
        ((0x57,), 0x8500),  # F11
        ((0x47,), 0x4700),  # keypad Home
        ((0x45, 0xC5, 0x47), 0x4737),  # keypad 7 under Num Lock
        ((0xE0, 0x48), 0x48E0),  # grey Up
        ((0xE0, 0x2A, 0xE0, 0x48), 0x48E0),  # grey Up within a false shift
        ((0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5, 0x39, 0x1E), 0x1E61),  # Pause, and the key that ends it
    ],
)
def test_scan_codes_become_key_words(codes: tuple[int, ...], word: int) -> None:
    rig = typed(*codes)
    rig.call(0x16, ax=0x1000)
    assert rig.reg("ax") == word
    rig.call(0x16, ax=0x1100)
    assert rig.zero


def test_read_without_a_key_waits_and_takes_what_comes() -> None:
    rig = Rig()
    rig.call(0x16, ax=0x0000)
    assert rig.verdict == 3
    rig.call(0x09, ax=0x10)
    rig.call(0x16, verdict=3, ax=0x0000)
    assert (rig.verdict, rig.reg("ax")) == (0, 0x1071)


def test_peek_leaves_the_key() -> None:
    rig = typed(0x10)
    for _ in range(2):
        rig.call(0x16, ax=0x0100)
        assert (rig.zero, rig.reg("ax")) == (False, 0x1071)


def test_old_functions_show_grey_keys_as_the_keypads() -> None:
    rig = typed(0xE0, 0x48, 0xE0, 0x1C)
    rig.call(0x16, ax=0x0000)
    assert rig.reg("ax") == 0x4800
    rig.call(0x16, ax=0x0000)
    assert rig.reg("ax") == 0x1C0D


def test_ring_holds_fifteen_keys_and_drops_more() -> None:
    rig = typed(*[0x1E] * 15, 0x30)
    words = []
    for _ in range(15):
        rig.call(0x16, ax=0x0000)
        words.append(rig.reg("ax"))
    assert words == [0x1E61] * 15
    rig.call(0x16, ax=0x0100)
    assert rig.zero


def test_shift_flags_tell_both_sides() -> None:
    rig = typed(0x36, 0xE0, 0x1D)
    rig.call(0x16, ax=0x0200)
    assert rig.reg("al") == 0x01 | 0x04
    rig.call(0x16, ax=0x1200)
    assert rig.reg("ah") == 0x04
    rig.call(0x09, ax=0x1D)
    for code in (0xE0, 0x9D):
        rig.call(0x09, ax=code)
    rig.call(0x16, ax=0x0200)
    assert rig.reg("al") == 0x01 | 0x04  # the left one is still held


def test_ctrl_alt_del_resets() -> None:
    rig = typed(0x1D, 0x38, 0x53)
    assert rig.keyboard.writes[-1] == (0x64, 0xFE)


def test_store_puts_a_key_into_the_ring() -> None:
    rig = Rig()
    rig.call(0x16, ax=0x0500, cx=0x1234)
    assert rig.reg("al") == 0
    rig.call(0x16, ax=0x1000)
    assert rig.reg("ax") == 0x1234


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        ((0x1E,), 1),  # a key for whoever waits
        ((0x1D, 0xE0, 0x46), 2),  # Ctrl-Break
        ((0x1D, 0x46), 2),  # Ctrl-Scroll Lock, on keyboards of 83 keys
        ((0xE0, 0x2A, 0xE0, 0x37), 3),  # Print Screen
        ((0xE1, 0x1D, 0x45), 4),  # Pause
        ((0x1D, 0x45), 4),  # Ctrl-Num Lock
        ((0x38, 0x54), 5),  # SysRq pressed
        ((0x38, 0x54, 0xD4), 6),  # and released
        ((0x2A,), 0),
        ((0x9E,), 0),
    ],
)
def test_verdict_tells_the_stub_what_a_key_stands_for(codes: tuple[int, ...], verdict: int) -> None:
    assert typed(*codes).verdict == verdict


def test_break_empties_the_ring_but_for_a_zero_word() -> None:
    rig = typed(0x1E, 0x30, 0x1D, 0xE0, 0x46)
    assert rig.bda.byte(0x71) == 0x80
    rig.call(0x16, ax=0x1000)
    assert rig.reg("ax") == 0
    rig.call(0x16, ax=0x1100)
    assert rig.zero


def test_pause_flag_stands_until_a_key_is_pressed() -> None:
    rig = typed(0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5)
    assert rig.bda.byte(0x18) & 8
    rig.call(0x09, ax=0x2A)  # Shift does not end it
    assert rig.bda.byte(0x18) & 8
    rig.call(0x09, ax=0x39)
    assert not rig.bda.byte(0x18) & 8


def test_alt_and_keypad_digits_compose_a_character() -> None:
    rig = typed(0x38, 0x4F, 0xCF, 0x50, 0xD0, 0x48, 0xC8, 0xB8)  # Alt 1 2 8
    rig.call(0x16, ax=0x1000)
    assert rig.reg("ax") == 128


def test_lock_key_has_its_led_lit_when_the_keyboard_has_acknowledged() -> None:
    rig = Rig()
    lamp = Latches(rig.bus, 0x60, 1)
    rig.call(0x09, ax=0x3A)
    assert lamp.writes == [(0x60, 0xED)]
    rig.call(0x09, ax=0xFA)
    assert lamp.writes[-1] == (0x60, 0x04)
    rig.call(0x09, ax=0xFA)
    assert (len(lamp.writes), rig.bda.byte(0x97) & 0x47) == (2, 0x04)


def test_typematic_rate_is_sent_after_its_command() -> None:
    rig = Rig()
    wire = Latches(rig.bus, 0x60, 1)
    rig.call(0x16, ax=0x0305, bx=0x0107)
    rig.call(0x09, ax=0xFA)
    assert wire.writes == [(0x60, 0xF3), (0x60, 0x27)]


def test_functions_of_the_keyboard_are_told() -> None:
    rig = Rig()
    rig.call(0x16, ax=0x0900)
    assert rig.reg("al") == 0x34
    rig.call(0x16, ax=0x0A00)
    assert rig.reg("bx") == 0x41AB


def test_ctrl_alt_del_asks_for_a_warm_start() -> None:
    assert typed(0x1D, 0x38, 0x53).bda.word(0x72) == 0x1234


def test_old_functions_throw_keys_away_that_old_keyboards_do_not_have() -> None:
    rig = Rig()
    for word in (0x8500, 0x8600, 0x1E61):  # F11, F12, a
        rig.call(0x16, ax=0x0500, cx=word)
    rig.call(0x16, ax=0x1100)
    assert rig.reg("ax") == 0x8500
    rig.call(0x16, ax=0x0100)
    assert rig.reg("ax") == 0x1E61
    rig.call(0x16, ax=0x0000)
    assert rig.reg("ax") == 0x1E61


def test_fill_ins_are_thrown_away_by_old_functions_and_have_no_character_for_new_ones() -> None:
    rig = Rig()
    for word in (0x57F0, 0x00F0, 0x00E0):
        rig.call(0x16, ax=0x0500, cx=word)
    rig.call(0x16, ax=0x1100)
    assert rig.reg("ax") == 0x5700
    for word in (0x00F0, 0x00E0):  # without a scan code they are characters
        rig.call(0x16, ax=0x0000)
        assert rig.reg("ax") == word


def test_rates_that_no_keyboard_has_are_not_sent() -> None:
    rig = Rig()
    wire = Latches(rig.bus, 0x60, 1)
    for rate in (0x0420, 0x0400, 0x0020):
        rig.call(0x16, ax=0x0305, bx=rate)
    assert not wire.writes


def test_probe_for_the_new_functions_finds_them() -> None:
    rig = Rig()
    rig.call(0x16, ax=0x9200)
    assert rig.reg("ah") == 0x80
