"""The keyboard: commands, scan codes and the patient typist."""

import string

import pytest

from devices import keyboard as k
from devices.scancodes import KEYS, MAKE, TRANSLATION, keystrokes, to_set1
from vmm.clock import MachineClock, ManualTime


class Rig:
    """A keyboard whose wire is read to the end whenever a byte is ready, as long as `reading`."""

    def __init__(self, clock: MachineClock | None = None) -> None:
        self.time = ManualTime()
        self.clock = clock or MachineClock(self.time)
        self.keyboard = k.Keyboard(self.clock)
        self.heard = bytearray()
        self.reading = True
        self.keyboard.connect(self.drain)

    def drain(self) -> None:
        while self.reading and (byte := self.keyboard.next_byte()) is not None:
            self.heard.append(byte)

    def command(self, *data: int) -> bytes:
        self.heard.clear()
        for byte in data:
            self.keyboard.command(byte)
        return bytes(self.heard)

    def run(self, time_ns: int) -> None:
        end = self.time.value_ns + time_ns
        while (deadline := self.clock.next_deadline_ns()) <= end:
            self.time.value_ns = max(deadline, self.time.value_ns)
            self.clock.run_due()
        self.time.value_ns = end


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ((k.RESET,), b"\xfa\xaa"),
        ((k.READ_ID,), b"\xfa\xab\x83"),
        ((k.ECHO,), b"\xee"),
        ((k.SET_LEDS, 0x02), b"\xfa\xfa"),
        ((k.SET_TYPEMATIC, 0x00), b"\xfa\xfa"),
        ((k.SCAN_CODE_SET, 0), b"\xfa\xfa\x02"),
        ((k.SCAN_CODE_SET, 1), b"\xfa\xfa"),
        ((k.SCAN_CODE_SET, 3), b"\xfa\xfe"),
        ((k.ENABLE,), b"\xfa"),
        ((k.DEFAULT_DISABLE,), b"\xfa"),
        ((k.SET_DEFAULT,), b"\xfa"),
        ((0xF8,), b"\xfa"),
        ((0xFC, 0x1C, 0x1D, k.ENABLE), b"\xfa\xfa\xfa\xfa"),
        ((k.ECHO, k.RESEND_LAST), b"\xee\xee"),
        ((0xEF,), b"\xfe"),
        ((0x12,), b"\xfe"),
    ],
)
def test_commands_are_answered(rig: Rig, data: tuple[int, ...], answer: bytes) -> None:
    assert rig.command(*data) == answer


def test_a_command_in_place_of_an_argument_is_obeyed(rig: Rig) -> None:
    assert rig.command(k.SET_LEDS, k.ECHO) == b"\xfa\xee"


def test_leds_follow_the_system(rig: Rig) -> None:
    rig.command(k.SET_LEDS, 0x05)
    assert rig.keyboard.leds == 5


def test_a_key_sends_its_make_and_break_codes(rig: Rig) -> None:
    rig.keyboard.press("a")
    rig.keyboard.release("a")
    assert rig.heard == b"\x1c\xf0\x1c"


@pytest.mark.parametrize(
    ("key", "set1"),
    [
        ("esc", "01 81"), ("a", "1e 9e"), ("enter", "1c 9c"), ("left_shift", "2a aa"), ("f7", "41 c1"),
        ("f12", "58 d8"), ("right_ctrl", "e0 1d e0 9d"), ("up", "e0 48 e0 c8"), ("kp_8", "48 c8"),
        ("delete", "e0 53 e0 d3"), ("backslash", "2b ab"), ("caps_lock", "3a ba"), ("space", "39 b9"),
        ("print_screen", "e0 2a e0 37 e0 b7 e0 aa"), ("pause", "e1 1d 45 e1 9d c5"),
    ],
)  # fmt: skip
def test_scan_code_set_1(rig: Rig, key: str, set1: str) -> None:
    rig.command(k.SCAN_CODE_SET, 1)
    rig.heard.clear()
    rig.keyboard.press(key)
    rig.keyboard.release(key)
    assert rig.heard == bytes.fromhex(set1)


def test_every_key_has_codes_of_its_own() -> None:
    for code_set in (1, 2):
        assert len(set(MAKE[code_set].values())) == len(KEYS)


