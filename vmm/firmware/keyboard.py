"""INT 9 and INT 16h: scan codes go into the ring in the BIOS data area, key words come out.

The ROM's INT 9 has read port 60h and offered the code to INT 15h AH=4Fh; it is in AL here. What a
key stands for beside its word (Break, Print Screen, Pause, SysRq, a key for whoever waits) is the verdict
that the ROM's stub obeys. Commands to the keyboard, for its LEDs and its rate, have an argument, which
is sent when the keyboard has acknowledged. Key clicks are not there.

Sources: [PTL] IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupt 09h", "Interrupt 16h";
[XT286] IBM Personal Computer XT Model 286 BIOS listing, "KYBD", 04/21/86.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.firmware import bda as b
from vmm.firmware.bda import Bda
from vmm.firmware.caller import WAIT_FOR_KEY, Caller
from vmm.firmware.ebda import KEY_ARGUMENT, Ebda
from vmm.firmware.host import FirmwareHost
from vmm.firmware.keymap import GREY, KEYPAD, KEYS, NONE
from vmm.firmware.stubs import (
    KEY_BREAK,
    KEY_PAUSE,
    KEY_PRINT_SCREEN,
    KEY_STORED,
    KEY_SYSTEM_DOWN,
    KEY_SYSTEM_UP,
)

# 40:17, [PTL] §3
RIGHT_SHIFT, LEFT_SHIFT, CONTROL, ALT = 0x01, 0x02, 0x04, 0x08
SCROLL_LOCK, NUM_LOCK, CAPS_LOCK, INSERT = 0x10, 0x20, 0x40, 0x80
SHIFT: Final = RIGHT_SHIFT | LEFT_SHIFT
LEFT_CONTROL, LEFT_ALT = 0x01, 0x02  # 40:18
# 40:96
PREFIX_E1, PREFIX_E0, RIGHT_CONTROL, RIGHT_ALT, ENHANCED = 0x01, 0x02, 0x04, 0x08, 0x10

RELEASED: Final = 0x80
SCAN_E0, SCAN_E1 = 0xE0, 0xE1
SCAN_DELETE, SCAN_INSERT, SCAN_CONTROL = 0x53, 0x52, 0x1D
WARM_START: Final = 0x1234
MODIFIERS: Final = {0x36: RIGHT_SHIFT, 0x2A: LEFT_SHIFT, 0x1D: CONTROL, 0x38: ALT}
LOCKS: Final = {0x46: SCROLL_LOCK, 0x45: NUM_LOCK, 0x3A: CAPS_LOCK}
SIDES: Final = {0x1D: (LEFT_CONTROL, RIGHT_CONTROL), 0x38: (LEFT_ALT, RIGHT_ALT)}
PAUSED, SYSTEM_KEY = 0x08, 0x04  # 40:18
BREAK_PRESSED: Final = 0x80  # 40:71
# 40:97: the LEDs as they are, and what is under way
LEDS, ACKNOWLEDGED, RESEND_SEEN, UPDATING = 0x07, 0x10, 0x20, 0x40
ACKNOWLEDGE, RESEND = 0xFA, 0xFE
SET_LEDS, SET_TYPEMATIC = 0xED, 0xF3
SCAN_PRINT, SCAN_SYSTEM, SCAN_BREAK, SCAN_NUM_LOCK, SCAN_SCROLL = 0x37, 0x54, 0x46, 0x45, 0x46
KBD_DATA: Final = 0x60
KBD_COMMAND: Final = 0x64
KBD_PULSE_RESET: Final = 0xFE
GREY_CHARACTER: Final = 0xE0
FILL_IN: Final = 0xF0  # the character of keys and shifts that older keyboards gave nothing for
FUNCTIONALITY: Final = 0x34  # 09h: 0305h, 0Ah and 10h-12h are there
LAST_FUNCTION: Final = 0x12
PROBE: Final = 0x92  # by which KEYB.COM tells whether 10h-12h are there: AH is at most 80h then
KEYBOARD_ID: Final = 0x41AB  # MF2 behind a translating controller
LAST_OLD_SCAN: Final = 0x84
RING_WORDS: Final = 16
DEFAULT_TYPEMATIC: Final = 0x2B
SET_RATE, DEFAULT_RATE = 0x05, 0x00
SLOWEST_DELAY, SLOWEST_RATE = 0x03, 0x1F
DIGITS: Final = {0x47: 7, 0x48: 8, 0x49: 9, 0x4B: 4, 0x4C: 5, 0x4D: 6, 0x4F: 1, 0x50: 2, 0x51: 3, 0x52: 0}


class Keyboard:
    """Both ends of the key ring."""

    def __init__(self, host: FirmwareHost) -> None:
        self._host = host
        self._bda = Bda(host.memory)
        self._ebda = Ebda(host.memory)
        self._functions: dict[int, Callable[[Caller], None]] = {
            0x00: lambda caller: self._take(caller, enhanced=False),
            0x01: lambda caller: self._peek(caller, enhanced=False),
            0x02: self._flags,
            0x03: self._set_rate,
            0x04: lambda _caller: None,  # key clicks
            0x05: self._store_from_caller,
            0x09: self._functionality,
            0x0A: self._identity,
            0x10: lambda caller: self._take(caller, enhanced=True),
            0x11: lambda caller: self._peek(caller, enhanced=True),
            0x12: self._extended_flags,
            PROBE: self._probed,
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
            caller.conclude(WAIT_FOR_KEY)
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

    def _set_rate(self, caller: Caller) -> None:
        """03h: AL = 05h sets the rate BL after the delay BH if both can be, AL = 00h the default."""
        if caller.al == SET_RATE:
            if caller.bh <= SLOWEST_DELAY and caller.bl <= SLOWEST_RATE:
                self._command(SET_TYPEMATIC, caller.bh << 5 | caller.bl)
        elif caller.al == DEFAULT_RATE:
            self._command(SET_TYPEMATIC, DEFAULT_TYPEMATIC)

    def _functionality(self, caller: Caller) -> None:
        caller.al = FUNCTIONALITY

    def _identity(self, caller: Caller) -> None:
        caller.bx = KEYBOARD_ID

    def _probed(self, caller: Caller) -> None:
        """92h is no function: a BIOS with 10h-12h counts AH down on its way past them, [XT286]."""
        caller.ah = PROBE - LAST_FUNCTION

    def _store_from_caller(self, caller: Caller) -> None:
        caller.al = 0 if self._store(caller.cx) else 1

    # -- the ring at 40:1E (or where 40:80 and 40:82 say)

    def _after(self, position: int) -> int:
        position = position + 2 & 0xFFFF
        return (
            self._bda.word(b.KEY_BUFFER_START) if position >= self._bda.word(b.KEY_BUFFER_END) else position
        )

    def _next(self, enhanced: bool) -> int | None:
        """Return the oldest word as the caller's function shows it, or None if the ring has none for it.

        A key that keyboards of 84 keys do not have is thrown away by the functions for those
        ([XT286] "return only PC/PCAT keyboard compatible codes"); SeaBIOS passes it on.
        """
        for _ in range(RING_WORDS):
            head = self._bda.word(b.KEY_HEAD)
            if head == self._bda.word(b.KEY_TAIL):
                return None
            word = self._bda.word(head)
            if enhanced or not _is_new(word):
                return self._extended(word) if enhanced else self._translated(word)
            self._bda.set_word(b.KEY_HEAD, self._after(head))
        return None

    @staticmethod
    def _extended(word: int) -> int:
        return word & 0xFF00 if word & 0xFF == FILL_IN and word > FILL_IN else word

    @staticmethod
    def _translated(word: int) -> int:
        if word >> 8 == GREY_CHARACTER:  # keypad Enter and /, as the key they double
            return (0x1C00 if word & 0xFF in (0x0D, 0x0A) else 0x3500) | word & 0xFF
        return word & 0xFF00 if word & 0xFF == GREY_CHARACTER and word > GREY_CHARACTER else word

    def _store(self, word: int) -> bool:
        tail = self._bda.word(b.KEY_TAIL)
        after = self._after(tail)
        if after == self._bda.word(b.KEY_HEAD):
            return False
        self._bda.set_word(tail, word)
        self._bda.set_word(b.KEY_TAIL, after)
        return True

    # -- commands to the keyboard

    def _command(self, command: int, argument: int) -> None:
        self._ebda.write(KEY_ARGUMENT, bytes((argument, command)))
        self._bda.set_byte(b.KEY_FLAGS_4, self._bda.byte(b.KEY_FLAGS_4) | UPDATING)
        self._host.bus.write(KBD_DATA, 1, command)

    def _acknowledged(self) -> None:
        """Send the argument, the first time."""
        flags = self._bda.byte(b.KEY_FLAGS_4)
        if flags & UPDATING:
            flags &= ~UPDATING
            argument, command = self._ebda.read(KEY_ARGUMENT, 2)
            if command == SET_LEDS:
                flags = flags & ~LEDS | argument & LEDS
            self._host.bus.write(KBD_DATA, 1, argument)
        self._bda.set_byte(b.KEY_FLAGS_4, flags | ACKNOWLEDGED)

    def _show_locks(self) -> None:
        """Have the LEDs show what 40:17 says."""
        locks = self._bda.byte(b.KEY_FLAGS) >> 4 & LEDS
        flags = self._bda.byte(b.KEY_FLAGS_4)
        if locks != flags & LEDS and not flags & UPDATING:
            self._command(SET_LEDS, locks)

    # -- INT 9

    def interrupt(self, caller: Caller) -> None:
        """Take the scan code in AL; the verdict says what else it asks for."""
        code = caller.al
        if code == ACKNOWLEDGE:
            self._acknowledged()
            return
        if code == RESEND:
            self._bda.set_byte(b.KEY_FLAGS_4, self._bda.byte(b.KEY_FLAGS_4) & ~UPDATING | RESEND_SEEN)
            return
        verdict = self._scan(code)
        self._show_locks()
        if verdict:
            caller.conclude(verdict)

    def _scan(self, code: int) -> int:
        prefixes = self._bda.byte(b.KEY_FLAGS_3)
        if code in (SCAN_E0, SCAN_E1):
            self._bda.set_byte(b.KEY_FLAGS_3, prefixes | (PREFIX_E0 if code == SCAN_E0 else PREFIX_E1))
            return 0
        if prefixes & PREFIX_E1:  # Pause: E1 1D 45 E1 9D C5; the byte after 1D or 9D ends it
            if code & ~RELEASED == SCAN_CONTROL:
                return 0
            self._bda.set_byte(b.KEY_FLAGS_3, prefixes & ~PREFIX_E1)
            return self._pause() if code == SCAN_NUM_LOCK else 0
        self._bda.set_byte(b.KEY_FLAGS_3, prefixes & ~PREFIX_E0)
        scan, pressed, grey = code & ~RELEASED, not code & RELEASED, bool(prefixes & PREFIX_E0)
        if scan in MODIFIERS:
            return self._modify(scan, pressed, grey)
        if pressed and self._bda.byte(b.KEY_FLAGS_2) & PAUSED:
            self._change(b.KEY_FLAGS_2, PAUSED, False)  # any key ends the pause, and does nothing else
            return 0
        if scan == SCAN_SYSTEM:
            return self._system_request(pressed)
        if grey and scan == SCAN_PRINT:
            return KEY_PRINT_SCREEN if pressed else 0
        if grey and scan == SCAN_BREAK:
            return self._break() if pressed else 0
        if scan in LOCKS and not grey:
            return self._lock(scan, pressed)
        return self._press(scan, grey) if pressed else 0

    def _pause(self) -> int:
        self._change(b.KEY_FLAGS_2, PAUSED, True)
        return KEY_PAUSE

    def _break(self) -> int:
        """Ctrl-Break: empty the ring but for a word 0, and INT 1Bh."""
        self._bda.set_byte(b.BREAK, self._bda.byte(b.BREAK) | BREAK_PRESSED)
        start = self._bda.word(b.KEY_BUFFER_START)
        self._bda.set_word(b.KEY_HEAD, start)
        self._bda.set_word(b.KEY_TAIL, start)
        self._store(0)
        return KEY_BREAK

    def _system_request(self, pressed: bool) -> int:
        held = self._bda.byte(b.KEY_FLAGS_2) & SYSTEM_KEY
        self._change(b.KEY_FLAGS_2, SYSTEM_KEY, pressed)
        if pressed:
            return 0 if held else KEY_SYSTEM_DOWN
        return KEY_SYSTEM_UP

    def _modify(self, scan: int, pressed: bool, grey: bool) -> int:
        if grey and scan not in SIDES:
            return 0  # the false shifts that frame grey keys
        if scan in SIDES:
            left, right = SIDES[scan]
            self._change(b.KEY_FLAGS_3 if grey else b.KEY_FLAGS_2, right if grey else left, pressed)
            pressed = bool(self._bda.byte(b.KEY_FLAGS_2) & left or self._bda.byte(b.KEY_FLAGS_3) & right)
        self._change(b.KEY_FLAGS, MODIFIERS[scan], pressed)
        if MODIFIERS[scan] == ALT and not pressed:
            return self._composed()
        return 0

    def _composed(self) -> int:
        """Alt was released: what the keypad has composed is a character without a scan code."""
        character = self._bda.byte(b.KEYPAD_NUMBER)
        self._bda.set_byte(b.KEYPAD_NUMBER, 0)
        return KEY_STORED if character and self._store(character) else 0

    def _lock(self, scan: int, pressed: bool) -> int:
        flag, control = LOCKS[scan], self._bda.byte(b.KEY_FLAGS) & CONTROL
        if control and scan == SCAN_NUM_LOCK:
            return self._pause() if pressed else 0  # as on keyboards without a Pause key
        if control and scan == SCAN_SCROLL:
            return self._break() if pressed else 0
        held = self._bda.byte(b.KEY_FLAGS_2) & flag
        if pressed and not held:
            self._bda.set_byte(b.KEY_FLAGS, self._bda.byte(b.KEY_FLAGS) ^ flag)
        self._change(b.KEY_FLAGS_2, flag, pressed)
        return 0

    def _change(self, offset: int, flag: int, on: bool) -> None:
        value = self._bda.byte(offset)
        self._bda.set_byte(offset, value | flag if on else value & ~flag)

    def _press(self, scan: int, grey: bool) -> int:
        flags = self._bda.byte(b.KEY_FLAGS)
        if scan == SCAN_DELETE and flags & CONTROL and flags & ALT:
            self._bda.set_word(b.RESET_FLAG, WARM_START)
            self._host.bus.write(KBD_COMMAND, 1, KBD_PULSE_RESET)
            return 0
        if flags & ALT and not grey and scan in DIGITS:
            self._bda.set_byte(b.KEYPAD_NUMBER, self._bda.byte(b.KEYPAD_NUMBER) * 10 + DIGITS[scan])
            return 0
        if scan == SCAN_INSERT and not flags & (SHIFT | CONTROL | ALT):
            self._bda.set_byte(b.KEY_FLAGS, flags ^ INSERT)
        word = _key_word(scan, grey, flags)
        return KEY_STORED if word != NONE and self._store(word) else 0


def _is_new(word: int) -> bool:
    """Whether only 10h and 11h give a word, [XT286] KIO_S_XLAT."""
    scan, character = word >> 8, word & 0xFF
    if scan == GREY_CHARACTER:
        return False
    return scan > LAST_OLD_SCAN or (character == FILL_IN and scan != 0)


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
