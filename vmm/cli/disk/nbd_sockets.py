"""Where an NBD server listens: a Unix socket, or a port of TCP.

Sources:
    [URI] The NBD URI, doc/uri.md of github.com/NetworkBlockDevice/nbd
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import shlex
import socket
import stat
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

from disks.nbd.protocol import DEFAULT_PORT
from vmm.errors import ConfigError, UsageError

LOOPBACK: Final = "127.0.0.1"
_BACKLOG: Final = 16
_OTHERS: Final = 0o177  # all but the owner's reading and writing


class Place(Protocol):
    """A socket that clients can be told of. `facts` are plain values for `--json`."""

    listener: socket.socket
    uri: str
    client_options: str  # how nbd-client is told
    facts: dict[str, object]
    warning: str

    def release(self) -> None:
        """Leave nothing behind."""


class UnixPlace:
    """A Unix socket that only its owner can reach. A dead server's socket is replaced, a live one's not."""

    warning = ""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        _remove_dead(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(_OTHERS)
        try:
            self.listener.bind(str(path))
            self.listener.listen(_BACKLOG)
        except OSError as error:
            self.listener.close()
            why = error.strerror or str(error)  # a path too long for the kernel has no errno
            raise ConfigError(f"--socket {path}: {why}; name a short path in a directory of yours") from None
        finally:
            os.umask(before)
        self._identity = _identity(self._path)
        self.uri = f"nbd+unix:///?socket={quote(str(self._path))}"
        self.client_options = f"-unix {shlex.quote(str(self._path))}"
        self.facts: dict[str, object] = {"socket": str(self._path)}

    def release(self) -> None:
        """Remove the socket, if it is still ours."""
        self.listener.close()
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._identity:
                self._path.unlink()


class TcpPlace:
    """A port of this host."""

    def __init__(self, address: TcpAddress) -> None:
        host, port = address
        try:
            family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.listener = socket.socket(family, socket.SOCK_STREAM)
            try:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.listener.bind(where)
                self.listener.listen(_BACKLOG)
            except BaseException:
                self.listener.close()
                raise
        except UnicodeError:
            raise ConfigError(f"--tcp {host}:{port}: this is no host name") from None
        except OSError as error:
            advice = "name another port, or an address of this host such as 127.0.0.1"
            raise ConfigError(f"--tcp {host}:{port}: {error.strerror}; {advice}") from None
        found, number = self.listener.getsockname()[:2]
        written = f"[{found}]" if ":" in found else found
        self.uri = f"nbd://{written}:{number}"
        self.client_options = f"{found} {number}"
        self.facts: dict[str, object] = {"host": found, "port": number}
        loopback = ipaddress.ip_address(found.partition("%")[0]).is_loopback
        self.warning = (
            "" if loopback else f"anyone who reaches {self.uri} can use the disk: there is no password"
        )

    def release(self) -> None:
        """Close the port."""
        self.listener.close()


class TcpAddress(NamedTuple):
    """Where `--tcp` says to listen."""

    host: str
    port: int


def parse_tcp(text: str) -> TcpAddress:
    """Read the value of `--tcp`: PORT or HOST:PORT."""
    host, _, number = text.rpartition(":")
    if not (number.isascii() and number.isdigit() and len(number) <= 5 and int(number) <= 0xFFFF):
        example = f"{DEFAULT_PORT} or {LOOPBACK}:{DEFAULT_PORT}"
        raise UsageError(f"--tcp {text!r}: expected [HOST:]PORT, such as {example}")
    return TcpAddress(host.strip("[]") or LOOPBACK, int(number))


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _remove_dead(path: Path) -> None:
    """Remove a socket nobody listens on; refuse anything else that is in the way."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"--socket {path}: a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(1)
            probe.connect(str(path))
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise ConfigError(f"--socket {path}: {error.strerror or error}") from None
            path.unlink(missing_ok=True)
            return
    raise ConfigError(f"--socket {path}: another server is using it; name another path")
