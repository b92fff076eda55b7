"""The remote framebuffer protocol, a client's side of a connection as bytes in and bytes out.

Raw and ZRLE encodings, the DesktopSize pseudo-encoding, true-colour pixels of 8, 16 or 32 bits. NOT
modelled: colour maps (a client that asks for one is refused), passwords, the clipboard (what is sent is
passed over).

Sources:
    [RFC6143] The Remote Framebuffer Protocol, T. Richardson, J. Levine, 2011.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Generator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vmm.display.zrle import encode_tiles

Pixels = NDArray[np.uint8]
Parser = Generator[int, bytes, None]  # yields how many bytes it needs, and is sent them

VERSION: Final = b"RFB 003.008\n"
VERSION_BYTES: Final = 12
SECURITY_NONE: Final = 1
# Messages of the client, [RFC6143] §7.5
SET_PIXEL_FORMAT: Final = 0
SET_ENCODINGS: Final = 2
UPDATE_REQUEST: Final = 3
KEY_EVENT: Final = 4
POINTER_EVENT: Final = 5
CUT_TEXT: Final = 6
RAW: Final = 0
ZRLE: Final = 16
DESKTOP_SIZE: Final = -223
BAND_PIXELS: Final = 1 << 18  # encoded at a time, one rectangle
MOST_ENCODINGS: Final = 256
MOST_CUT_TEXT: Final = 1 << 20
_FORMAT: Final = struct.Struct(">BBBBHHHBBB3x")


class ProtocolError(Exception):
    """The client does not keep to the protocol: the connection is closed."""


class PixelFormat(NamedTuple):
    """[RFC6143] §7.4."""

    bits: int
    depth: int
    big_endian: int
    true_colour: int
    red_max: int
    green_max: int
    blue_max: int
    red_shift: int
    green_shift: int
    blue_shift: int

    def check(self) -> PixelFormat:
        """Raise ProtocolError unless pixels can be made so."""
        if self.bits not in (8, 16, 32) or not self.true_colour:
            raise ProtocolError("only true colour of 8, 16 or 32 bits")
        if max(self.red_shift, self.green_shift, self.blue_shift) >= self.bits:
            raise ProtocolError("a colour shifted out of the pixel")
        return self

    def encode(self, picture: Pixels) -> Pixels:
        """Return the bytes of each pixel, height x width x bytes."""
        value = np.zeros(picture.shape[:2], dtype=np.uint32)
        for channel, (most, shift) in enumerate(
            (
                (self.red_max, self.red_shift),
                (self.green_max, self.green_shift),
                (self.blue_max, self.blue_shift),
            )
        ):
            value |= (picture[..., channel].astype(np.uint32) * most + 127) // 255 << np.uint32(shift)
        kind = f"{'>' if self.big_endian else '<'}u{self.bits // 8}"
        return value.astype(kind).view(np.uint8).reshape(*picture.shape[:2], self.bits // 8)

    def compact(self) -> slice:
        """Return which bytes of a pixel ZRLE sends, [RFC6143] §7.7.5: three where they hold all colours."""
        colours = self.red_max << self.red_shift | self.green_max << self.green_shift
        colours |= self.blue_max << self.blue_shift
        if self.bits == 32 and self.depth <= 24:
            if colours < 1 << 24:
                return slice(1, 4) if self.big_endian else slice(0, 3)
            if not colours & 0xFF:
                return slice(0, 3) if self.big_endian else slice(1, 4)
        return slice(0, self.bits // 8)


OUR_FORMAT: Final = PixelFormat(32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class Events(NamedTuple):
    """What a client does."""

    on_key: Callable[[int, bool], None]  # keysym, down
    on_pointer: Callable[[int, int, int], None]  # buttons, x, y


class Connection:
    """One client. `receive` takes its bytes; `take_output` gives what to send."""

    def __init__(self, name: str, size: tuple[int, int], events: Events) -> None:
        self._name, self._events = name, events
        self._input = bytearray()
        self.output = bytearray(VERSION)
        self._skip = 0
        self.ready = False  # the handshake is over
        self.used = False  # and the client has sent something since
        self._format = OUR_FORMAT
        self._encodings: frozenset[int] = frozenset({RAW})
        self._stream = zlib.compressobj(3)
        self.size = size  # width, height that the client knows
        self._shown: Pixels | None = None
        self._asked = False
        self._bands: deque[tuple[int, int, Pixels]] = deque()  # of the update under way, not yet sent
        self._band_format = OUR_FORMAT
        self._parser = self._messages()
        self._needed = next(self._parser)

    def receive(self, data: bytes) -> None:
        """Take bytes; ProtocolError if they are wrong."""
        self._input += data
        while True:
            if self._skip:
                skipped = min(self._skip, len(self._input))
                del self._input[:skipped]
                self._skip -= skipped
            if self._skip or len(self._input) < self._needed:
                return
            piece = bytes(self._input[: self._needed])
            del self._input[: self._needed]
            self._needed = self._parser.send(piece)

    def _messages(self) -> Parser:
        yield from self._handshake()
        while True:
            kind = (yield 1)[0]
            self.used = True
            if kind == SET_PIXEL_FORMAT:
                self._format = PixelFormat(*_FORMAT.unpack((yield 19)[3:])).check()
                self._shown = None
            elif kind == SET_ENCODINGS:
                count = int.from_bytes((yield 3)[1:], "big")
                if count > MOST_ENCODINGS:
                    raise ProtocolError(f"{count} encodings")
                self._encodings = frozenset(struct.unpack(f">{count}i", (yield 4 * count)) if count else ())
            elif kind == UPDATE_REQUEST:
                incremental = (yield 9)[0]
                self._asked = True
                if not incremental:
                    self._shown = None
            elif kind == KEY_EVENT:
                down, keysym = struct.unpack(">B2xI", (yield 7))
                self._events.on_key(keysym, bool(down))
            elif kind == POINTER_EVENT:
                self._events.on_pointer(*struct.unpack(">BHH", (yield 5)))
            elif kind == CUT_TEXT:
                length = int.from_bytes((yield 7)[3:], "big")
                if length > MOST_CUT_TEXT:
                    raise ProtocolError(f"{length} bytes of clipboard")
                self._skip = length
            else:
                raise ProtocolError(f"message {kind}")

    def _handshake(self) -> Parser:
        """[RFC6143] §7.1 to §7.3; a client of version 3.3 is told the security type instead of asked."""
        version = yield VERSION_BYTES
        if not version.startswith(b"RFB 003.") or not version[8:11].isdigit():
            raise ProtocolError("no version")
        minor = int(version[8:11])
        if minor < 7:
            self.output += struct.pack(">I", SECURITY_NONE)
        else:
            self.output += bytes((1, SECURITY_NONE))
            if (yield 1)[0] != SECURITY_NONE:
                raise ProtocolError("another security type")
            if minor >= 8:
                self.output += bytes(4)  # SecurityResult: OK
        yield 1  # ClientInit: whether to share, which all do
        name = self._name.encode()
        self.output += struct.pack(">HH", *self.size) + _FORMAT.pack(*OUR_FORMAT)
        self.output += struct.pack(">I", len(name)) + name
        self.ready = True

    @property
    def wants_frame(self) -> bool:
        """Whether a frame may be sent: one was asked for, and the ones before were taken."""
        return self.ready and self._asked and not self.output and not self._bands

    def show(self, picture: Pixels) -> bool:
        """Send what changed of the screen, if anything; return whether."""
        height, width, _ = picture.shape
        if self.size != (width, height):
            if DESKTOP_SIZE not in self._encodings:
                picture = _fitted(picture, *self.size)  # [RFC6143] §7.8.2: its screen keeps its size
            else:
                self.size = (width, height)
                self.output += struct.pack(">BxHHHHHi", 0, 1, 0, 0, width, height, DESKTOP_SIZE)
                self._asked, self._shown = False, None
                return True
        box = _changed(self._shown, picture)
        if box is None:
            return False
        self._shown, self._asked = picture, False
        top, bottom, left, right = box
        rows = max(1, BAND_PIXELS // (right - left))
        self._bands.extend(
            (left, row, picture[row : min(row + rows, bottom), left:right])
            for row in range(top, bottom, rows)
        )
        self._band_format = self._format
        self.output += struct.pack(">BxH", 0, len(self._bands))
        self.go_on()
        return True

    @property
    def wants_band(self) -> bool:
        """Whether the update under way has another rectangle, and the ones before were taken."""
        return bool(self._bands) and not self.output

    def go_on(self) -> None:
        """Send the next rectangle of the update under way."""
        self._send_rectangle(*self._bands.popleft())

    def _send_rectangle(self, x: int, y: int, picture: Pixels) -> None:
        height, width, _ = picture.shape
        pixels = self._band_format.encode(picture)
        kind = ZRLE if ZRLE in self._encodings else RAW
        self.output += struct.pack(">HHHHi", x, y, width, height, kind)
        if kind == RAW:
            self.output += pixels.tobytes()
            return
        tiles = encode_tiles(np.ascontiguousarray(pixels[..., self._band_format.compact()]))
        data = self._stream.compress(tiles) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        self.output += struct.pack(">I", len(data)) + data


def _fitted(picture: Pixels, width: int, height: int) -> Pixels:
    """Return the picture cut or filled to a size."""
    fitted = np.zeros((height, width, 3), dtype=np.uint8)
    part = picture[:height, :width]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted


def _changed(old: Pixels | None, new: Pixels) -> tuple[int, int, int, int] | None:
    """Return top, bottom, left and right of what differs; None if nothing does."""
    if old is None:
        return 0, new.shape[0], 0, new.shape[1]
    height, width, channels = new.shape
    differs = (old != new).reshape(height, width * channels)
    rows = np.flatnonzero(differs.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(differs.any(axis=0)) // channels
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
