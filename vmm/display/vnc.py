"""A VNC server in the machine's own loop: sockets that never wait, a few clients, bounded buffers.

There is no password: who reaches the port has the machine's keyboard. A client that does not finish its
handshake, or does not take what it asked for, is dropped after `PATIENCE_NS`; one that is gone without a
word when the host's TCP notices, within `DEAD_S`. Where all places are taken, who has never used his goes.

Sources:
    [TCP7] Linux manual page tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable
from typing import Final

from devices.keyboard import Keyboard
from devices.mouse import LEFT, MIDDLE, RIGHT, Mouse
from devices.vga.adapter import Vga
from vmm.display.keysyms import SHIFTS, keys_of
from vmm.display.rfb import Connection, Events, Pixels, ProtocolError
from vmm.display.screenshot import draw
from vmm.errors import ConfigError

MOST_CLIENTS: Final = 8
READ_BYTES: Final = 4096  # from one client at a time
FRAME_NS: Final = 1_000_000_000 // 20
BUDGET_NS: Final = 20_000_000  # past it, the clients left wait for the next turn
DRAWING_SHARE: Final = 4  # of the time, one part in so many may go into drawing
PATIENCE_NS: Final = 10_000_000_000
SETTLING_NS: Final = 1_000_000_000  # a client this new keeps its place though it has not used it yet
RETRY_NS: Final = 1_000_000_000  # after a connection that the host could not give us
DEAD_S: Final = 60
KEEPALIVE: Final = (
    ("TCP_KEEPIDLE", DEAD_S // 2),
    ("TCP_KEEPINTVL", DEAD_S // 6),
    ("TCP_USER_TIMEOUT", DEAD_S * 1000),
)
"""[TCP7], in seconds and milliseconds, as far as the host knows them."""
NAME: Final = "Trapline"
_BUTTONS: Final = ((1, LEFT), (2, MIDDLE), (4, RIGHT))
_WHEEL_UP: Final = 8
_WHEEL_DOWN: Final = 16


class VncServer:
    """Shows `vga` to clients; what they type and move goes to the keyboard and the mouse.

    `where` is host and port; `tell` gets what the user should know.
    """

    def __init__(
        self,
        where: tuple[str, int],
        vga: Vga,
        inputs: tuple[Keyboard, Mouse],
        wait_fds: list[int],
        now_ns: Callable[[], int],
        tell: Callable[[str], None],
    ) -> None:
        self._vga, self._wait_fds, self._now_ns, self._tell = vga, wait_fds, now_ns, tell
        self._inputs = inputs
        self._clients: list[_Client] = []
        self._next_ns = 0
        self._accept_ns = 0  # when connections are taken again
        self._failed = False  # whether taking one ever did
        self._size: tuple[int, int] | None = None  # of the last picture drawn
        self._listener = _listen(*where)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        wait_fds.append(self._listener.fileno())
        host, port = self.address
        tell(f"VNC at {host}:{port} (vncviewer {host}::{port})")
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            tell("anyone who reaches this address can see and use the machine: there is no password")

    def pump(self) -> None:
        """Take connections and bytes, send what is due. Never waits."""
        self._accept()
        for client in list(self._clients):
            if not client.pump(self._now_ns()):
                self._drop(client)
        now_ns = self._now_ns()
        wanting = [one for one in self._clients if one.connection.wants_frame or one.connection.wants_band]
        if not wanting or now_ns < self._next_ns:
            return
        picture: Pixels | None = None
        for client in wanting:
            if self._now_ns() - now_ns >= BUDGET_NS:
                break
            if client.connection.wants_band:
                client.connection.go_on()
            else:
                picture = draw(self._vga) if picture is None else picture
                self._size = _size_of(picture)
                if not client.connection.show(picture):
                    continue
            client.asked_ns = now_ns
            self._clients.remove(client)
            self._clients.append(client)  # the others come first next time
            if not client.pump(now_ns):
                self._drop(client)
        self._next_ns = now_ns + max(FRAME_NS, (self._now_ns() - now_ns) * DRAWING_SHARE)

    def close(self) -> None:
        """Close every connection. Idempotent."""
        for client in list(self._clients):
            self._drop(client)
        if self._listener.fileno() in self._wait_fds:
            self._wait_fds.remove(self._listener.fileno())
        self._listener.close()

    def _accept(self) -> None:
        if self._now_ns() < self._accept_ns:
            return
        if self._listener.fileno() not in self._wait_fds:
            self._wait_fds.append(self._listener.fileno())
        for _ in range(MOST_CLIENTS):
            try:
                handle, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._take_none(error)
                return
            if len(self._clients) >= MOST_CLIENTS and not self._make_room():
                handle.close()
                continue
            _set_up(handle)
            self._size = self._size or _size_of(draw(self._vga))
            self._clients.append(_Client(handle, self._size, self._inputs, self._now_ns()))
            self._wait_fds.append(handle.fileno())

    def _take_none(self, error: OSError) -> None:
        """Leave who waits waiting for a while: until then the listener must not wake the machine."""
        self._wait_fds.remove(self._listener.fileno())
        self._accept_ns = self._now_ns() + RETRY_NS
        if not self._failed:
            self._failed = True
            self._tell(f"VNC: a client cannot be let in yet: {error.strerror}; trying again every second")

    def _make_room(self) -> bool:
        """Hang up on the oldest client that has never used its place; False if there is none."""
        latest = self._now_ns() - SETTLING_NS
        unused = [one for one in self._clients if not one.connection.used and one.began_ns <= latest]
        if unused:
            self._drop(min(unused, key=lambda one: one.began_ns))
        return bool(unused)

    def _drop(self, client: _Client) -> None:
        self._clients.remove(client)
        self._wait_fds.remove(client.handle.fileno())
        client.close()


def _set_up(handle: socket.socket) -> None:
    """Have the socket never wait, send at once, and fail when the peer is gone."""
    handle.setblocking(False)
    with contextlib.suppress(OSError):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if (option := getattr(socket, name, None)) is not None:
                handle.setsockopt(socket.IPPROTO_TCP, option, value)


def _size_of(picture: Pixels) -> tuple[int, int]:
    """Return width and height."""
    return picture.shape[1], picture.shape[0]


class _Client:
    """One connection, with what it holds down."""

    def __init__(
        self, handle: socket.socket, size: tuple[int, int], inputs: tuple[Keyboard, Mouse], now_ns: int
    ) -> None:
        self.handle = handle
        self.began_ns = now_ns
        self.asked_ns = now_ns  # since when something is expected of the client, once it is ready
        self._keyboard, self._mouse = inputs
        self._down: dict[int, tuple[str, ...]] = {}  # keys by keysym
        self._pointer: tuple[int, int] | None = None
        self._buttons = 0
        self.connection = Connection(NAME, size, Events(self._key, self._move))

    def pump(self, now_ns: int) -> bool:
        """Receive and send what can be; False: the connection is over."""
        try:
            with contextlib.suppress(BlockingIOError):
                data = self.handle.recv(READ_BYTES)
                if not data:
                    return False
                self.connection.receive(data)
            output = self.connection.output
            with contextlib.suppress(BlockingIOError):
                while output:
                    sent = self.handle.send(output[: 1 << 18])
                    del output[:sent]
                    self.asked_ns = now_ns
        except (OSError, ProtocolError):
            return False
        if not self.connection.ready:
            return now_ns - self.began_ns < PATIENCE_NS
        return not output or now_ns - self.asked_ns < PATIENCE_NS

    def close(self) -> None:
        """Let go of what is held down, and hang up."""
        for keys in self._down.values():
            for key in reversed(keys):
                self._keyboard.strike(key, down=False)
        if self._buttons:
            self._mouse.set_buttons(0)
        self._down, self._buttons = {}, 0
        self.handle.close()

    def _key(self, keysym: int, down: bool) -> None:
        if not down:
            for key in reversed(self._down.pop(keysym, ())):
                self._keyboard.strike(key, down=False)
            return
        keys = keys_of(keysym)
        held = {key for held in self._down.values() for key in held}
        if keys[:1] == ("left_shift",) and len(keys) > 1 and held.intersection(SHIFTS):
            keys = keys[1:]
        pressed = [key for key in keys if self._keyboard.strike(key, down=True)]
        if pressed:
            self._down[keysym] = tuple(dict.fromkeys((*self._down.get(keysym, ()), *pressed)))

    def _move(self, buttons: int, x: int, y: int) -> None:
        if self._pointer is not None:
            right, down = x - self._pointer[0], y - self._pointer[1]
            wheel = bool(buttons & _WHEEL_DOWN & ~self._buttons) - bool(buttons & _WHEEL_UP & ~self._buttons)
            if right or down or wheel:
                self._mouse.move(right, -down, wheel)
        self._pointer = (x, y)
        if buttons != self._buttons:
            self._buttons = buttons
            self._mouse.set_buttons(sum(ours for theirs, ours in _BUTTONS if buttons & theirs))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(MOST_CLIENTS)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
    except UnicodeError:
        raise ConfigError(f"--display vnc:{host}:{port}: this is no host name") from None
    except OSError as error:
        raise ConfigError(
            f"--display vnc:{host}:{port}: {error.strerror}; {_advice(error, host, port)}"
        ) from None
    return listener


def _advice(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "name an address of this host, such as 127.0.0.1"
    if error.errno == errno.EACCES:
        return "name a port of 1024 or more"
    return f"name another port, such as vnc:{host}:{port + 1 if port < 65535 else port - 1}"
