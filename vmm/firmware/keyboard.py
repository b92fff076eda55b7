"""INT 9 and INT 16h: scan codes go into the ring in the BIOS data area, key words come out.

The ROM's INT 9 has read port 60h and offered the code to INT 15h AH=4Fh; it is in AL here.
Not modelled: Print Screen, Break and Pause (INT 5, INT 1Bh), composing characters with Alt and the
keypad, and the LEDs.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 09h", "Interrupt 16h".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import WAIT, Caller
from vmm.firmware.host import FirmwareHost
from vmm.firmware.keymap import GREY, KEYPAD, KEYS, NONE

# 40:17, [PTL] §3
RIGHT_SHIFT, LEFT_SHIFT, CONTROL, ALT = 0x01, 0x02, 0x04, 0x08
SCROLL_LOCK, NUM_LOCK, CAPS_LOCK, INSERT = 0x10, 0x20, 0x40, 0x80
SHIFT: Final = RIGHT_SHIFT | LEFT_SHIFT
LEFT_CONTROL, LEFT_ALT = 0x01, 0x02  # 40:18
# 40:96
PREFIX_E1, PREFIX_E0, RIGHT_CONTROL, RIGHT_ALT, ENHANCED = 0x01, 0x02, 0x04, 0x08, 0x10

RELEASED: Final = 0x80
SCAN_E0, SCAN_E1 = 0xE0, 0xE1
SCAN_DELETE, SCAN_INSERT = 0x53, 0x52
MODIFIERS: Final = {0x36: RIGHT_SHIFT, 0x2A: LEFT_SHIFT, 0x1D: CONTROL, 0x38: ALT}
LOCKS: Final = {0x46: SCROLL_LOCK, 0x45: NUM_LOCK, 0x3A: CAPS_LOCK}
SIDES: Final = {0x1D: (LEFT_CONTROL, RIGHT_CONTROL), 0x38: (LEFT_ALT, RIGHT_ALT)}
KBD_COMMAND: Final = 0x64
KBD_PULSE_RESET: Final = 0xFE
GREY_CHARACTER: Final = 0xE0


class Keyboard:
    """Both ends of the key ring."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bda = Bda(host.memory)
        self._functions: dict[int, Callable[[Caller], None]] = {
            0x00: lambda caller: self._take(caller, enhanced=False),
            0x01: lambda caller: self._peek(caller, enhanced=False),
            0x02: self._flags,
            0x05: self._store_from_caller,
            0x10: lambda caller: self._take(caller, enhanced=True),
            0x11: lambda caller: self._peek(caller, enhanced=True),
            0x12: self._extended_flags,
        }

    # -- INT 16h

    def call(self, caller: Caller) -> None:
        """Serve one INT 16h."""
        function = self._functions.get(caller.ah)
        if function is not None:
            function(caller)

    def _take(self, caller: Caller, *, enhanced: bool) -> None:
        word = self._next(enhanced)
        if word is None:
            caller.conclude(WAIT)
            return
        self._bda.set_word(b.KEY_HEAD, self._after(self._bda.word(b.KEY_HEAD)))
        caller.ax = word

    def _peek(self, caller: Caller, *, enhanced: bool) -> None:
        word = self._next(enhanced)
        caller.set_zero(word is None)
        if word is not None:
            caller.ax = word

    def _flags(self, caller: Caller) -> None:
        caller.al = self._bda.byte(b.KEY_FLAGS)

    def _extended_flags(self, caller: Caller) -> None:
        caller.al = self._bda.byte(b.KEY_FLAGS)
        sides = self._bda.byte(b.KEY_FLAGS_3) & (RIGHT_CONTROL | RIGHT_ALT)
        caller.ah = self._bda.byte(b.KEY_FLAGS_2) & 0x73 | sides

    def _store_from_caller(self, caller: Caller) -> None:
        caller.al = 0 if self._store(caller.cx) else 1

    # -- the ring at 40:1E (or where 40:80 and 40:82 say)

    def _after(self, position: int) -> int:
        position = position + 2 & 0xFFFF
        return (
            self._bda.word(b.KEY_BUFFER_START) if position >= self._bda.word(b.KEY_BUFFER_END) else position
        )

    def _next(self, enhanced: bool) -> int | None:
        """Return the oldest word as the caller's function shows it, or None if the ring is empty."""
        head = self._bda.word(b.KEY_HEAD)
        if head == self._bda.word(b.KEY_TAIL):
            return None
        word = self._bda.word(head)
        if enhanced:
            return word
        if word >> 8 == GREY_CHARACTER:  # keypad Enter and /, as the key they double
            return (0x1C00 if word & 0xFF in (0x0D, 0x0A) else 0x3500) | word & 0xFF
        return word & 0xFF00 if word & 0xFF == GREY_CHARACTER else word

    def _store(self, word: int) -> bool:
        tail = self._bda.word(b.KEY_TAIL)
        after = self._after(tail)
        if after == self._bda.word(b.KEY_HEAD):
            return False
        self._bda.set_word(tail, word)
        self._bda.set_word(b.KEY_TAIL, after)
        return True

    # -- INT 9

    def interrupt(self, caller: Caller) -> None:
        """Take the scan code in AL."""
        code = caller.al
        prefixes = self._bda.byte(b.KEY_FLAGS_3)
        if code in (SCAN_E0, SCAN_E1):
            self._bda.set_byte(b.KEY_FLAGS_3, prefixes | (PREFIX_E0 if code == SCAN_E0 else PREFIX_E1))
            return
        if prefixes & PREFIX_E1:  # Pause: E1 1D 45 E1 9D C5; the byte after 1D or 9D ends it
            if code & ~RELEASED != 0x1D:
                self._bda.set_byte(b.KEY_FLAGS_3, prefixes & ~PREFIX_E1)
            return
        self._bda.set_byte(b.KEY_FLAGS_3, prefixes & ~PREFIX_E0)
        scan, pressed, grey = code & ~RELEASED, not code & RELEASED, bool(prefixes & PREFIX_E0)
        if scan in MODIFIERS:
            self._modify(scan, pressed, grey)
        elif scan in LOCKS and not grey:
            self._lock(LOCKS[scan], pressed)
        elif pressed:
            self._press(scan, grey)

    def _modify(self, scan: int, pressed: bool, grey: bool) -> None:
        if grey and scan not in SIDES:
            return  # the false shifts that frame grey keys
        if scan in SIDES:
            left, right = SIDES[scan]
            self._change(b.KEY_FLAGS_3 if grey else b.KEY_FLAGS_2, right if grey else left, pressed)
            pressed = bool(self._bda.byte(b.KEY_FLAGS_2) & left or self._bda.byte(b.KEY_FLAGS_3) & right)
        self._change(b.KEY_FLAGS, MODIFIERS[scan], pressed)

    def _lock(self, flag: int, pressed: bool) -> None:
        held = self._bda.byte(b.KEY_FLAGS_2) & flag
        if pressed and not held:
            self._bda.set_byte(b.KEY_FLAGS, self._bda.byte(b.KEY_FLAGS) ^ flag)
        self._change(b.KEY_FLAGS_2, flag, pressed)

    def _change(self, offset: int, flag: int, on: bool) -> None:
        value = self._bda.byte(offset)
        self._bda.set_byte(offset, value | flag if on else value & ~flag)

    def _press(self, scan: int, grey: bool) -> None:
        flags = self._bda.byte(b.KEY_FLAGS)
        if scan == SCAN_DELETE and flags & CONTROL and flags & ALT:
            self._host.bus.write(KBD_COMMAND, 1, KBD_PULSE_RESET)
            return
        if scan == SCAN_INSERT and not flags & (SHIFT | CONTROL | ALT):
            self._bda.set_byte(b.KEY_FLAGS, flags ^ INSERT)
        word = _key_word(scan, grey, flags)
        if word != NONE:
            self._store(word)


def _key_word(scan: int, grey: bool, flags: int) -> int:
    """Return what the key gives under the shift states `flags`, or NONE."""
    control, alt = bool(flags & CONTROL), bool(flags & ALT)
    shifted = bool(flags & SHIFT)
    if grey:
        words = GREY.get(scan)
        return NONE if words is None else words[2 if alt else 1 if control else 0]
    if scan in KEYPAD:
        cursor, digit, with_control = KEYPAD[scan]
        if alt:
            return NONE
        if control:
            return with_control
        return scan << 8 | ord(digit) if shifted != bool(flags & NUM_LOCK) else cursor
    key = KEYS.get(scan)
    if key is None:
        return NONE
    if alt:
        return key.alt
    if control:
        return key.control
    letter = 0x61 <= key.plain & 0xFF <= 0x7A
    return key.shift if shifted != (letter and bool(flags & CAPS_LOCK)) else key.plain
