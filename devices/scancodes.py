"""Keys by name, the codes a PC keyboard sends for them, and a US layout for typing text.

A key is named for what its cap says on a US keyboard, in lower case: `a`, `1`, `minus`, `f1`, `enter`,
`left_shift`, `kp_7`, `page_up`. `KEYS` lists all names. Set 2 is what the keyboard sends by itself; set 1
is what the keyboard controller makes of it.

Sources:
  [KBD] IBM PS/2 Hardware Interface Technical Reference, Keyboards (101- and 102-key), 1991.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

EXTENDED: Final = 0xE0
BREAK_SET2: Final = 0xF0
BREAK_SET1: Final = 0x80

# Set 2 make codes, [KBD] "Scan code set 2"; the key's row on the keyboard is a row here
_PLAIN: Final[Mapping[str, int]] = {
    "esc": 0x76, "f1": 0x05, "f2": 0x06, "f3": 0x04, "f4": 0x0C, "f5": 0x03, "f6": 0x0B,
    "f7": 0x83, "f8": 0x0A, "f9": 0x01, "f10": 0x09, "f11": 0x78, "f12": 0x07, "scroll_lock": 0x7E,
    "grave": 0x0E, "1": 0x16, "2": 0x1E, "3": 0x26, "4": 0x25, "5": 0x2E, "6": 0x36, "7": 0x3D,
    "8": 0x3E, "9": 0x46, "0": 0x45, "minus": 0x4E, "equal": 0x55, "backspace": 0x66,
    "tab": 0x0D, "q": 0x15, "w": 0x1D, "e": 0x24, "r": 0x2D, "t": 0x2C, "y": 0x35, "u": 0x3C,
    "i": 0x43, "o": 0x44, "p": 0x4D, "left_bracket": 0x54, "right_bracket": 0x5B, "backslash": 0x5D,
    "caps_lock": 0x58, "a": 0x1C, "s": 0x1B, "d": 0x23, "f": 0x2B, "g": 0x34, "h": 0x33, "j": 0x3B,
    "k": 0x42, "l": 0x4B, "semicolon": 0x4C, "quote": 0x52, "enter": 0x5A,
    "left_shift": 0x12, "non_us_backslash": 0x61, "z": 0x1A, "x": 0x22, "c": 0x21, "v": 0x2A,
    "b": 0x32, "n": 0x31, "m": 0x3A, "comma": 0x41, "period": 0x49, "slash": 0x4A, "right_shift": 0x59,
    "left_ctrl": 0x14, "left_alt": 0x11, "space": 0x29,
    "num_lock": 0x77, "kp_multiply": 0x7C, "kp_minus": 0x7B, "kp_plus": 0x79, "kp_period": 0x71,
    "kp_0": 0x70, "kp_1": 0x69, "kp_2": 0x72, "kp_3": 0x7A, "kp_4": 0x6B, "kp_5": 0x73,
    "kp_6": 0x74, "kp_7": 0x6C, "kp_8": 0x75, "kp_9": 0x7D,
}  # fmt: skip
_EXTENDED: Final[Mapping[str, int]] = {
    "right_ctrl": 0x14, "right_alt": 0x11, "left_meta": 0x1F, "right_meta": 0x27, "menu": 0x2F,
    "insert": 0x70, "home": 0x6C, "page_up": 0x7D, "delete": 0x71, "end": 0x69, "page_down": 0x7A,
    "up": 0x75, "left": 0x6B, "down": 0x72, "right": 0x74, "kp_divide": 0x4A, "kp_enter": 0x5A,
}  # fmt: skip

# What the controller makes of each set 2 byte; above 84h nothing changes, [KBD] "Scan code translation"
TRANSLATION: Final = bytes.fromhex(
    "ff 43 41 3f 3d 3b 3c 58 64 44 42 40 3e 0f 29 59"
    "65 38 2a 70 1d 10 02 5a 66 71 2c 1f 1e 11 03 5b"
    "67 2e 2d 20 12 05 04 5c 68 39 2f 21 14 13 06 5d"
    "69 31 30 23 22 15 07 5e 6a 72 32 24 16 08 09 5f"
    "6b 33 25 17 18 0b 0a 60 6c 34 35 26 27 19 0c 61"
    "6d 73 28 74 1a 0d 62 6e 3a 36 1c 1b 75 2b 63 76"
    "55 56 77 78 79 7a 0e 7b 7c 4f 7d 4b 47 7e 7f 6f"
    "52 53 50 4c 4d 48 01 45 57 4e 51 4a 37 49 46 54"
    "80 81 82 41 54"
) + bytes(range(0x85, 0x100))

PAUSE: Final = "pause"
PRINT_SCREEN: Final = "print_screen"
_ODD_MAKES: Final[Mapping[str, bytes]] = {
    PRINT_SCREEN: b"\xe0\x12\xe0\x7c",
    PAUSE: b"\xe1\x14\x77\xe1\xf0\x14\xf0\x77",  # make and break at once
}
_ODD_BREAKS: Final[Mapping[str, bytes]] = {PRINT_SCREEN: b"\xe0\xf0\x7c\xe0\xf0\x12", PAUSE: b""}


def to_set1(set2: bytes) -> bytes:
    """Translate whole scan codes of set 2 into set 1, as the controller does on the wire."""
    return bytes(_translated(set2))


def _translated(set2: bytes) -> Iterator[int]:
    release = 0
    for byte in set2:
        if byte == BREAK_SET2:
            release = BREAK_SET1
        else:
            yield TRANSLATION[byte] | release
            release = 0


def _set2_codes() -> Iterator[tuple[str, bytes, bytes]]:
    for key, code in _PLAIN.items():
        yield key, bytes((code,)), bytes((BREAK_SET2, code))
    for key, code in _EXTENDED.items():
        yield key, bytes((EXTENDED, code)), bytes((EXTENDED, BREAK_SET2, code))
    for key, make in _ODD_MAKES.items():
        yield key, make, _ODD_BREAKS[key]


# By scan code set, then by key: the bytes sent on press and on release
MAKE: Final[Mapping[int, Mapping[str, bytes]]] = {
    1: {key: to_set1(make) for key, make, _ in _set2_codes()},
    2: {key: make for key, make, _ in _set2_codes()},
}
BREAK: Final[Mapping[int, Mapping[str, bytes]]] = {
    1: {key: to_set1(release) for key, _, release in _set2_codes()},
    2: {key: release for key, _, release in _set2_codes()},
}
KEYS: Final = tuple(MAKE[2])

_UNSHIFTED: Final[Mapping[str, str]] = {
    "`": "grave", "-": "minus", "=": "equal", "[": "left_bracket", "]": "right_bracket",
    "\\": "backslash", ";": "semicolon", "'": "quote", ",": "comma", ".": "period", "/": "slash",
    " ": "space", "\n": "enter", "\r": "enter", "\t": "tab", "\b": "backspace", "\x7f": "backspace",
    "\x1b": "esc",
    **{key: key for key in "abcdefghijklmnopqrstuvwxyz0123456789"},
}  # fmt: skip
_SHIFTED: Final[Mapping[str, str]] = {
    "~": "grave", "_": "minus", "+": "equal", "{": "left_bracket", "}": "right_bracket",
    "|": "backslash", ":": "semicolon", '"': "quote", "<": "comma", ">": "period", "?": "slash",
    **dict(zip(")!@#$%^&*(", "0123456789", strict=True)),
    **{key.upper(): key for key in "abcdefghijklmnopqrstuvwxyz"},
}  # fmt: skip
FIRST_CONTROL_LETTER: Final = 0x60  # Ctrl-A is 01h


def keystrokes(character: str) -> tuple[str, ...]:
    """Return the keys to hold down together, in order, for one character of US text.

    Control characters without a key of their own are Ctrl and a letter. Raises ValueError for a
    character the layout does not have.
    """
    if character in _UNSHIFTED:
        return (_UNSHIFTED[character],)
    if character in _SHIFTED:
        return ("left_shift", _SHIFTED[character])
    if "\x01" <= character <= "\x1a":
        return ("left_ctrl", chr(ord(character) + FIRST_CONTROL_LETTER))
    raise ValueError(f"no key of a US keyboard types {character!r}")
