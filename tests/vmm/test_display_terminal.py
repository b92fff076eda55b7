"""The screen in a terminal: a small terminal of ours must end up showing what the guest shows."""

from __future__ import annotations

import io
import os
import pty
import re
import termios

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.vga import registers as r
from devices.vga.adapter import Vga
from vmm.clock import MachineClock, ManualTime
from vmm.display.halfblocks import cell_changes, scaled
from vmm.display.keyboard_input import RawTerminal, TerminalKeyboard
from vmm.display.keys import Chord, KeyDecoder, Token, decode
from vmm.display.terminal import FRAME_NS, TerminalDisplay

TEXT = 0x1_8000


class Screen(io.StringIO):
    """A terminal that knows the few sequences we send."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: dict[tuple[int, int], tuple[str, str]] = {}
        self.column = self.row = 0
        self.style = ""
        self.cursor_shown = True
        self.sent = 0

    def write(self, text: str) -> int:
        self.sent += len(text)
        for part in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|.", text, re.DOTALL):
            if not part.startswith("\x1b"):
                self.cells[self.row, self.column] = (part, self.style)
                self.column += 1
            elif part.endswith("H"):
                numbers = [int(number) for number in part[2:-1].split(";") if number] or [1, 1]
                self.row, self.column = numbers[0] - 1, numbers[1] - 1
            elif part.endswith("m"):
                self.style = part[2:-1]
            elif part.endswith("J"):
                self.cells.clear()
            elif part in ("\x1b[?25h", "\x1b[?25l"):
                self.cursor_shown = part.endswith("h")
        return len(text)


class Rig:
    """A VGA in mode 3 shown on a `Screen`."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self.now_ns = 0
        self.vga = Vga(MachineClock(ManualTime()))
        self.vga.set_text_mode_3()
        self.screen = Screen()
        self.display = TerminalDisplay(self.vga, self.screen, lambda: self.now_ns, environment or {})
        self.display.open()
        self.next_frame()

    def next_frame(self) -> None:
        self.now_ns += FRAME_NS
        self.display.refresh()

    def put(self, cell: int, character: int, attribute: int = 7) -> None:
        self.vga.write(TEXT + cell * 2, 2, character | attribute << 8)


def test_only_changed_cells_are_sent() -> None:
    rig = Rig()
    before = rig.screen.sent
    rig.next_frame()
    assert rig.screen.sent == before
    rig.put(85, ord("A"), 0x1E)
    rig.next_frame()
    assert rig.screen.sent - before < 64
    assert rig.screen.cells[1, 5] == ("A", "0;93;44")


def test_frames_are_30_a_second_at_most() -> None:
    rig = Rig()
    rig.put(0, ord("x"))
    rig.now_ns += FRAME_NS - 1
    rig.display.refresh()
    assert rig.screen.cells[0, 0][0] == " "
    rig.now_ns += 1
    rig.display.refresh()
    assert rig.screen.cells[0, 0][0] == "x"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.tuples(st.integers(0, 1999), st.integers(0, 255), st.integers(0, 255)))))
def test_terminal_shows_what_the_guest_shows(frames: list[list[tuple[int, int, int]]]) -> None:
    rig = Rig()
    for writes in frames:
        for cell, character, attribute in writes:
            rig.put(cell, character, attribute)
        rig.next_frame()
    fresh = Screen()
    with TerminalDisplay(rig.vga, fresh, lambda: rig.now_ns, {}) as display:
        display.refresh()
    assert rig.screen.cells == fresh.cells
    shown = ["".join(rig.screen.cells[row, column][0] for column in range(80)) for row in range(25)]
    screen = rig.vga.text_screen()
    assert shown == [screen.line(row) for row in range(25)]


def test_cursor_is_where_the_guest_has_it() -> None:
    rig = Rig()
    rig.vga.colour.write(4, 2, r.CRTC_CURSOR_LOW | 83 << 8)
    rig.next_frame()
    assert (rig.screen.row, rig.screen.column, rig.screen.cursor_shown) == (1, 3, True)
    rig.vga.colour.write(4, 2, r.CRTC_CURSOR_START | r.CURSOR_OFF << 8)
    rig.next_frame()
    assert not rig.screen.cursor_shown


def test_no_color_is_respected() -> None:
    rig = Rig({"NO_COLOR": "1"})
    rig.put(0, ord("x"), 0x1E)
    rig.next_frame()
    assert rig.screen.cells[0, 0] == ("x", "0")


def test_terminal_is_given_back_once() -> None:
    rig = Rig()
    rig.display.close()
    assert (rig.screen.style, rig.screen.cursor_shown) == ("0", True)
    sent = rig.screen.sent
    rig.display.close()
    assert rig.screen.sent == sent


