"""Keys as the X Window System names them, which is how VNC clients tell them, and the keys of a PC.

A keysym names a character or a cap. The client presses Shift itself, so a letter's key is the same in both
cases; a shifted character's key is that of the US layout.

Sources:
    [KEYSYM] X Window System Protocol, X Version 11, "KEYSYM Encoding".
"""

from __future__ import annotations

from typing import Final

from devices.scancodes import keystrokes

_NAMED: Final = {
    0xFF08: "backspace", 0xFF09: "tab", 0xFE20: "tab", 0xFF0A: "enter", 0xFF0D: "enter", 0xFF13: "pause",
    0xFF14: "scroll_lock", 0xFF15: "print_screen", 0xFF1B: "esc", 0xFF50: "home", 0xFF51: "left",
    0xFF52: "up", 0xFF53: "right", 0xFF54: "down", 0xFF55: "page_up", 0xFF56: "page_down", 0xFF57: "end",
    0xFF61: "print_screen", 0xFF63: "insert", 0xFF67: "menu", 0xFF6B: "pause", 0xFF7F: "num_lock",
    0xFF8D: "kp_enter", 0xFF95: "kp_7", 0xFF96: "kp_4", 0xFF97: "kp_8", 0xFF98: "kp_6", 0xFF99: "kp_2",
    0xFF9A: "kp_9", 0xFF9B: "kp_3", 0xFF9C: "kp_1", 0xFF9D: "kp_5", 0xFF9E: "kp_0", 0xFF9F: "kp_period",
    0xFFAA: "kp_multiply", 0xFFAB: "kp_plus", 0xFFAD: "kp_minus", 0xFFAE: "kp_period", 0xFFAF: "kp_divide",
    0xFFE1: "left_shift", 0xFFE2: "right_shift", 0xFFE3: "left_ctrl", 0xFFE4: "right_ctrl",
    0xFFE5: "caps_lock", 0xFFE7: "left_alt", 0xFFE8: "right_alt", 0xFFE9: "left_alt", 0xFFEA: "right_alt",
    0xFE03: "right_alt", 0xFFEB: "left_meta", 0xFFEC: "right_meta", 0xFFFF: "delete",
    **{0xFFB0 + digit: f"kp_{digit}" for digit in range(10)},
    **{0xFFBE + number: f"f{number + 1}" for number in range(12)},
}  # fmt: skip
SHIFTS: Final = ("left_shift", "right_shift")


def keys_of(keysym: int) -> tuple[str, ...]:
    """Return the keys of a keysym, the Shift it takes on a US keyboard first; none without a key."""
    if keysym in _NAMED:
        return (_NAMED[keysym],)
    if not 0x20 <= keysym < 0x7F:
        return ()
    return tuple(keystrokes(chr(keysym)))
