"""INT 9 and INT 16h."""

from __future__ import annotations

import pytest

from tests.vmm.firmware.rig import Rig


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
        ((0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5, 0x1E), 0x1E61),  # Pause gives nothing
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
    assert rig.verdict == 1
    rig.call(0x09, ax=0x10)
    rig.call(0x16, verdict=1, ax=0x0000)
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
