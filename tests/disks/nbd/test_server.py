"""The server: many clients on one image, none of whom can hold up the others or the end."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest

from disks.nbd import protocol as nbd
from disks.nbd import server as module
from disks.nbd.export import Export
from tests.disks.nbd.dialogue import BOTH_FLAGS, NOISE, go, option, read, request, write
from tests.disks.nbd.served import GIVE_UP_S, Served, served
from tests.disks.scribbles import contents_of

MakeVhd = Callable[..., Path]
SIZE = 4 << 20


def receive(client: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        data = client.recv(length - len(found))
        assert data, "the server hung up"
        found += data
    return found


def hung_up(client: socket.socket) -> bool:
    """Wait for the server to end the connection, whatever it says before."""
    while client.recv(4096):
        pass
    return True


def begun(server: Served) -> socket.socket:
    """Return a client past an old client's negotiation."""
    client = server.connect()
    client.sendall(BOTH_FLAGS + option(nbd.OPT_EXPORT_NAME))
    receive(client, nbd.GREETING.size + nbd.EXPORT_REPLY.size)
    return client


def ask(client: socket.socket, message: bytes, length: int = 0) -> tuple[int, bytes]:
    client.sendall(message)
    _, error, _ = nbd.SIMPLE_REPLY.unpack(receive(client, nbd.SIMPLE_REPLY.size))
    return error, receive(client, length)


def test_clients_at_once_and_one_after_the_other_see_one_disk(make_vhd: MakeVhd) -> None:
    path = make_vhd(SIZE)
    with served(path) as server:
        with begun(server) as first, begun(server) as second:
            assert ask(first, write(512, NOISE))[0] == 0
            assert ask(second, read(512, len(NOISE)), len(NOISE)) == (0, NOISE)
        with begun(server) as third:
            assert ask(third, read(512, len(NOISE)), len(NOISE)) == (0, NOISE)
    assert contents_of(path)[512 : 512 + len(NOISE)] == NOISE


def test_a_client_in_the_middle_of_a_request_holds_up_nobody(make_vhd: MakeVhd) -> None:
    with served(make_vhd(SIZE)) as server, begun(server) as stuck, begun(server) as other:
        stuck.sendall(write(0, bytes(1 << 20))[:1000])
        assert ask(other, read(0, 512), 512) == (0, bytes(512))


