"""The VNC server: two clients nobody here wrote see the guest's screen; no client can do harm."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.keyboard import MOST_TYPED, Keyboard
from devices.mouse import Mouse
from devices.vga.adapter import Vga
from tests.oracles import MissingError, require_tool
from vmm.cli.wires import parse_display
from vmm.clock import MachineClock, ManualTime, host_ns
from vmm.display import vnc
from vmm.display.keysyms import keys_of
from vmm.display.png import encode_png
from vmm.display.rfb import BAND_PIXELS, Connection, Events, PixelFormat, Pixels, ProtocolError
from vmm.display.screenshot import draw
from vmm.errors import ConfigError, UsageError

HANDSHAKE = b"RFB 003.008\n\x01\x01"
TEXT = 0x1_8000
LITTLE_32 = PixelFormat(32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class Rig:
    """A server on a free port of this host, with a VGA in mode 3."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.time = ManualTime()
        clock = MachineClock(self.time)
        self.vga = Vga(clock)
        self.vga.set_text_mode_3()
        for cell, letter in enumerate(b"Hello, VNC"):
            self.vga.write(TEXT + cell * 2, 2, letter | (0x10 + cell) << 8)
        self.keyboard, self.mouse = Keyboard(clock), Mouse(clock)
        self.wait_fds: list[int] = []
        self.server = vnc.VncServer(
            "127.0.0.1", 0, self.vga, (self.keyboard, self.mouse), self.wait_fds, lambda: self.now_ns
        )
        self.sockets: list[socket.socket] = []

    def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.server.address, timeout=5)
        self.sockets.append(client)
        client.sendall(data)
        self.pump()
        return client

    def pump(self, times: int = 4) -> None:
        for _ in range(times):
            self.now_ns += vnc.FRAME_NS
            self.server.pump()

    def pump_until(self, done: Callable[[], bool]) -> None:
        give_up = host_ns() + 60_000_000_000
        while not done():
            assert host_ns() < give_up
            self.now_ns = host_ns()
            self.server.pump()

    @property
    def clients(self) -> int:
        return len(self.wait_fds) - 1

    def close(self) -> None:
        self.server.close()
        for client in self.sockets:
            client.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


def run_client(rig: Rig, *command: str | Path) -> None:
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as client:
        try:
            rig.pump_until(lambda: client.poll() is not None)
        finally:
            client.kill()
        assert client.stdout is not None
        assert client.returncode == 0, client.stdout.read()


def vncdo(rig: Rig, *actions: str | Path) -> None:
    tool = Path(sys.executable).parent / "vncdo"
    if not tool.is_file():
        raise MissingError("vncdo is missing (pip install vncdotool)")
    run_client(rig, tool, "-s", f"127.0.0.1::{rig.server.address[1]}", *actions)


def pixels_of(path: Path) -> Pixels:
    from PIL import Image

    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.oracle
def test_vncdotool_sees_the_screen_and_types(rig: Rig, tmp_path: Path) -> None:
    picture = tmp_path / "seen.png"

    vncdo(rig, "type", "aB", "key", "ctrl-c", "capture", picture)

    assert np.array_equal(pixels_of(picture), draw(rig.vga))
    typed = [key for key, down in rig.keyboard.save().typed if down]
    assert typed == ["a", "left_shift", "b", "left_ctrl", "c"]


@pytest.mark.oracle
def test_vncdotool_moves_the_mouse(rig: Rig) -> None:
    for command in (0xF4,):
        rig.mouse.command(command)

    vncdo(rig, "move", "100", "100", "pause", "0.2", "move", "130", "90", "pause", "0.2", "mousedown", "1")

    saved = rig.mouse.save()
    assert saved.moved == (30, 10, 0)
    assert saved.buttons == 0  # let go of when the client went


@pytest.mark.oracle
@pytest.mark.parametrize("mode", [3, 0x13])
def test_gtk_vnc_sees_the_same_through_zrle(rig: Rig, tmp_path: Path, mode: int) -> None:
    tool = require_tool("gvnccapture")
    if mode != 3:
        rig.vga.set_mode(mode)
        for offset in range(0, 64000, 3):
            rig.vga.write(offset, 1, offset & 0xFF)
    picture, port = tmp_path / "seen.png", rig.server.address[1]

    run_client(rig, tool, f"127.0.0.1:{port - 5900}", picture)

    assert np.array_equal(pixels_of(picture), draw(rig.vga))


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


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"RFB 003.008\n\x02",
        HANDSHAKE + b"\xff",
        HANDSHAKE + b"\x02\0\xff\xff",
        HANDSHAKE + b"\x06\0\0\0\xff\xff\xff\xff",
        HANDSHAKE + b"\0\0\0\0" + bytes(16),
    ],
)
def test_who_breaks_the_protocol_is_hung_up_on(rig: Rig, data: bytes) -> None:
    client = rig.connect(data)
    rig.pump()
    assert rig.clients == 0
    while client.recv(4096):
        pass


