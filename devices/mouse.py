"""A PS/2 mouse with a wheel: commands and movement packets on the auxiliary wire, a hand on the host's side.

Movement adds up until the guest's sample rate allows a report; what does not fit in one packet goes
into the next, so no movement is lost and the overflow bits stay clear. Three rates set in a row
(200, 100, 80, then 200, 200, 80) turn on the wheel and the fourth and fifth button, as drivers do.

Not modelled: the self-test sent unasked after power-on (no firmware waits for it), 2:1 scaling of
reports in stream mode beyond the status that shows it, resolution (the host counts are passed on).

Sources:
  [MOUSE] IBM PS/2 Hardware Interface Technical Reference, Mouse, 1991.
  [IMPS2] Microsoft, Windows support for the wheel: "Intelligent Mouse" packets and identities 3 and 4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from devices.backplane import Clock, DeviceState, Timer

# Commands, [MOUSE] "Commands"
SET_SCALING_1: Final = 0xE6
SET_SCALING_2: Final = 0xE7
SET_RESOLUTION: Final = 0xE8
STATUS: Final = 0xE9
SET_STREAM: Final = 0xEA
READ_DATA: Final = 0xEB
END_WRAP: Final = 0xEC
SET_WRAP: Final = 0xEE
SET_REMOTE: Final = 0xF0
READ_ID: Final = 0xF2
SET_RATE: Final = 0xF3
ENABLE: Final = 0xF4
DISABLE: Final = 0xF5
SET_DEFAULT: Final = 0xF6
RESEND_LAST: Final = 0xFE
RESET: Final = 0xFF

ACK: Final = 0xFA
ERROR: Final = 0xFC  # the second wrong byte in a row
RESEND: Final = 0xFE
TEST_PASSED: Final = 0xAA

# Buttons, as bits of `set_buttons` and of the packet
LEFT: Final = 0x01
RIGHT: Final = 0x02
MIDDLE: Final = 0x04
FOURTH: Final = 0x08
FIFTH: Final = 0x10

PACKET_ONE: Final = 0x08  # the bit that is always set in a packet's first byte
X_SIGN: Final = 0x10
Y_SIGN: Final = 0x20
PLAIN: Final = 0  # identities
WHEEL: Final = 3
FIVE_BUTTONS: Final = 4
TO_WHEEL: Final = (200, 100, 80)
TO_FIVE: Final = (200, 200, 80)
DEFAULT_RATE: Final = 100  # reports a second
DEFAULT_RESOLUTION: Final = 2  # 4 counts a millimetre
RATES: Final = (10, 20, 40, 60, 80, 100, 200)
RESOLUTIONS: Final = range(4)
STATUS_REMOTE: Final = 0x40
STATUS_ENABLED: Final = 0x20
STATUS_SCALING: Final = 0x10
NS_PER_S: Final = 1_000_000_000
MOST_COUNTS: Final = 1 << 15  # of movement nobody reads


class MouseState(DeviceState, frozen=True, kw_only=True):
    """Registers, movement not yet reported and bytes under way."""

    identity: int
    enabled: bool
    remote: bool
    wrap: bool
    scaling: bool
    resolution: int
    rate: int
    last_rates: tuple[int, ...]
    awaiting: int
    refused: bool
    buttons: int
    reported: int
    moved: tuple[int, int, int]
    last: bytes
    output: bytes
    next_report_ns: int


class Mouse:
    """The mouse; a `devices.i8042.Ps2Device`."""

    def __init__(self, clock: Clock, name: str = "mouse") -> None:
        self.name = name
        self._clock = clock
        self._on_ready: Callable[[], None] = lambda: None
        self._timer: Timer | None = None
        self._output: deque[int] = deque()
        self._last_rates: tuple[int, ...] = ()
        self._commands: dict[int, Callable[[], None]] = {
            SET_SCALING_1: self._scale_1, SET_SCALING_2: self._scale_2, STATUS: self._status,
            SET_STREAM: self._stream, READ_DATA: self._read_data, END_WRAP: self._acknowledge,
            SET_WRAP: self._set_wrap, SET_REMOTE: self._set_remote, READ_ID: self._read_id,
            ENABLE: self._enable, DISABLE: self._disable, SET_DEFAULT: self._set_default,
            RESET: self._reset_by_command,
        }  # fmt: skip
        self._arguments = {SET_RATE: self._set_rate, SET_RESOLUTION: self._set_resolution}
        self.reset()

    # -- the chip

    def reset(self) -> None:
        """Power-on: stream mode, reports off, no button down."""
        self._buttons = self._reported = 0
        self._next_report_ns = 0
        self._last = b""
        self._refused = False
        self._power_on()
        self._stop_timer()

    def save(self) -> MouseState:
        """Return the state."""
        return MouseState(
            identity=self.identity, enabled=self.enabled, remote=self._remote, wrap=self._wrap,
            scaling=self._scaling, resolution=self._resolution, rate=self._rate,
            last_rates=self._last_rates, awaiting=self._awaiting, refused=self._refused,
            buttons=self._buttons, reported=self._reported, moved=(self._x, self._y, self._z),
            last=self._last, output=bytes(self._output), next_report_ns=self._next_report_ns,
        )  # fmt: skip

    def load(self, state: DeviceState) -> None:
        """Become `state` and go on reporting."""
        saved = msgspec.convert(state, MouseState)
        self.identity, self.enabled, self._remote = saved.identity, saved.enabled, saved.remote
        self._wrap, self._scaling, self._resolution = saved.wrap, saved.scaling, saved.resolution
        self._rate, self._last_rates, self._awaiting = saved.rate, saved.last_rates, saved.awaiting
        self._refused = saved.refused
        self._buttons, self._reported = saved.buttons, saved.reported
        self._x, self._y, self._z = saved.moved
        self._last, self._output = saved.last, deque(saved.output)
        self._next_report_ns = saved.next_report_ns
        self._stop_timer()
        self._await_report()

    # -- the wire to the controller

    def connect(self, on_ready: Callable[[], None]) -> None:
        """Name the listener to be called when a byte becomes ready."""
        self._on_ready = on_ready

    def has_byte(self) -> bool:
        """Return whether `next_byte` would give one."""
        return bool(self._output)

    def next_byte(self) -> int | None:
        """Give the next byte to the controller."""
        if not self._output:
            return None
        byte = self._output.popleft()
        self._await_report()
        return byte

    def command(self, byte: int) -> None:
        """Take a byte from the controller; it cuts off what was being sent."""
        self._output.clear()
        awaiting, self._awaiting = self._awaiting, 0
        if self._wrap and byte not in (RESET, END_WRAP):
            self._output.append(byte)
        elif awaiting:
            self._arguments[awaiting](byte)
        elif byte in self._arguments:
            self._awaiting = byte
            self._acknowledge()
        elif byte == RESEND_LAST:
            self._output.extend(self._last or bytes([ACK]))
        else:
            self._wrap = False
            self._commands.get(byte, self._refuse)()
        if byte != RESEND_LAST:
            self._last = bytes(self._output)
        self._refused = self._refused and bytes(self._output) == bytes([RESEND])
        self._on_ready()
        self._await_report()

    # -- the host's hand

    def move(self, right: int, up: int, wheel: int = 0) -> None:
        """Move by counts; the wheel by clicks towards the user."""
        self._x = _bounded(self._x + right)
        self._y = _bounded(self._y + up)
        self._z = _bounded(self._z + wheel)
        self._await_report()

    def set_buttons(self, down: int) -> None:
        """Have exactly these buttons down: LEFT, RIGHT, MIDDLE, FOURTH, FIFTH."""
        self._buttons = down & 0x1F
        self._await_report()

    # -- reports

    @property
    def _has_news(self) -> bool:
        return bool(self._x or self._y or self._z) or self._buttons != self._reported

    def _await_report(self) -> None:
        """Send what happened when the sample rate allows and the last report has been taken."""
        streaming = self.enabled and not self._remote and not self._wrap
        if self._has_news and streaming and self._timer is None and not self._output:
            deadline = max(self._next_report_ns, self._clock.now_ns())
            self._timer = self._clock.at(deadline, self._report, "mouse report")

    def _report(self) -> None:
        self._timer = None
        if not self._has_news or not self.enabled or self._remote or self._wrap or self._output:
            return
        self._next_report_ns = self._clock.now_ns() + NS_PER_S // self._rate
        self._last = self._packet()
        self._output.extend(self._last)
        self._on_ready()

    def _packet(self) -> bytes:
        """Make the next packet, [MOUSE] "Data packet", [IMPS2]."""
        x, y, z = (max(-256, min(255, value)) for value in (self._x, self._y, self._z))
        self._x, self._y = self._x - x, self._y - y
        self._reported = self._buttons
        first = PACKET_ONE | self._buttons & 7 | (X_SIGN if x < 0 else 0) | (Y_SIGN if y < 0 else 0)
        packet = bytes((first, x & 0xFF, y & 0xFF))
        if self.identity == PLAIN:
            self._z = 0
            return packet
        z = max(-8, min(7, z))
        self._z -= z
        if self.identity == WHEEL:
            return packet + bytes((z & 0xFF,))
        return packet + bytes((z & 0x0F | (self._buttons & (FOURTH | FIFTH)) << 1,))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- commands

    def _power_on(self) -> None:
        self.identity = PLAIN
        self._wrap = False
        self._awaiting = 0
        self._output.clear()
        self._last_rates = ()
        self._defaults()

    def _defaults(self) -> None:
        self.enabled = self._remote = self._scaling = False
        self._rate, self._resolution = DEFAULT_RATE, DEFAULT_RESOLUTION
        self._forget()

    def _forget(self) -> None:
        """Set the movement counters to zero, as every command that changes the mode does."""
        self._x = self._y = self._z = 0

    def _acknowledge(self) -> None:
        self._output.append(ACK)

    def _refuse(self) -> None:
        """Ask for the byte again; a second wrong one is an error, [MOUSE] "Error handling"."""
        self._output.append(ERROR if self._refused else RESEND)
        self._refused = not self._refused

    def _scale_1(self) -> None:
        self._scaling = False
        self._acknowledge()

    def _scale_2(self) -> None:
        self._scaling = True
        self._acknowledge()

    def _status(self) -> None:
        """Report the mode, the buttons, the resolution and the rate; here left is bit 2."""
        buttons = self._buttons
        first = (buttons & LEFT) << 2 | (buttons & MIDDLE) >> 1 | (buttons & RIGHT) >> 1
        first |= STATUS_REMOTE if self._remote else 0
        first |= STATUS_ENABLED if self.enabled else 0
        first |= STATUS_SCALING if self._scaling else 0
        self._output.extend((ACK, first, self._resolution, self._rate))

    def _stream(self) -> None:
        self._remote = False
        self._forget()
        self._acknowledge()

    def _read_data(self) -> None:
        self._acknowledge()
        self._output.extend(self._packet())

    def _set_wrap(self) -> None:
        self._wrap = True
        self._forget()
        self._acknowledge()

    def _set_remote(self) -> None:
        self._remote = True
        self._forget()
        self._acknowledge()

    def _read_id(self) -> None:
        self._output.extend((ACK, self.identity))

    def _enable(self) -> None:
        self.enabled = True
        self._forget()
        self._acknowledge()

    def _disable(self) -> None:
        self.enabled = False
        self._forget()
        self._acknowledge()

    def _set_default(self) -> None:
        self._defaults()
        self._acknowledge()

    def _reset_by_command(self) -> None:
        self._power_on()
        self._output.extend((ACK, TEST_PASSED, PLAIN))

    def _set_rate(self, value: int) -> None:
        if value not in RATES:
            self._refuse()
            return
        self._rate = value
        self._last_rates = (*self._last_rates, value)[-3:]
        if self._last_rates == TO_WHEEL:
            self.identity = WHEEL
        elif self._last_rates == TO_FIVE and self.identity == WHEEL:
            self.identity = FIVE_BUTTONS
        self._acknowledge()

    def _set_resolution(self, value: int) -> None:
        if value not in RESOLUTIONS:
            self._refuse()
            return
        self._resolution = value
        self._acknowledge()


def _bounded(counts: int) -> int:
    return max(-MOST_COUNTS, min(MOST_COUNTS, counts))
