"""From scan codes of set 1 to what INT 16h hands out: the US layout of an AT keyboard.

The characters of a key come plain, with Shift, with Ctrl; with Alt a key gives its scan code and no
character (NONE: nothing is stored). The extended codes E0h of the grey keys keep their scan codes.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Keyboard" scan code tables.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NONE: Final = -1


class Key(NamedTuple):
    """The words (scan code << 8 | character) of one key; NONE where it gives nothing."""

    plain: int
    shift: int
    control: int
    alt: int


def _letters() -> dict[int, Key]:
    keys = {}
    for first, row in ((0x10, "qwertyuiop"), (0x1E, "asdfghjkl"), (0x2C, "zxcvbnm")):
        for scan, letter in enumerate(row, first):
            code = scan << 8
            keys[scan] = Key(code | ord(letter), code | ord(letter.upper()), code | ord(letter) & 0x1F, code)
    return keys


def _symbols() -> dict[int, Key]:
    keys = {}
    pairs = {
        0x02: "1!", 0x03: "2@", 0x04: "3#", 0x05: "4$", 0x06: "5%", 0x07: "6^", 0x08: "7&", 0x09: "8*",
        0x0A: "9(", 0x0B: "0)", 0x0C: "-_", 0x0D: "=+", 0x1A: "[{", 0x1B: "]}", 0x27: ";:", 0x28: "'\"",
        0x29: "`~", 0x2B: "\\|", 0x33: ",<", 0x34: ".>", 0x35: "/?",
    }  # fmt: skip
    control = {0x03: 0x0300, 0x07: 0x071E, 0x0C: 0x0C1F, 0x1A: 0x1A1B, 0x1B: 0x1B1D, 0x2B: 0x2B1C}
    for scan, characters in pairs.items():
        code, plain, shift = scan << 8, characters[0], characters[1]
        alt = scan + 0x76 << 8 if 0x02 <= scan <= 0x0D else code  # the digits' row has codes of its own
        keys[scan] = Key(code | ord(plain), code | ord(shift), control.get(scan, NONE), alt)
    return keys


def _functions() -> dict[int, Key]:
    keys = {
        scan: Key(scan << 8, scan + 0x19 << 8, scan + 0x23 << 8, scan + 0x2D << 8)
        for scan in range(0x3B, 0x45)
    }
    for scan, first in ((0x57, 0x85), (0x58, 0x86)):  # F11, F12
        keys[scan] = Key(first << 8, first + 2 << 8, first + 4 << 8, first + 6 << 8)
    return keys


KEYS: Final = _letters() | _symbols() | _functions() | {
    0x01: Key(0x011B, 0x011B, 0x011B, 0x0100),  # Esc
    0x0E: Key(0x0E08, 0x0E08, 0x0E7F, 0x0E00),  # Backspace
    0x0F: Key(0x0F09, 0x0F00, 0x9400, 0xA500),  # Tab
    0x1C: Key(0x1C0D, 0x1C0D, 0x1C0A, 0x1C00),  # Enter
    0x39: Key(0x3920, 0x3920, 0x3920, 0x3920),  # Space
    0x37: Key(0x372A, 0x372A, 0x9600, 0x3700),  # keypad *
    0x4A: Key(0x4A2D, 0x4A2D, 0x8E00, 0x4A00),  # keypad -
    0x4E: Key(0x4E2B, 0x4E2B, 0x9000, 0x4E00),  # keypad +
}  # fmt: skip

# Keypad: the digit counts under Num Lock (or Shift, not both), else the cursor key.
KEYPAD: Final = {
    0x47: (0x4700, "7", 0x7700), 0x48: (0x4800, "8", 0x8D00), 0x49: (0x4900, "9", 0x8400),
    0x4B: (0x4B00, "4", 0x7300), 0x4C: (0x4C00, "5", 0x8F00), 0x4D: (0x4D00, "6", 0x7400),
    0x4F: (0x4F00, "1", 0x7500), 0x50: (0x5000, "2", 0x9100), 0x51: (0x5100, "3", 0x7600),
    0x52: (0x5200, "0", 0x9200), 0x53: (0x5300, ".", 0x9300),
}  # fmt: skip

# Grey keys, after E0h: plain, control, alt (with Shift as plain)
GREY: Final = {
    0x1C: (0xE00D, 0xE00A, 0xA600), 0x35: (0xE02F, 0x9500, 0xA400),
    0x47: (0x47E0, 0x77E0, 0x9700), 0x48: (0x48E0, 0x8DE0, 0x9800), 0x49: (0x49E0, 0x84E0, 0x9900),
    0x4B: (0x4BE0, 0x73E0, 0x9B00), 0x4D: (0x4DE0, 0x74E0, 0x9D00), 0x4F: (0x4FE0, 0x75E0, 0x9F00),
    0x50: (0x50E0, 0x91E0, 0xA000), 0x51: (0x51E0, 0x76E0, 0xA100), 0x52: (0x52E0, 0x92E0, 0xA200),
    0x53: (0x53E0, 0x93E0, 0xA300),
}  # fmt: skip