@pytest.mark.parametrize(
    ("data", "chords"),
    [
        (b"a", [("a",)]),
        (b"A", [("left_shift", "a")]),
        (b"\r", [("enter",)]),
        (b"\x7f", [("backspace",)]),
        (b"\t", [("tab",)]),
        (b"\x03", [("left_ctrl", "c")]),
        (b"\x1b", [("esc",)]),
        (b"\x1bx", [("left_alt", "x")]),
        (b"\x1b\x1b[A", [("esc",), ("up",)]),
        (b"\x1b[A\x1bOB", [("up",), ("down",)]),
        (b"\x1b[1;5C", [("left_ctrl", "right")]),
        (b"\x1b[3~", [("delete",)]),
        (b"\x1b[24;2~", [("left_shift", "f12")]),
        (b"\x1bOP", [("f1",)]),
        (b"\x1b[Z", [("left_shift", "tab")]),
        (b"\x1b[[A\x1b[[E", [("f1",), ("f5",)]),
        (b"\x1b[25~", [("left_shift", "f1")]),
        (b"\x1b[1;3P", [("left_alt", "f1")]),
        (b"\x1b[99~\x1b[", [("left_alt", "left_bracket")]),
        ("é".encode(), []),
    ],
)
def test_terminal_bytes_become_keys(data: bytes, chords: list[Chord]) -> None:
    assert list(decode(data)) == chords


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_become_known_keys(data: bytes) -> None:
    from devices.scancodes import KEYS

    assert {key for chord in decode(data) for key in chord} <= set(KEYS)


def test_what_is_cut_between_two_reads_is_one_key() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b[1;") == []
    assert decoder.feed(b"5C") == [("left_ctrl", "right")]
    assert decoder.feed("é".encode()[:1]) == []
    assert decoder.feed("é".encode()[1:]) == ["é"]


def test_a_lone_escape_is_the_key_once_nothing_follows() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.flush() == ["\x1b"]


def test_pasted_text_has_no_keys_but_characters() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b[200~a\x1b[A\n\x1b[201~\x1b[A") == ["a", "\n", ("up",)]


def test_terminal_is_raw_until_closed_and_read_without_waiting() -> None:
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        taken: list[Token] = []
        raw = RawTerminal(theirs)
        assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO)
        keyboard = TerminalKeyboard(theirs, taken.append)
        keyboard.poll()
        os.write(ours, b"\x03\x1b")
        keyboard.poll()
        assert taken == ["\x03"]
        keyboard.poll()
        assert taken == ["\x03", "\x1b"]
        raw.close()
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def sized(rig: Rig, columns: int, rows: int) -> None:
    rig.display._size = lambda: (columns, rows)  # type: ignore[method-assign]
    rig.next_frame()


def test_a_small_terminal_shows_where_the_cursor_is() -> None:
    rig = Rig()
    rig.put(24 * 80, ord("z"))
    sized(rig, 80, 24)
    assert (0, 0) in rig.screen.cells
    assert rig.screen.cells[23, 0][0] == " "
    at = 24 * 80 + 1
    rig.vga.colour.write(4, 2, r.CRTC_CURSOR_LOW | (at & 0xFF) << 8)
    rig.vga.colour.write(4, 2, r.CRTC_CURSOR_HIGH | (at >> 8) << 8)
    rig.next_frame()
    assert rig.screen.cells[23, 0][0] == "z"
    assert (rig.screen.row, rig.screen.column) == (23, 1)


def test_the_prompt_lies_over_the_last_rows_and_goes_without_a_trace() -> None:
    rig = Rig()
    rig.put(24 * 80, ord("z"))
    sized(rig, 80, 25)
    rig.display.say(["an answer"])
    rig.display.edit("trapline> q", 11)
    shown = "".join(rig.screen.cells[23, column][0] for column in range(9))
    assert shown == "an answer"
    assert (rig.screen.row, rig.screen.column) == (24, 11)
    rig.display.close_prompt("")
    assert rig.screen.cells[24, 0][0] == "z"
    assert rig.screen.cells[23, 0][0] == " "


@pytest.mark.parametrize(
    ("environment", "style"),
    [
        ({"COLORTERM": "truecolor"}, "38;2;255;255;85;48;2;0;0;170"),
        ({}, "38;5;227;48;5;19"),
    ],
)
def test_graphics_are_half_blocks_of_two_dots(environment: dict[str, str], style: str) -> None:
    rig = Rig(environment)
    rig.vga.set_mode(0x13)
    for line, colour in ((0, 14), (1, 1)):
        for dot in range(320):
            rig.vga.write(line * 320 + dot, 1, colour)
    sized(rig, 320, 100)
    assert rig.screen.cells[0, 0] == ("▀", style)
    assert not rig.screen.cursor_shown


def test_a_picture_keeps_its_shape_and_its_brightness() -> None:
    picture = np.zeros((400, 640, 3), dtype=np.uint8)
    picture[:, ::2] = 200
    cells = scaled(picture, 80, 40)
    assert cells.shape == (40, 80, 2, 3)
    assert cells[20, 40].tolist() == [[100] * 3] * 2
    assert not cells[0].any()  # a band above: 80 x 50 dots of 80 x 80


def test_without_colours_dots_are_black_or_white() -> None:
    cells = np.array([[[[255] * 3, [0] * 3], [[0] * 3, [255] * 3]]], dtype=np.uint8)
    assert "".join(cell_changes(None, cells, "none")) == "\x1b[1;1H▀▄"