def test_a_client_that_takes_no_answers_holds_up_nobody(
    make_vhd: MakeVhd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_NS", 100_000_000)
    with served(make_vhd(SIZE)) as server, begun(server) as deaf, begun(server) as other:
        deaf.sendall(read(0, SIZE))
        assert ask(other, read(0, 512), 512) == (0, bytes(512))


def test_a_negotiation_that_does_not_end_is_ended(make_vhd: MakeVhd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_NS", 1)
    with served(make_vhd(SIZE)) as server, server.connect() as slow:
        assert hung_up(slow)


def test_more_clients_than_there_is_room_for_are_turned_away(make_vhd: MakeVhd) -> None:
    with served(make_vhd(SIZE)) as server:
        clients = [begun(server) for _ in range(module.MOST_CLIENTS)]
        with server.connect() as one_more:
            assert one_more.recv(1) == b""
        assert all(ask(client, request(nbd.CMD_FLUSH)) == (0, b"") for client in clients)
        for client in clients:
            client.close()


class Scarce(socket.socket):
    """A listener on a host without a descriptor for another client, while `is_short`."""

    is_short = True
    asked = threading.Semaphore(0)

    def accept(self) -> tuple[socket.socket, object]:
        if self.is_short:
            self.asked.release()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_a_client_that_no_descriptor_is_left_for_waits_and_keeps_nobody_busy(
    make_vhd: MakeVhd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 2 * GIVE_UP_S)
    monkeypatch.setattr(Scarce, "asked", threading.Semaphore(0))
    monkeypatch.setattr(Scarce, "is_short", True)
    with served(make_vhd(SIZE), kind=Scarce) as server, server.connect() as client:
        assert Scarce.asked.acquire(timeout=GIVE_UP_S)
        assert not Scarce.asked.acquire(timeout=0.3)  # asked once, although the client still waits
        monkeypatch.setattr(Scarce, "is_short", False)
        os.write(server.server.wake_fd, b"\0")
        client.sendall(BOTH_FLAGS + option(nbd.OPT_EXPORT_NAME))
        receive(client, nbd.GREETING.size + nbd.EXPORT_REPLY.size)
        with begun(server) as other:  # the listener is watched again
            assert ask(other, read(0, 512), 512) == (0, bytes(512))


def test_once_ends_when_the_last_client_has_gone(make_vhd: MakeVhd) -> None:
    with served(make_vhd(SIZE), once=True) as server:
        with begun(server), begun(server) as last:
            last.sendall(request(nbd.CMD_DISC))
            assert last.recv(1) == b""
        waiting = threading.Event()
        for _ in range(GIVE_UP_S * 20):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
                if knock.connect_ex(server.path):
                    return
            waiting.wait(0.05)
        pytest.fail("the server went on")


def test_a_client_that_breaks_the_rules_is_dropped_and_reported(make_vhd: MakeVhd) -> None:
    with served(make_vhd(SIZE)) as server:
        with begun(server) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a disk\r\n\r\n")
            assert client.recv(1) == b""
        with begun(server) as client:
            assert ask(client, request(nbd.CMD_FLUSH)) == (0, b"")
    assert server.reports == ["a client was dropped: no request where one should be: 0x47455420"]


def test_the_end_lets_a_write_under_way_finish(make_vhd: MakeVhd) -> None:
    path = make_vhd(SIZE)
    entered, go_on = threading.Event(), threading.Event()
    plain_write = Export.write

    def slow(export: Export, offset: int, data: bytes) -> None:
        entered.set()
        assert go_on.wait(GIVE_UP_S)
        plain_write(export, offset, data)

    with patch.object(Export, "write", slow), served(path) as server, begun(server) as client:
        client.sendall(write(0, NOISE))
        assert entered.wait(GIVE_UP_S)
        server.server.stop()
        go_on.set()
        assert nbd.SIMPLE_REPLY.unpack(receive(client, nbd.SIMPLE_REPLY.size))[1] == 0
        assert client.recv(1) == b""
    assert contents_of(path)[: len(NOISE)] == NOISE


def test_a_bug_of_ours_ends_the_server_and_is_raised(make_vhd: MakeVhd) -> None:
    raised: list[BaseException] = []

    def keep(arguments: threading.ExceptHookArgs) -> None:
        assert arguments.exc_value is not None
        raised.append(arguments.exc_value)

    with (
        patch.object(threading, "excepthook", keep),
        patch.object(Export, "flush", side_effect=ZeroDivisionError),
        served(make_vhd(SIZE)) as server,
        begun(server) as client,
    ):
        client.sendall(request(nbd.CMD_FLUSH))
        assert client.recv(1) == b""
    assert [type(bug) for bug in raised] == [ZeroDivisionError]


def test_go_and_then_silence_is_no_reason_to_be_dropped(
    make_vhd: MakeVhd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(make_vhd(SIZE)) as server, server.connect() as client:
        client.sendall(BOTH_FLAGS + go())
        receive(client, nbd.GREETING.size + 2 * nbd.OPTION_REPLY.size + nbd.INFO_EXPORT_REPLY.size)
        assert ask(client, request(nbd.CMD_FLUSH)) == (0, b"")
        monkeypatch.setattr(module, "PATIENCE_NS", 1)
        with server.connect() as slow:  # whose drop shows that the server has looked
            assert hung_up(slow)
        monkeypatch.undo()
        assert ask(client, request(nbd.CMD_FLUSH)) == (0, b"")


def test_a_byte_for_the_wake_fd_makes_the_server_look_whether_to_stop(make_vhd: MakeVhd) -> None:
    with served(make_vhd(SIZE)) as server, begun(server) as client:
        assert ask(client, request(nbd.CMD_FLUSH)) == (0, b"")
        server.server._export.stopping = True
        os.write(server.server.wake_fd, b"\0")  # as the interpreter does when a signal comes
        assert client.recv(1) == b""
