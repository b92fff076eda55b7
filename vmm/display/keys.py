"""What a terminal sends when keys are struck, turned back into keys of a PC keyboard.

A terminal sends characters, not keys: a chord is guessed that makes the same character on a US
keyboard. NOT modelled: key releases, keys a terminal does not tell apart (Ctrl-I and Tab), sequences
that are cut between two reads.

Sources:
    [XTERM] XTerm Control Sequences, "PC-Style Function Keys".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from devices.scancodes import keystrokes

Chord = tuple[str, ...]

ESCAPE: Final = 0x1B
MONITOR_KEY: Final = 0x1D  # Ctrl-]
_DELETE: Final = 0x7F
_BACKSPACE: Final = 0x08

_FINAL_KEYS: Final = {  # CSI or SS3, then this letter
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "F": "end",
    "H": "home",
    "P": "f1",
    "Q": "f2",
    "R": "f3",
    "S": "f4",
}
_TILDE_KEYS: Final = {  # CSI, this number, tilde
    1: "home",
    2: "insert",
    3: "delete",
    4: "end",
    5: "page_up",
    6: "page_down",
    11: "f1",
    12: "f2",
    13: "f3",
    14: "f4",
    15: "f5",
    17: "f6",
    18: "f7",
    19: "f8",
    20: "f9",
    21: "f10",
    23: "f11",
    24: "f12",
}
_MODIFIERS: Final = ((1, "left_shift"), (2, "left_alt"), (4, "left_ctrl"))  # the parameter minus 1
_NAMED_CONTROLS: Final = {0x00: "space", 0x1C: "backslash", 0x1D: "right_bracket", 0x1E: "6", 0x1F: "minus"}
_PLAIN: Final = {
    0x09: "tab",
    0x0D: "enter",
    0x0A: "enter",
    ESCAPE: "esc",
    _BACKSPACE: "backspace",
    _DELETE: "backspace",
}


def decode(data: bytes) -> Iterator[Chord]:
    """Yield the chords that `data`, one read from a terminal, stands for; drop what has no key."""
    at = 0
    while at < len(data):
        chord, taken = _sequence(data, at) if data[at] == ESCAPE else (_single(data[at]), 1)
        if chord:
            yield chord
        at += taken


def _single(byte: int) -> Chord:
    """Return the chord of one byte outside escape sequences."""
    if byte in _PLAIN:
        return (_PLAIN[byte],)
    if byte in _NAMED_CONTROLS:
        return ("left_ctrl", _NAMED_CONTROLS[byte])
    if byte < 0x20:
        return ("left_ctrl", chr(byte + 0x60))
    try:
        return tuple(keystrokes(chr(byte)))
    except ValueError:
        return ()


def _sequence(data: bytes, at: int) -> tuple[Chord, int]:
    """Return the chord that begins with the ESC at `at`, and the bytes it takes."""
    rest = data[at + 1 :]
    if not rest:
        return ("esc",), 1
    if rest[0] not in b"[O" or len(rest) == 1:
        chord = _single(rest[0]) if rest[0] != ESCAPE else ()
        return (("left_alt", *chord), 2) if chord else (("esc",), 1)
    length = 1
    while length < len(rest) and not 0x40 <= rest[length] <= 0x7E:
        length += 1
    if length == len(rest):
        return (), 1 + length
    final = chr(rest[length])
    return _function_key(rest[1:length].decode("ascii", "replace"), final), 2 + length


def _function_key(parameters: str, final: str) -> Chord:
    """Return the chord of a control sequence such as `1;5` and `A`: Ctrl and the up key."""
    numbers = [int(part) if part.isascii() and part.isdigit() else 1 for part in parameters.split(";")]
    key = _TILDE_KEYS.get(numbers[0]) if final == "~" else _FINAL_KEYS.get(final)
    if final == "Z":
        return ("left_shift", "tab")
    if key is None:
        return ()
    pressed = numbers[1] - 1 if len(numbers) > 1 else 0
    return (*(name for bit, name in _MODIFIERS if pressed & bit), key)