def test_the_translation_table_covers_a_byte_and_keeps_answers() -> None:
    assert len(TRANSLATION) == 256
    assert all(TRANSLATION[byte] == byte for byte in (0xAA, 0xAB, 0xEE, 0xFA, 0xFE, 0xE0, 0xE1))
    assert to_set1(b"\xe0\xf0\x75") == b"\xe0\xc8"


def test_disabled_scanning_drops_keys(rig: Rig) -> None:
    rig.command(k.DEFAULT_DISABLE)
    rig.keyboard.press("a")
    assert rig.heard == b"\xfa"


def test_a_full_buffer_ends_with_one_overrun_code(rig: Rig) -> None:
    rig.reading = False
    for _ in range(20):
        rig.keyboard.press("a")
    rig.reading = True
    rig.drain()
    assert rig.heard == b"\x1c" * 16 + b"\x00"


def test_answers_go_before_scan_codes(rig: Rig) -> None:
    rig.reading = False
    rig.keyboard.press("a")
    rig.keyboard.command(k.SET_LEDS)
    rig.reading = True
    rig.drain()
    assert rig.heard == b"\xfa\x1c"


def test_text_is_typed_with_shift(rig: Rig) -> None:
    rig.keyboard.type_text("aB")
    rig.run(100_000_000)
    assert rig.heard == b"\x1c\xf0\x1c" + b"\x12\x32\xf0\x32\xf0\x12"
    assert not rig.keyboard.typing


def test_typing_keeps_its_pace(rig: Rig) -> None:
    rig.keyboard.type_text("abc")
    rig.run(k.DEFAULT_KEY_INTERVAL_NS - 1)
    assert rig.heard == b"\x1c"


def test_typing_waits_for_a_guest_that_does_not_read(rig: Rig) -> None:
    rig.reading = False
    rig.keyboard.type_text("x" * 100)
    rig.run(10_000_000_000)
    rig.reading = True
    rig.drain()
    rig.run(3_000_000_000)
    assert rig.heard == b"\x22\xf0\x22" * 100


def test_typing_waits_until_scanning_is_enabled(rig: Rig) -> None:
    rig.command(k.DEFAULT_DISABLE)
    rig.keyboard.type_text("a")
    rig.run(1_000_000_000)
    rig.command(k.ENABLE)
    rig.run(1_000_000_000)
    assert rig.heard == b"\xfa\x1c\xf0\x1c"


def test_a_chord_is_pressed_in_order_and_released_in_reverse(rig: Rig) -> None:
    rig.keyboard.type_keys(("left_ctrl", "left_alt", "delete"))
    rig.run(1_000_000_000)
    assert rig.heard == bytes.fromhex("14 11 e071 e0f071 f011 f014")


def test_every_printable_character_has_keys() -> None:
    assert all(set(keystrokes(character)) <= set(KEYS) for character in string.printable[:-2])
    assert keystrokes("\x03") == ("left_ctrl", "c")


def test_what_cannot_be_typed_is_refused_whole(rig: Rig) -> None:
    with pytest.raises(ValueError, match="é"):
        rig.keyboard.type_text("café")
    assert not rig.keyboard.typing


def test_an_unknown_key_is_refused(rig: Rig) -> None:
    with pytest.raises(ValueError, match="any"):
        rig.keyboard.press("any")


class Wire:
    """What the controller would be to the keyboard, for the contract: one port."""

    name = "wire"

    def __init__(self, keyboard: k.Keyboard) -> None:
        self.keyboard = keyboard

    def read(self, offset: int, size: int) -> int:
        byte = self.keyboard.next_byte()
        return 0 if byte is None else byte

    def write(self, offset: int, size: int, value: int) -> None:
        self.keyboard.command(value & 0xFF)


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    keyboard = k.Keyboard(clock)
    exercises = [
        lambda: keyboard.press("right_alt"),
        lambda: keyboard.command(k.SET_LEDS),
        lambda: keyboard.command(k.READ_ID),
        lambda: keyboard.type_text("Hi"),
    ]
    return keyboard, [(Wire(keyboard), 1)], exercises


CONTRACT = [("keyboard", make_for_contract)]
