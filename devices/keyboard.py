"""A 101/102-key PC keyboard: commands and scan codes on the PS/2 wire, keys on the host's side.

Keys pressed by the host go into the keyboard's own 16-byte buffer, which overruns as the real one does
when the guest does not read. `type_text` is a patient typist: it strikes the next key only when the
buffer is empty, scanning is on and `key_interval_ns` has passed.

Not modelled: scan code set 3 (asked for, it is refused), typematic repeat (the host presses again),
the time a self-test takes.

Sources:
  [KBD] IBM PS/2 Hardware Interface Technical Reference, Keyboards (101- and 102-key), 1991.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from devices.backplane import Clock, DeviceState, Timer
from devices.scancodes import BREAK, KEYS, MAKE, keystrokes

# Commands, [KBD] "Commands from the system"
SET_LEDS: Final = 0xED
ECHO: Final = 0xEE
SCAN_CODE_SET: Final = 0xF0
READ_ID: Final = 0xF2
SET_TYPEMATIC: Final = 0xF3
ENABLE: Final = 0xF4
DEFAULT_DISABLE: Final = 0xF5
SET_DEFAULT: Final = 0xF6
SET_ALL_KEYS: Final = (0xF7, 0xF8, 0xF9, 0xFA)  # set 3 only: acknowledged, without effect
SET_KEYS: Final = (0xFB, 0xFC, 0xFD)  # likewise, with a list of keys to follow
RESEND_LAST: Final = 0xFE
RESET: Final = 0xFF
FIRST_COMMAND: Final = 0xED

# Answers, [KBD] "Commands to the system"
ACK: Final = 0xFA
RESEND: Final = 0xFE
TEST_PASSED: Final = 0xAA
IDENTITY: Final = b"\xab\x83"
OVERRUN: Final = {1: 0xFF, 2: 0x00}

BUFFER_BYTES: Final = 16
DEFAULT_SET: Final = 2
DEFAULT_TYPEMATIC: Final = 0x2B  # 10.9 a second after half a second
DEFAULT_KEY_INTERVAL_NS: Final = 10_000_000
MOST_TYPED: Final = 1 << 16  # presses and releases that may wait for the guest

CodeTable = Mapping[int, Mapping[str, bytes]]


class KeyboardState(DeviceState, frozen=True, kw_only=True):
    """Registers, the bytes and keystrokes under way."""

    code_set: int
    scanning: bool
    leds: int
    typematic: int
    awaiting: int
    last_byte: int
    replies: bytes
    buffer: bytes
    typed: tuple[tuple[str, bool], ...]
    next_key_ns: int


class Keyboard:
    """The keyboard; a `devices.i8042.Ps2Device`."""

    def __init__(
        self, clock: Clock, name: str = "keyboard", key_interval_ns: int = DEFAULT_KEY_INTERVAL_NS
    ) -> None:
        self.name = name
        self._clock = clock
        self._key_interval_ns = key_interval_ns
        self._on_ready: Callable[[], None] = lambda: None
        self._timer: Timer | None = None
        self._replies: deque[int] = deque()
        self._buffer: deque[int] = deque()
        self._typed: deque[tuple[str, bool]] = deque()
        self._commands: dict[int, Callable[[], None]] = {
            ECHO: self._echo,
            READ_ID: self._read_id,
            ENABLE: self._enable,
            DEFAULT_DISABLE: self._default_disable,
            SET_DEFAULT: self._set_default,
            RESEND_LAST: self._resend_last,
            RESET: self._reset_by_command,
            **dict.fromkeys(SET_ALL_KEYS, self._acknowledge),
        }
        self._arguments: dict[int, Callable[[int], None]] = {
            SET_LEDS: self._set_leds,
            SCAN_CODE_SET: self._set_code_set,
            SET_TYPEMATIC: self._set_typematic,
            **dict.fromkeys(SET_KEYS, self._set_key),
        }
        self.reset()

    # The chip

    def reset(self) -> None:
        """Power-on: default set, scanning, nothing to send or type."""
        self._typed.clear()
        self._next_key_ns = 0
        self._last_byte = 0
        self._power_on()
        self._stop_timer()

    def save(self) -> KeyboardState:
        """Return the state."""
        return KeyboardState(
            code_set=self._code_set,
            scanning=self._scanning,
            leds=self.leds,
            typematic=self._typematic,
            awaiting=self._awaiting,
            last_byte=self._last_byte,
            replies=bytes(self._replies),
            buffer=bytes(self._buffer),
            typed=tuple(self._typed),
            next_key_ns=self._next_key_ns,
        )

    def load(self, state: DeviceState) -> None:
        """Become `state` and go on typing."""
        saved = msgspec.convert(state, KeyboardState)
        self._code_set = saved.code_set
        self._scanning = saved.scanning
        self.leds = saved.leds
        self._typematic = saved.typematic
        self._awaiting = saved.awaiting
        self._last_byte = saved.last_byte
        self._replies = deque(saved.replies)
        self._buffer = deque(saved.buffer)
        self._typed = deque(saved.typed)
        self._next_key_ns = saved.next_key_ns
        self._stop_timer()
        self._type_on()

    # The wire to the controller

    def connect(self, on_ready: Callable[[], None]) -> None:
        """Name the listener to be called when a byte becomes ready."""
        self._on_ready = on_ready

    def has_byte(self) -> bool:
        """Return whether `next_byte` would give one."""
        return bool(self._replies or self._buffer)

    def next_byte(self) -> int | None:
        """Give the next byte to the controller: answers first, then scan codes."""
        if self._replies:
            self._last_byte = self._replies.popleft()
            return self._last_byte
        if not self._buffer:
            return None
        self._last_byte = self._buffer.popleft()
        if not self._buffer:
            self._type_on()
        return self._last_byte

    def command(self, byte: int) -> None:
        """Take a byte from the controller; it cuts off the answer to the one before."""
        awaiting, self._awaiting = self._awaiting, 0
        self._replies.clear()
        if awaiting and byte < FIRST_COMMAND:
            self._arguments[awaiting](byte)
        elif byte in self._arguments:
            self._awaiting = byte
            self._acknowledge()
        else:
            self._commands.get(byte, self._refuse)()
        if self._replies:
            self._on_ready()

    # The host's side

    def press(self, key: str) -> None:
        """Press `key` (a name of `scancodes.KEYS`); pressing a key that is down repeats it."""
        self._strike(key, MAKE)

    def release(self, key: str) -> None:
        """Let go of `key`."""
        self._strike(key, BREAK)

    def type_text(self, text: str) -> None:
        """Type US text at a pace the guest can follow; raises ValueError for what has no key."""
        strokes = [keystrokes(character) for character in text]
        for keys in strokes:
            self._typed.extend((key, True) for key in keys)
            self._typed.extend((key, False) for key in reversed(keys))
        self._type_on()

    def type_keys(self, keys: tuple[str, ...]) -> None:
        """Type a chord such as ("left_ctrl", "left_alt", "delete"): press all, release in reverse.

        While `MOST_TYPED` presses and releases wait, more are dropped.
        """
        for key in keys:
            _known(key)
        if len(self._typed) >= MOST_TYPED:
            return
        self._typed.extend((key, True) for key in keys)
        self._typed.extend((key, False) for key in reversed(keys))
        self._type_on()

    def strike(self, key: str, *, down: bool) -> bool:
        """Press or release one key behind what waits to be typed; return whether it was queued.

        Past `MOST_TYPED` presses are dropped. Releases never are: release only what was queued.
        """
        if down and len(self._typed) >= MOST_TYPED:
            return False
        self._typed.append((_known(key), down))
        self._type_on()
        return True

    @property
    def typing(self) -> bool:
        """Whether text still waits to be typed."""
        return bool(self._typed)

    def _strike(self, key: str, codes: CodeTable) -> None:
        code = codes[self._code_set][_known(key)]
        if not self._scanning:
            return
        if len(self._buffer) + len(code) <= BUFFER_BYTES:
            self._buffer.extend(code)
        elif len(self._buffer) <= BUFFER_BYTES and self._buffer[-1] != OVERRUN[self._code_set]:
            self._buffer.append(OVERRUN[self._code_set])
        if self._buffer:
            self._on_ready()

    def _type_on(self) -> None:
        """Await the time of the next typed key, if the guest has taken the one before."""
        if self._typed and self._timer is None and self._scanning and not self._buffer:
            deadline = max(self._next_key_ns, self._clock.now_ns())
            self._timer = self._clock.at(deadline, self._type_key, "keyboard typing")

    def _type_key(self) -> None:
        self._timer = None
        if not self._typed or not self._scanning or self._buffer:
            return
        key, down = self._typed.popleft()
        self._next_key_ns = self._clock.now_ns() + self._key_interval_ns
        self._strike(key, MAKE if down else BREAK)
        self._type_on()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Commands

    def _acknowledge(self) -> None:
        self._replies.append(ACK)

    def _refuse(self) -> None:
        self._replies.append(RESEND)

    def _power_on(self) -> None:
        self.leds = 0
        self._awaiting = 0
        self._replies.clear()
        self._set_defaults()
        self._scanning = True

    def _set_defaults(self) -> None:
        self._code_set = DEFAULT_SET
        self._typematic = DEFAULT_TYPEMATIC
        self._buffer.clear()

    def _echo(self) -> None:
        self._replies.append(ECHO)

    def _read_id(self) -> None:
        self._acknowledge()
        self._replies.extend(IDENTITY)

    def _enable(self) -> None:
        self._buffer.clear()
        self._scanning = True
        self._acknowledge()
        self._type_on()

    def _default_disable(self) -> None:
        self._set_defaults()
        self._scanning = False
        self._acknowledge()

    def _set_default(self) -> None:
        self._set_defaults()
        self._acknowledge()
        self._type_on()

    def _resend_last(self) -> None:
        self._replies.append(self._last_byte)

    def _reset_by_command(self) -> None:
        self._power_on()
        self._acknowledge()
        self._replies.append(TEST_PASSED)
        self._type_on()

    def _set_leds(self, value: int) -> None:
        self.leds = value & 7
        self._acknowledge()

    def _set_code_set(self, value: int) -> None:
        if value == 0:
            self._acknowledge()
            self._replies.append(self._code_set)
        elif value in MAKE:
            self._buffer.clear()
            self._code_set = value
            self._acknowledge()
            self._type_on()
        else:
            self._refuse()

    def _set_typematic(self, value: int) -> None:
        self._typematic = value
        self._acknowledge()

    def _set_key(self, value: int) -> None:
        self._awaiting = SET_KEYS[0]  # the list goes on until a command ends it
        self._acknowledge()


def _known(key: str) -> str:
    if key not in KEYS:
        raise ValueError(f"no key is named {key!r}")
    return key
