"""An NBD server in a thread of the test, on a Unix socket with a short name."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from disks.nbd.export import Export
from disks.nbd.server import NbdServer
from disks.open import open_image
from vmm.clock import host_ns

GIVE_UP_S = 60


class Served:
    """What a test knows of a server that runs."""

    def __init__(self, server: NbdServer, path: str, reports: list[str]) -> None:
        self.server = server
        self.path = path
        self.uri = f"nbd+unix:///?socket={path}"
        self.reports = reports

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(GIVE_UP_S)
        client.connect(self.path)
        return client


@contextmanager
def served(
    image_path: Path,
    *,
    read_only: bool = False,
    once: bool = False,
    kind: type[socket.socket] = socket.socket,
) -> Iterator[Served]:
    """Serve an image while the block runs; the image is closed and the server's thread gone afterwards.

    `kind` is the class of the socket that listens.
    """
    export = Export(open_image(image_path, read_only=read_only), image_path.name)
    listener = kind(socket.AF_UNIX, socket.SOCK_STREAM)
    reports: list[str] = []
    with tempfile.TemporaryDirectory(prefix="nbd-") as folder:
        path = f"{folder}/s"
        listener.bind(path)
        listener.listen(16)
        server = NbdServer(export, listener, host_ns, reports.append)
        thread = threading.Thread(target=server.serve, kwargs={"once": once})
        thread.start()
        try:
            yield Served(server, path, reports)
        finally:
            server.stop()
            thread.join(GIVE_UP_S)
            assert not thread.is_alive()
            server.close()
            export.close()
