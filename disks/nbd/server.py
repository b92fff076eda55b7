"""An NBD server: a thread for each client, and one image for all of them.

Who reaches the socket reads and writes the disk: the protocol has no passwords. A client that does not
finish its negotiation is dropped after `PATIENCE_NS`; one that begins may rest as long as it likes.

NOT modelled: TLS, more than one export.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Generator
from typing import Final

from disks.nbd.export import Export
from disks.nbd.handshake import negotiate
from disks.nbd.talk import PIECE_BYTES, Buffer, ProtocolError, Step, T
from disks.nbd.transmission import Transmission

MOST_CLIENTS: Final = 16
PATIENCE_NS: Final = 10_000_000_000  # for a negotiation; also for what is under way at the end
_LOOK_S: Final = 1.0  # between two looks at clients that are not ready yet, or cannot be taken
_SMALL_BYTES: Final = 64 << 10  # options and small writes; a client that sends no more gets no more
_NOTHING: Final = memoryview(b"")


class NbdServer:
    """Serves `export` to whoever connects to `listener`, which it then owns."""

    def __init__(
        self,
        export: Export,
        listener: socket.socket,
        now_ns: Callable[[], int],
        report: Callable[[str], None],
    ) -> None:
        self._export = export
        self._listener = listener
        self._now_ns = now_ns
        self._report = report
        self._clients: set[_Client] = set()
        self._is_short = False  # the host had no descriptor left for a client that waits
        self._bug: BaseException | None = None
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        listener.setblocking(False)

    @property
    def wake_fd(self) -> int:
        """Whatever is written here wakes `serve`: for signal.set_wakeup_fd.

        Without it a signal that comes just before the wait would be noticed only after it.
        """
        return self._wake.fileno()

    def stop(self) -> None:
        """Let `serve` end. From any thread, and from a signal handler."""
        self._export.stopping = True
        self._poke()

    def serve(self, *, once: bool = False) -> None:
        """Serve until `stop`, or, with `once`, until the last client has gone; then the listener is closed.

        An exception of ours in a client's thread is raised here.
        """
        served = False
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while not self._export.stopping and not (once and served and not self._clients):
                    selector.select(self._patience())
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                    served = self._accept() or served
                    self._drop_the_slow()
                    self._watch_listener(selector)
        finally:
            self._hang_up()
        if self._bug is not None:
            raise self._bug

    def close(self) -> None:
        """Release what wakes `serve`, once nobody calls `stop` any more."""
        self._listener.close()
        self._woken.close()
        self._wake.close()

    def _patience(self) -> float | None:
        is_looking = self._is_short or any(not one.ready for one in list(self._clients))
        return _LOOK_S if is_looking else None

    def _watch_listener(self, selector: selectors.BaseSelector) -> None:
        """Leave the listener out while nobody can be taken: it stays readable, and would wake us for ever."""
        is_watched = self._listener.fileno() in selector.get_map()
        if self._is_short and is_watched:
            selector.unregister(self._listener)
        elif not self._is_short and not is_watched:
            selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> bool:
        """Take all who wait; tell whether there were any."""
        found = False
        while True:
            try:
                handle, _ = self._listener.accept()
            except OSError as error:
                self._is_short = not isinstance(error, BlockingIOError)
                return found
            if len(self._clients) >= MOST_CLIENTS:
                handle.close()
                continue
            found = True
            client = _Client(handle, self._now_ns())
            self._clients.add(client)
            client.thread = threading.Thread(target=self._attend, args=(client,), daemon=True)
            client.thread.start()

    def _attend(self, client: _Client) -> None:
        """Serve one client; its thread."""
        try:
            agreed = client.converse(negotiate(self._export))
            if agreed is not None:
                client.ready = True
                client.converse(Transmission(self._export, agreed, self._report).talk())
        except (OSError, EOFError):
            pass  # the client went away
        except ProtocolError as error:
            self._report(f"a client was dropped: {error}")
        except BaseException as bug:  # kept, and raised by `serve`
            self._bug = bug
            self._export.stopping = True
        finally:
            client.close()
            self._clients.discard(client)
            self._poke()

    def _drop_the_slow(self) -> None:
        now_ns = self._now_ns()
        for client in list(self._clients):
            if not client.ready and now_ns - client.began_ns > PATIENCE_NS:
                client.hang_up(socket.SHUT_RDWR)

    def _hang_up(self) -> None:
        """Let every client's last request end, then hang up."""
        self._listener.close()
        self._export.stopping = True
        clients = list(self._clients)
        for client in clients:
            client.hang_up(socket.SHUT_RD)
        give_up_ns = self._now_ns() + PATIENCE_NS
        for client in clients:
            client.join(max(0, give_up_ns - self._now_ns()))
        for client in list(self._clients):  # those who do not take their answers
            client.hang_up(socket.SHUT_RDWR)
            client.join(PATIENCE_NS)

    def _poke(self) -> None:
        with contextlib.suppress(OSError):  # closed, or full: awake anyway
            self._wake.send(b"\0")


class _Client:
    """A connection and the thread that serves it."""

    def __init__(self, handle: socket.socket, now_ns: int) -> None:
        self.began_ns = now_ns
        self.ready = False
        self.thread: threading.Thread | None = None
        self._handle = handle
        self._reader = handle.makefile("rb")
        self._buffer = bytearray()
        handle.setblocking(True)
        with contextlib.suppress(OSError):  # not of a Unix socket
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def converse(self, talk: Generator[Step, memoryview, T]) -> T:
        """Give `talk` the bytes it asks for and send what it says; raise EOFError when the client goes."""
        try:
            step = next(talk)
            while True:
                step = talk.send(self._take(step) if isinstance(step, int) else self._send(step))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            talk.close()

    def hang_up(self, how: int) -> None:
        """End one or both directions; a thread that waits on them goes on at once."""
        with contextlib.suppress(OSError):
            self._handle.shutdown(how)

    def join(self, patience_ns: int) -> None:
        """Wait for the thread, not for ever."""
        if self.thread is not None:
            self.thread.join(patience_ns / 1e9)

    def close(self) -> None:
        """Release the connection."""
        self._reader.close()
        self._handle.close()

    def _take(self, length: int) -> memoryview:
        if len(self._buffer) < length:
            self._buffer = bytearray(PIECE_BYTES if length > _SMALL_BYTES else _SMALL_BYTES)
        view = memoryview(self._buffer)[:length]
        if self._reader.readinto(view) < length:
            raise EOFError
        return view

    def _send(self, buffers: tuple[Buffer, ...]) -> memoryview:
        sent = self._handle.sendmsg(buffers)
        for buffer in buffers:
            if sent < len(buffer):
                self._handle.sendall(memoryview(buffer)[sent:])
            sent = max(0, sent - len(buffer))
        return _NOTHING
