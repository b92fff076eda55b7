"""The VNC server: two clients nobody here wrote see the guest's screen; no client can do harm."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from devices.keyboard import MOST_TYPED
from tests.oracles import require_tool
from tests.vmm.vnc_rig import HANDSHAKE, Rig, pixels_of, run_client, vncdo
from vmm.cli.wires import parse_display
from vmm.display import vnc
from vmm.display.rfb import BAND_PIXELS, Connection, Pixels
from vmm.display.screenshot import draw
from vmm.errors import ConfigError, UsageError


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


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


def show_thirteen(rig: Rig) -> None:
    rig.vga.set_mode(0x13)
    for offset in range(0, 64000, 3):
        rig.vga.write(offset, 1, offset & 0xFF)


def show_noise(rig: Rig) -> None:
    rig.show_noise(1024, 768)
    assert 3 * BAND_PIXELS == 1024 * 768


@pytest.mark.oracle
@pytest.mark.parametrize("show", [lambda rig: None, show_thirteen, show_noise], ids=["text", "13h", "noise"])
def test_gtk_vnc_sees_the_same_through_zrle(rig: Rig, tmp_path: Path, show: Callable[[Rig], None]) -> None:
    tool = require_tool("gvnccapture")
    show(rig)
    picture, port = tmp_path / "seen.png", rig.server.address[1]

    run_client(rig, tool, f"127.0.0.1:{port - 5900}", picture)

    assert np.array_equal(pixels_of(picture), draw(rig.vga))


@pytest.mark.oracle
def test_vncdotool_sees_every_dot_of_an_update_of_many_bands(rig: Rig, tmp_path: Path) -> None:
    show_noise(rig)
    picture = tmp_path / "seen.png"

    vncdo(rig, "capture", picture)

    assert np.array_equal(pixels_of(picture), draw(rig.vga))


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


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_named_and_another_advised(rig: Rig, host: str) -> None:
    first = rig.serve(host, 0, [])
    try:
        port = first.address[1]
        advised = port + 1 if port < 65535 else port - 1
        with pytest.raises(ConfigError) as error:
            rig.serve(host, port, [])
    finally:
        first.close()
    assert str(error.value) == (
        f"--display vnc:{host}:{port}: Address already in use; "
        f"name another port, such as vnc:{host}:{advised}"
    )


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("..", "no host name"),
        ("a" * 64, "no host name"),
        ("192.0.2.1", "Cannot assign requested address; name an address of this host, such as 127.0.0.1"),
        ("fe80::1%nosuch", "Name or service not known; name an address of this host, such as 127.0.0.1"),
    ],
)
def test_a_host_that_cannot_be_listened_on_is_named(rig: Rig, host: str, advice: str) -> None:
    with pytest.raises(ConfigError) as error:
        rig.serve(host, 5999, [])
    assert advice in str(error.value)


@pytest.mark.parametrize(
    ("port", "number", "advice"),
    [
        (80, errno.EACCES, "vnc:127.0.0.1:80: Permission denied; name a port of 1024 or more"),
        (65535, errno.EADDRINUSE, "Address already in use; name another port, such as vnc:127.0.0.1:65534"),
    ],
)
def test_a_port_that_the_host_refuses_is_explained(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, port: int, number: int, advice: str
) -> None:
    def refuse(_: socket.socket, address: tuple[str, int]) -> None:
        assert address == ("127.0.0.1", port)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", refuse)  # who may have which port is the host's to say
    with pytest.raises(ConfigError) as error:
        rig.serve("127.0.0.1", port, [])
    assert str(error.value).endswith(advice)


def test_an_address_that_others_reach_is_warned_about(rig: Rig) -> None:
    rig.told.clear()
    server = rig.serve("0.0.0.0", 0, [])
    server.close()
    port = server.address[1]
    assert rig.told == [
        f"VNC at 0.0.0.0:{port} (vncviewer 0.0.0.0::{port})",
        "anyone who reaches this address can see and use the machine: there is no password",
    ]


def test_the_highest_port_is_65535() -> None:
    assert parse_display("vnc:65535").port == 65535
    with pytest.raises(UsageError, match=r"vnc:65536': expected .*vnc:PORT"):
        parse_display("vnc:65536")


def test_a_display_number_of_any_length_is_refused() -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_display("vnc:" + "1" * 5000)
