"""The remote framebuffer protocol and its tiles, without a network."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmm.vnc_rig import HANDSHAKE
from vmm.display.keysyms import keys_of
from vmm.display.rfb import BAND_PIXELS, Connection, Events, PixelFormat, Pixels, ProtocolError
from vmm.display.zrle import encode_tiles

LITTLE_32 = PixelFormat(32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class Client:
    """The other end of a `Connection`, as bytes."""

    def __init__(self, *encodings: int, form: PixelFormat | None = None) -> None:
        self.keys: list[tuple[int, bool]] = []
        self.moves: list[tuple[int, int, int]] = []
        events = Events(lambda *key: self.keys.append(key), lambda *move: self.moves.append(move))
        self.connection = Connection("test", (70, 66), events)
        self.connection.receive(HANDSHAKE)
        self.connection.output.clear()
        if form is not None:
            self.connection.receive(b"\0\0\0\0" + struct.pack(">BBBBHHHBBB3x", *form))
        self.connection.receive(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    def ask(self, *, incremental: bool = False) -> None:
        self.connection.receive(struct.pack(">BBHHHH", 3, incremental, 0, 0, 70, 66))

    def frame(self, picture: Pixels) -> bytes:
        self.connection.show(picture)
        data = bytes(self.connection.output)
        self.connection.output.clear()
        return data


def test_an_update_waits_until_asked_for_and_until_something_changed() -> None:
    client = Client(0)
    picture = np.zeros((66, 70, 3), dtype=np.uint8)
    assert not client.connection.wants_frame
    client.ask()
    assert client.connection.wants_frame
    client.frame(picture)
    client.ask(incremental=True)
    assert client.frame(picture.copy()) == b""
    assert client.connection.wants_frame
    changed = picture.copy()
    changed[10:12, 20:25] = 255
    assert client.frame(changed)[4:12] == struct.pack(">HHHH", 20, 10, 5, 2)


@pytest.mark.parametrize(
    ("form", "pixel"),
    [
        (LITTLE_32, "000080ff"),
        (LITTLE_32._replace(big_endian=1), "00ff8000"),
        (PixelFormat(16, 16, 0, 1, 31, 63, 31, 11, 5, 0), "00fc"),
        (PixelFormat(8, 8, 0, 1, 7, 7, 3, 0, 3, 6), "27"),
    ],
)
def test_pixels_come_as_the_client_asks(form: PixelFormat, pixel: str) -> None:
    client = Client(0, form=form)
    client.ask()
    picture = np.zeros((66, 70, 3), dtype=np.uint8)
    picture[:] = (255, 128, 0)
    data = client.frame(picture)
    expected = bytes.fromhex(pixel) if form.bits != 32 or form.big_endian else bytes.fromhex("0080ff00")
    assert data[16 : 16 + form.bits // 8] == expected
    assert len(data) == 16 + 70 * 66 * form.bits // 8


def test_zrle_takes_less_than_raw_and_begins_with_a_solid_tile() -> None:
    client = Client(16)
    client.ask()
    data = client.frame(np.zeros((66, 70, 3), dtype=np.uint8))
    assert struct.unpack(">i", data[12:16]) == (16,)
    tiles = zlib.decompressobj().decompress(data[20:])
    assert tiles == b"\x01\0\0\0" * 4  # four tiles, compact pixels of three bytes


def test_a_new_size_is_told_to_who_knows_it_and_cut_for_others() -> None:
    larger = np.zeros((100, 90, 3), dtype=np.uint8)
    knows, other = Client(0, -223), Client(0)
    for client in (knows, other):
        client.ask()
    assert knows.frame(larger) == struct.pack(">BxHHHHHi", 0, 1, 0, 0, 90, 100, -223)
    assert len(other.frame(larger)) == 16 + 70 * 66 * 4


def test_a_clipboard_is_passed_over() -> None:
    client = Client(0)
    client.connection.receive(b"\x06\0\0\0" + struct.pack(">I", 5) + b"hello\x04\x01\0\0\0\0\0a")
    assert client.keys == [(ord("a"), True)]


def test_a_large_picture_goes_out_in_bands_of_one_update() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    connection = Connection("test", (1024, 1024), Events(lambda *_: None, lambda *_: None))
    connection.receive(HANDSHAKE + struct.pack(">BBHHHH", 3, 0, 0, 0, 1024, 1024))
    connection.output.clear()
    connection.show(picture)
    assert connection.output[:4] == b"\0\0\0\x04"
    rectangles, sent = [], bytes(connection.output[4:])
    while True:
        assert len(sent) == 12 + BAND_PIXELS * 4
        rectangles.append(np.frombuffer(sent[12:], np.uint8).reshape(-1, 1024, 4)[..., 2::-1])
        connection.output.clear()
        if not connection.wants_band:
            break
        connection.go_on()
        sent = bytes(connection.output)
    assert np.array_equal(np.concatenate(rectangles), picture)


@pytest.mark.parametrize(
    ("keysym", "keys"),
    [(0x61, ("a",)), (0x41, ("left_shift", "a")), (0xFFC9, ("f12",)), (0xFF8D, ("kp_enter",)), (0xE9, ())],
)
def test_keysyms_are_keys_of_a_us_keyboard(keysym: int, keys: tuple[str, ...]) -> None:
    assert keys_of(keysym) == keys


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_no_bytes_do_more_than_end_the_connection(pieces: list[bytes], after_handshake: bool) -> None:
    connection = Connection("test", (8, 8), Events(lambda *_: None, lambda *_: None))
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    try:
        if after_handshake:
            connection.receive(HANDSHAKE)
        for piece in pieces:
            connection.receive(piece)
            if connection.wants_frame:
                connection.show(picture)
            connection.output.clear()
    except ProtocolError:
        pass
    assert len(connection.output) < 4096


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.randoms(use_true_random=False))
def test_tiles_decode_to_the_picture(height: int, width: int, colours: int, random: object) -> None:
    generator = np.random.default_rng(random.randint(0, 1 << 30))  # type: ignore[attr-defined]
    palette = generator.integers(0, 256, (colours, 3), dtype=np.uint8)
    picture = palette[generator.integers(0, colours, (height, width))]
    assert np.array_equal(decoded(encode_tiles(picture), height, width), picture)


def decoded(data: bytes, height: int, width: int) -> Pixels:
    """Decode ZRLE tiles of 3-byte pixels, [RFC6143] §7.7.6."""
    picture, at = np.zeros((height, width, 3), dtype=np.uint8), 0
    for top in range(0, height, 64):
        for left in range(0, width, 64):
            part = picture[top : top + 64, left : left + 64]
            rows, columns, kind = part.shape[0], part.shape[1], data[at]
            at += 1
            if kind == 0:
                size = rows * columns * 3
                part[:] = np.frombuffer(data[at : at + size], np.uint8).reshape(rows, columns, 3)
                at += size
                continue
            palette = np.frombuffer(data[at : at + kind * 3], np.uint8).reshape(kind, 3)
            at += kind * 3
            if kind == 1:
                part[:] = palette[0]
                continue
            bits = 1 if kind == 2 else 2 if kind <= 4 else 4
            for row in range(rows):
                line = data[at : at + -(-columns * bits // 8)]
                at += len(line)
                digits = "".join(f"{byte:08b}" for byte in line)
                part[row] = palette[[int(digits[i * bits : (i + 1) * bits], 2) for i in range(columns)]]
    assert at == len(data)
    return picture
