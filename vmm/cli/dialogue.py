r"""`--expect` and `--send`: a conversation with the guest.

The options pair up in the order written: the first `--expect` waits for its text, then the first
`--send` is typed, then the second `--expect` waits, and so on; what has no partner just follows. A
dialogue that ends by expecting ends the run; one that ends by sending lets it go on.

Text is looked for on the serial ports, the debug port and the text screen. On a port only what came
after the last match counts; on the screen, a text that was there already must appear once more.

What is sent is `keys:TEXT` (the keyboard, also without the prefix), `serial:TEXT` (COM1) or
`serial2:TEXT`, with the escapes `\n \t \e \b \\` and `\xHH`, which on a serial port is that byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final, NamedTuple, Protocol

from devices.scancodes import keystrokes
from vmm.errors import UsageError
from vmm.outputs import Output

_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "e": "\x1b", "b": "\b", "\\": "\\"}
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|.|$)", re.DOTALL)
_CHANNELS: Final = {"keys": None, "serial": 0, "serial2": 1}


class Talker(Protocol):
    """What a dialogue needs of a machine."""

    serial: list[Output]
    debug: Output

    def screen_text(self) -> list[str]:
        """Return the rows of the text screen."""

    def send_serial(self, data: bytes, number: int = 0) -> None:
        """Let bytes arrive at a serial port."""

    def send_keys(self, text: str) -> None:
        """Type text on the keyboard."""


class Sending(NamedTuple):
    """Text for the guest; `port` is a serial port's number, None the keyboard."""

    port: int | None
    text: str


def unescape(text: str) -> str:
    """Return `text` with its escapes replaced."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name.startswith("x") and len(name) == 3:
            return bytes([int(name[1:], 16)]).decode("utf-8", "surrogateescape")
        if name not in _ESCAPES:
            raise UsageError(
                f"--send {text!r}: \\{name} is no escape; there are \\n \\r \\t \\e \\b \\\\ \\xHH"
            )
        return _ESCAPES[name]

    return _ESCAPE.sub(replace, text)


def parse_send(text: str) -> Sending:
    """Read one `--send`."""
    channel, colon, rest = text.partition(":")
    if colon and re.fullmatch(r"serial\d+", channel) and channel not in _CHANNELS:
        raise UsageError(f"--send {text!r}: there are serial: and serial2:, for COM1 and COM2")
    if not (colon and channel in _CHANNELS):
        channel, rest = "keys", text
    sending = Sending(_CHANNELS[channel], unescape(rest))
    if sending.port is None:
        for character in sending.text:
            _check_key(character)
    return sending


def _check_key(character: str) -> None:
    try:
        keystrokes(character)
    except ValueError:
        raise UsageError(f"--send: the keyboard has no key for {character!r}") from None


class Dialogue:
    """The steps of a conversation and how far it has come."""

    def __init__(self, expect: Sequence[str], send: Sequence[str]) -> None:
        self._steps: list[str | Sending] = []
        for expected, sent in zip_longest(expect, send):
            if expected is not None:
                self._steps.append(expected)
            if sent is not None:
                self._steps.append(parse_send(sent))
        self._ends_run = bool(self._steps) and isinstance(self._steps[-1], str)
        self._position = 0
        self._seen: dict[int, int] = {}  # bytes of each stream up to the last match
        self._searched: dict[int, int] = {}  # bytes in which the present text is known not to be
        self._on_screen: dict[str, int] = {}

    @property
    def finished(self) -> bool:
        """Whether the run is to end: all was seen, and nothing is left to do."""
        return self._ends_run and self.waiting_for is None

    @property
    def waiting_for(self) -> str | None:
        """Return the next text expected, or None when all were seen."""
        return next((step for step in self._steps[self._position :] if isinstance(step, str)), None)

    def advance(self, guest: Talker) -> bool:
        """Take as many steps as possible now; return whether the run is to end."""
        while self._position < len(self._steps):
            step = self._steps[self._position]
            if isinstance(step, Sending):
                _send(guest, step)
            elif not self._appeared(step, guest):
                break
            self._position += 1
        return self.finished

    def _appeared(self, text: str, guest: Talker) -> bool:
        wanted = text.encode("utf-8", "surrogateescape")
        for number, stream in enumerate((*guest.serial, guest.debug)):
            start = max(self._seen.get(number, 0), self._searched.get(number, 0) - len(wanted) + 1)
            found = stream.find(wanted, start)
            if found >= 0:
                self._seen[number] = found + len(wanted)
                self._searched.clear()
                return True
            self._searched[number] = stream.end
        return self._appeared_on_screen(text, guest)

    def _appeared_on_screen(self, text: str, guest: Talker) -> bool:
        times = sum(line.count(text) for line in guest.screen_text()) if text else 1
        before = min(self._on_screen.get(text, 0), times)
        self._on_screen[text] = times
        if text and times <= before:
            return False
        self._searched.clear()
        return True


def _send(guest: Talker, sending: Sending) -> None:
    if sending.port is None:
        guest.send_keys(sending.text)
    else:
        guest.send_serial(sending.text.encode("utf-8", "surrogateescape"), sending.port)