def test_a_clipboard_is_passed_over() -> None:
    client = Client(0)
    client.connection.receive(b"\x06\0\0\0" + struct.pack(">I", 5) + b"hello\x04\x01\0\0\0\0\0a")
    assert client.keys == [(ord("a"), True)]


def test_who_does_not_finish_the_handshake_is_hung_up_on(rig: Rig) -> None:
    rig.connect(b"RFB")
    assert rig.clients == 1
    rig.now_ns += vnc.PATIENCE_NS
    rig.pump()
    assert rig.clients == 0


def test_who_does_not_read_costs_one_frame_and_is_hung_up_on(rig: Rig) -> None:
    rig.vga.set_mode(0x12)
    client = rig.connect(HANDSHAKE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(50):
        client.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, 640, 480))
        rig.pump(1)
    waiting = max(len(one.connection.output) for one in rig.server._clients)
    assert waiting <= 640 * 480 * 4 + 1024
    if waiting:
        rig.now_ns += vnc.PATIENCE_NS
        rig.pump()
        assert rig.clients == 0


def test_only_so_many_clients_are_taken(rig: Rig) -> None:
    for _ in range(vnc.MOST_CLIENTS + 3):
        rig.connect()
    rig.pump()
    assert rig.clients == vnc.MOST_CLIENTS


def test_keys_still_down_are_let_go_of_when_a_client_goes(rig: Rig) -> None:
    client = rig.connect(HANDSHAKE + struct.pack(">BBHI", 4, 1, 0, 0xFFE3))
    client.close()
    rig.pump()
    assert rig.keyboard.save().typed == (("left_ctrl", True), ("left_ctrl", False))


def test_keys_a_guest_never_reads_do_not_pile_up(rig: Rig) -> None:
    for _ in range(MOST_TYPED // 2 - 1):
        rig.keyboard.type_keys(("b",))
    stroke = struct.pack(">BBHI", 4, 1, 0, ord("a")) + struct.pack(">BBHI", 4, 0, 0, ord("a"))
    client = rig.connect(HANDSHAKE + stroke * 200)
    rig.pump()
    client.close()
    rig.pump()
    typed = rig.keyboard.save().typed
    assert len(typed) == MOST_TYPED
    assert typed[-2:] == (("a", True), ("a", False))


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


def test_a_slow_frame_makes_the_other_clients_wait_their_turn(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Connection] = []

    def slow(connection: Connection, _: Pixels) -> bool:
        served.append(connection)
        rig.now_ns += vnc.BUDGET_NS
        return True

    monkeypatch.setattr(Connection, "show", slow)
    for _ in range(2):
        rig.connect(HANDSHAKE + struct.pack(">BBHHHH", 3, 0, 0, 0, 8, 8))
    served.clear()
    for count in (1, 2):
        rig.now_ns += vnc.FRAME_NS * 10
        for _ in range(2):
            rig.server.pump()
        assert len(served) == count
    assert served[0] is not served[1]


def test_connections_are_kept_alive(rig: Rig) -> None:
    rig.connect()
    assert rig.server._clients[0].handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_port_in_use_is_named(rig: Rig) -> None:
    port = rig.server.address[1]
    with pytest.raises(ConfigError, match=f"vnc:127.0.0.1:{port}: Address already in use; .*vnc:127.0.0.1:"):
        vnc.VncServer("127.0.0.1", port, rig.vga, (rig.keyboard, rig.mouse), [], host_ns)


@pytest.mark.parametrize(
    ("host", "advice"),
    [("..", "no host name"), ("a" * 64, "no host name"), ("192.0.2.1", "name an address of this host")],
)
def test_a_host_that_cannot_be_listened_on_is_named(rig: Rig, host: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        vnc.VncServer(host, 5999, rig.vga, (rig.keyboard, rig.mouse), [], host_ns)


def test_a_display_number_of_any_length_is_refused() -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_display("vnc:" + "1" * 5000)


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
    from vmm.display.zrle import encode_tiles

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


def test_png_file_follows_the_screen(rig: Rig, tmp_path: Path) -> None:
    from vmm.display.png_file import INTERVAL_NS, PngFile

    path = tmp_path / "screen.png"
    file = PngFile(rig.vga, path, lambda: rig.now_ns)
    file.refresh()
    assert path.read_bytes() == encode_png(draw(rig.vga))
    rig.vga.write(TEXT, 2, 0x0758)
    file.refresh()
    assert path.read_bytes() != encode_png(draw(rig.vga))
    rig.now_ns += INTERVAL_NS
    file.refresh()
    assert path.read_bytes() == encode_png(draw(rig.vga))
    assert [entry.name for entry in tmp_path.iterdir()] == ["screen.png"]
