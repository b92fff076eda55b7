"""INT 10h: text."""

from __future__ import annotations

from tests.vmm.firmware.rig import Rig


def test_set_mode_3_clears_the_screen_and_homes_the_cursor() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0003)
    assert bytes(rig.video[:160]) == b" \x07" * 80
    rig.call(0x10, ax=0x0300, bx=0)
    assert rig.reg("dx") == 0


def test_mode_bit_7_keeps_the_screen() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0003)
    rig.video[0:2] = b"Q\x1e"
    rig.call(0x10, ax=0x0083)
    assert rig.video[0:2] == b"Q\x1e"


def test_cursor_position_reaches_bda_and_crtc() -> None:
    rig = Rig()
    rig.crtc.writes.clear()
    rig.call(0x10, ax=0x0200, bx=0, dx=0x0205)
    assert rig.bda.word(0x50) == 0x0205
    assert rig.crtc.writes == [(0x3D4, 0x0E), (0x3D5, 0), (0x3D4, 0x0F), (0x3D5, 165)]


def test_cursor_shape_is_returned_by_function_3() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0100, cx=0x0607)
    rig.call(0x10, ax=0x0300, bx=0)
    assert rig.reg("cx") == 0x0607


def test_write_cells_takes_the_attribute_and_leaves_the_cursor() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0200, bx=0, dx=0x0A00)
    rig.call(0x10, ax=0x0941, bx=0x001E, cx=3)
    assert rig.video[1600:1606] == b"A\x1e" * 3
    rig.call(0x10, ax=0x0800, bx=0)
    assert rig.reg("ax") == 0x1E41


def test_write_characters_keeps_attributes() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0003)
    rig.call(0x10, ax=0x0A58, bx=0x00FF, cx=2)
    assert rig.video[0:6] == b"X\x07X\x07 \x07"


def test_teletype_obeys_control_characters() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0003)
    for character in b"ab\r\nc\x08d\x07":
        rig.call(0x10, ax=0x0E00 | character, bx=7)
    assert rig.line(0) == "ab"
    assert rig.line(1) == "d"


def test_teletype_at_the_last_cell_scrolls_one_line() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0003)
    rig.call(0x10, ax=0x0200, bx=0, dx=0x0100)
    rig.call(0x10, ax=0x0E4D, bx=7)
    rig.call(0x10, ax=0x0200, bx=0, dx=0x184F)
    rig.call(0x10, ax=0x0E5A, bx=7)
    assert rig.line(0) == "M"
    assert rig.line(23) == " " * 79 + "Z"
    assert rig.bda.word(0x50) == 0x1800


def test_scroll_moves_only_the_window() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0003)
    for row in range(4):
        rig.video[row * 160 : row * 160 + 160] = bytes((0x30 + row, 7)) * 80
    rig.call(0x10, ax=0x0601, bx=0x4F00, cx=0x0101, dx=0x0202)
    assert rig.line(1) == "1" + "22" + "1" * 77
    assert rig.line(2) == "2" + "  " + "2" * 77
    assert rig.video[2 * 160 + 3] == 0x4F
    rig.call(0x10, ax=0x0701, bx=0x0700, cx=0x0000, dx=0x184F)
    assert rig.line(0) == ""
    assert rig.line(1) == "0" * 80


def test_scroll_by_0_blanks_the_window() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0600, bx=0x1700, cx=0, dx=0x184F)
    assert bytes(rig.video[:4000]) == b" \x17" * 2000


def test_get_mode_tells_columns_mode_and_page() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0502)
    rig.call(0x10, ax=0x0F00, bx=0)
    assert (rig.reg("ah"), rig.reg("al"), rig.reg("bh")) == (80, 3, 2)


def test_write_string_with_attributes_moves_the_cursor_if_told() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x0003)
    rig.memory.write(0x20010, b"H\x02i\x04")
    rig.call(0x10, ax=0x1303, bx=0, cx=2, dx=0x0300, bp=0x10, es=0x2000)
    assert rig.video[480:484] == b"H\x02i\x04"
    assert rig.bda.word(0x50) == 0x0302


def test_functions_not_there_leave_the_registers() -> None:
    rig = Rig()
    rig.call(0x10, ax=0x4F00, bx=0x1111)
    assert rig.reg("ax") == 0x4F00
    rig.call(0x10, ax=0x1A00, bx=0)
    assert (rig.reg("al"), rig.reg("bl")) == (0x1A, 0x08)


def test_longest_string_of_line_feeds_ends_soon() -> None:
    rig = Rig()
    rig.memory.write(0x20000, b"\n" * 0xFFFF)
    rig.call(0x10, ax=0x1301, bx=0x0007, cx=0xFFFF, dx=0x1800, bp=0, es=0x2000)
    assert rig.bda.word(0x50) == 0x1800
