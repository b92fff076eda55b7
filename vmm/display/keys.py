"""What a terminal sends when keys are struck, turned back into keys of a PC keyboard.

A terminal sends characters, not keys: a chord is guessed that makes the same character on a US
keyboard. NOT modelled: key releases, keys a terminal does not tell apart (Ctrl-I and Tab).

Sources:
    [XTERM] XTerm Control Sequences, "PC-Style Function Keys".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from devices.scancodes import keystrokes

Chord = tuple[str, ...]

ESCAPE: Final = 0x1B

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
_SHIFTED_TILDE_KEYS: Final = {  # of terminals that know no modifiers: Shift-F1 to Shift-F8
    number: f"f{key}" for key, number in enumerate((25, 26, 28, 29, 31, 32, 33, 34), 1)
}
_CONSOLE_KEYS: Final = {"A": "f1", "B": "f2", "C": "f3", "D": "f4", "E": "f5"}
_LONGEST: Final = 32  # bytes of a sequence
_PASTE: Final = ("paste",)
_PASTE_END: Final = ("paste end",)
_MODIFIERS: Final = ((1, "left_shift"), (2, "left_alt"), (4, "left_ctrl"))  # the parameter minus 1
_NAMED_CONTROLS: Final = {0x00: "space", 0x1C: "backslash", 0x1D: "right_bracket", 0x1E: "6", 0x1F: "minus"}
_PLAIN: Final = {
    0x09: "tab",
    0x0D: "enter",
    0x0A: "enter",
    ESCAPE: "esc",
    0x08: "backspace",
    0x7F: "backspace",
}


Token = str | Chord
"""A character as typed, or a key that has none."""


class KeyDecoder:
    """Makes tokens of bytes as they come; what may be the beginning of a sequence waits for the rest."""

    def __init__(self) -> None:
        self._held = b""
        self._pasting = False

    def feed(self, data: bytes) -> list[Token]:
        """Return the tokens that `data` completes."""
        self._held += data
        return list(self._tokens(final=False))

    def flush(self) -> list[Token]:
        """Return what was held back: nothing more belongs to it."""
        return list(self._tokens(final=True)) if self._held else []

    def _tokens(self, *, final: bool) -> Iterator[Token]:
        data, at = self._held, 0
        while at < len(data):
            taken, token = self._next(data[at : at + _LONGEST], final)
            if not taken:
                break
            at += taken
            if token == _PASTE:
                self._pasting = True
            elif token == _PASTE_END:
                self._pasting = False
            elif token and not (self._pasting and (not isinstance(token, str) or token == "\x1b")):
                yield token
        self._held = data[at:]

    def _next(self, data: bytes, final: bool) -> tuple[int, Token]:
        """Return how many bytes the first token takes, 0 if more are needed, and the token or nothing."""
        if data[0] == ESCAPE:
            return _sequence(data, final)
        length = 1 if data[0] < 0xC0 else 2 if data[0] < 0xE0 else 3 if data[0] < 0xF0 else 4
        if len(data) < length and not final:
            return 0, ""
        try:
            return length, data[:length].decode()
        except UnicodeDecodeError:
            return 1, ""


def decode(data: bytes) -> Iterator[Chord]:
    """Yield the chords that `data`, all that came from a terminal, stands for; drop what has no key."""
    decoder = KeyDecoder()
    for token in (*decoder.feed(data), *decoder.flush()):
        if chord := chord_of(token):
            yield chord


def chord_of(token: Token) -> Chord:
    """Return the keys to press; none if no key of a US keyboard types the character."""
    if not isinstance(token, str):
        return token
    code = ord(token)
    if code in _PLAIN:
        return (_PLAIN[code],)
    if code in _NAMED_CONTROLS:
        return ("left_ctrl", _NAMED_CONTROLS[code])
    if code < 0x20:
        return ("left_ctrl", chr(code + 0x60))
    try:
        return tuple(keystrokes(token))
    except ValueError:
        return ()


def _sequence(data: bytes, final: bool) -> tuple[int, Token]:
    """Return the length of the sequence that begins with ESC, 0 if more is needed, and its token."""
    if len(data) == 1:
        return (1, "\x1b") if final else (0, "")
    if data[1] not in b"[O" or (len(data) == 2 and final):
        chord = chord_of(chr(data[1])) if data[1] != ESCAPE else ()
        return (2, ("left_alt", *chord)) if chord else (1, "\x1b")
    start = 3 if data[1:3] == b"[[" else 2  # the Linux console's F1 to F5 begin with a second bracket
    end = start
    while end < len(data) and not 0x40 <= data[end] <= 0x7E:
        end += 1
    if end == len(data):
        return (end, "") if final or end >= _LONGEST else (0, "")
    letter = chr(data[end])
    if start == 3:
        key = _CONSOLE_KEYS.get(letter)
        return end + 1, (key,) if key else ""
    parameters = data[2:end].decode("ascii", "replace")
    if letter == "~" and parameters in ("200", "201"):
        return end + 1, _PASTE if parameters == "200" else _PASTE_END
    return end + 1, _function_key(parameters, letter)


def _function_key(parameters: str, final: str) -> Chord:
    """Return the chord of a control sequence such as `1;5` and `A`: Ctrl and the up key."""
    numbers = [int(part) if part.isascii() and part.isdigit() else 1 for part in parameters.split(";")]
    key = _TILDE_KEYS.get(numbers[0]) if final == "~" else _FINAL_KEYS.get(final)
    if final == "Z":
        return ("left_shift", "tab")
    if final == "~" and numbers[0] in _SHIFTED_TILDE_KEYS:
        return ("left_shift", _SHIFTED_TILDE_KEYS[numbers[0]])
    if key is None:
        return ()
    pressed = numbers[1] - 1 if len(numbers) > 1 else 0
    return (*(name for bit, name in _MODIFIERS if pressed & bit), key)
