"""Who gets a place at the VNC server, and who has to give it up."""

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.vmm.vnc_rig import HANDSHAKE, Rig, update_request
from vmm.display import vnc

VERSION = b"RFB 003.008\n"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open nothing more: the host answers EMFILE."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def received(client: socket.socket) -> bytes:
    """Return what has come so far."""
    data = b""
    while select.select([client], [], [], 0.05)[0] and (piece := client.recv(1 << 20)):
        data += piece
    return data


def is_hung_up_on(rig: Rig, client: socket.socket) -> bool:
    """Whether the server has closed its end, once what it sent is read."""
    rig.pump()
    client.settimeout(0.2)
    try:
        while client.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:  # something we sent was never read
        return True
    return True


def test_without_files_for_more_clients_the_machine_sleeps_and_those_in_are_served(rig: Rig) -> None:
    inside = rig.connect(HANDSHAKE + update_request())
    assert received(inside)
    rig.told.clear()
    waiting = socket.create_connection(rig.server.address, timeout=5)
    rig.sockets.append(waiting)
    with no_more_files():
        for _ in range(3):
            rig.server.pump()
            assert not select.select(rig.wait_fds, [], [], 0)[0]  # nothing wakes a sleeping machine
            rig.now_ns += vnc.RETRY_NS
        inside.sendall(update_request())
        rig.pump()
        assert received(inside)
    assert rig.told == ["VNC: a client cannot be let in yet: Too many open files; trying again every second"]
    rig.now_ns += vnc.RETRY_NS
    rig.pump()
    assert received(waiting) == VERSION
    assert rig.clients == 2


@pytest.mark.parametrize("sent", [b"", VERSION, HANDSHAKE], ids=["nothing", "version", "handshake"])
def test_when_all_places_are_taken_the_oldest_unused_one_is_given_away(rig: Rig, sent: bytes) -> None:
    user = rig.connect(HANDSHAKE + update_request())
    idle = [rig.connect(sent) for _ in range(vnc.MOST_CLIENTS - 1)]
    rig.now_ns += vnc.SETTLING_NS
    newcomer = rig.connect(HANDSHAKE + update_request())
    assert len(received(newcomer)) > len(VERSION) + 24
    assert is_hung_up_on(rig, idle[0])
    assert not any(is_hung_up_on(rig, client) for client in (user, newcomer, *idle[1:]))


def test_a_place_in_use_is_kept(rig: Rig) -> None:
    users = [rig.connect(HANDSHAKE + update_request()) for _ in range(vnc.MOST_CLIENTS)]
    rig.now_ns += vnc.SETTLING_NS
    newcomer = rig.connect(HANDSHAKE + update_request())
    assert is_hung_up_on(rig, newcomer)
    assert not any(is_hung_up_on(rig, client) for client in users)


def test_a_place_just_taken_is_kept(rig: Rig) -> None:
    for _ in range(vnc.MOST_CLIENTS + 1):
        rig.sockets.append(socket.create_connection(rig.server.address, timeout=5))
        rig.server.pump()
    assert rig.clients == vnc.MOST_CLIENTS
    assert is_hung_up_on(rig, rig.sockets[-1])
    assert not any(is_hung_up_on(rig, client) for client in rig.sockets[:-1])


@pytest.mark.parametrize("sent", [b"", b"RFB", VERSION])
def test_who_does_not_finish_the_handshake_is_hung_up_on(rig: Rig, sent: bytes) -> None:
    rig.connect()
    rig.now_ns += vnc.PATIENCE_NS // 2
    rig.sockets[0].sendall(sent)
    rig.pump()
    assert rig.clients == 1
    rig.now_ns += vnc.PATIENCE_NS // 2
    rig.pump()
    assert rig.clients == 0


def test_a_peer_gone_without_a_word_is_noticed_by_the_host(rig: Rig) -> None:
    rig.connect()
    handle = rig.server._clients[0].handle
    assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert [handle.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name, _ in vnc.KEEPALIVE] == [
        30,
        10,
        60_000,
    ]
