"""`trapline disk mount`: what it says, what it refuses, and that it leaves a whole image and no socket."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from disks.errors import DiskError, ImageBusyError
from disks.nbd.protocol import CMD_FLAG_FUA
from disks.newfile import new_file
from disks.open import open_image
from disks.vhd.create import write_dynamic
from tests.disks.conftest import make_child
from tests.disks.nbd.dialogue import BOTH_FLAGS, option, request, write
from tests.disks.scribbles import contents_of
from tests.guests.assets.trapline import COMMAND
from tests.oracles import run_tool
from vmm.cli.disk import app
from vmm.cli.disk.nbd_sockets import TcpPlace, UnixPlace, parse_tcp
from vmm.errors import ConfigError, UsageError

GIVE_UP_S = 60
SIZE = 4 << 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="nbd-") as name:
        yield Path(name)


@pytest.fixture
def disk(folder: Path) -> Path:
    with new_file(folder / "disk.vhd") as file:
        write_dynamic(file, SIZE)
    return folder / "disk.vhd"


class Mounted:
    """The command as it runs."""

    def __init__(self, process: subprocess.Popen[str], facts: dict[str, Any]) -> None:
        self.process = process
        self.facts = facts

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; return its status and what it said on stderr."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=GIVE_UP_S)
        return self.process.returncode, said


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[Mounted]:
    command = [*COMMAND, "disk", "mount", "--json", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate(timeout=GIVE_UP_S)
            yield Mounted(process, json.loads(line))
        finally:
            process.kill()


def mount(*arguments: str | Path) -> None:
    """Run the command where it must fail."""
    CliRunner().invoke(app, ["mount", *map(str, arguments)], catch_exceptions=False)


def written(address: str | tuple[str, int], data: bytes, flags: int = 0) -> None:
    """Write `data` to the start of the disk, without a flush, and wait for the answer."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(GIVE_UP_S)
        client.connect(address)
        client.sendall(BOTH_FLAGS + option(1) + write(0, data, flags))
        found = b""
        while len(found) < 18 + 10 + 16:
            found += client.recv(100)
        client.sendall(request(2))
        assert client.recv(1) == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_everything_written_and_no_socket_left(
    disk: Path, folder: Path, number: int
) -> None:
    with mounted(disk, "--socket", folder / "s") as running:
        written(str(folder / "s"), b"\x5a" * 4096)
        assert running.end(number) == (0, "")
    assert not (folder / "s").exists()
    assert contents_of(disk)[:4097] == b"\x5a" * 4096 + b"\0"


def test_what_was_answered_to_fua_survives_the_death_of_the_server(disk: Path, folder: Path) -> None:
    with mounted(disk, "--socket", folder / "s") as running:
        written(str(folder / "s"), b"\x5a" * 4096, CMD_FLAG_FUA)
        running.end(signal.SIGKILL)
    assert contents_of(disk)[:4097] == b"\x5a" * 4096 + b"\0"


def test_json_tells_a_script_where_to_connect(disk: Path, folder: Path) -> None:
    with mounted(disk, "--socket", folder / "s", "--read-only") as running:
        assert running.facts == {
            "path": str(disk),
            "uri": f"nbd+unix:///?socket={folder}/s",
            "socket": f"{folder}/s",
            "pid": running.process.pid,
            "virtual_bytes": SIZE,
            "read_only": True,
        }
        assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600


def test_a_port_of_this_host_by_tcp(disk: Path) -> None:
    with mounted(disk, "--tcp", "0") as running:
        host, port = running.facts["host"], running.facts["port"]
        assert (host, running.facts["uri"]) == ("127.0.0.1", f"nbd://127.0.0.1:{port}")
        written((host, port), b"\x5a" * 512)
        assert running.end() == (0, "")
    assert contents_of(disk)[:512] == b"\x5a" * 512


def test_a_port_that_others_reach_is_warned_of(disk: Path) -> None:
    with mounted(disk, "--tcp", "0.0.0.0:0") as running:
        status, said = running.end()
    assert (status, said.count("\n")) == (0, 1)
    assert "there is no password" in said


def test_once_ends_with_the_last_client(disk: Path, folder: Path) -> None:
    with mounted(disk, "--socket", folder / "s", "--once") as running:
        written(str(folder / "s"), b"\x5a" * 512)
        assert running.wait() == (0, "")
    assert contents_of(disk)[:512] == b"\x5a" * 512


def test_a_parent_is_not_written_unless_insisted_on(disk: Path, folder: Path) -> None:
    make_child(folder / "child.vhd", disk)
    before = disk.read_bytes()
    with pytest.raises(ConfigError, match=r"is the parent of child\.vhd.*--parent-writable"):
        mount(disk, "--socket", folder / "s")
    assert disk.read_bytes() == before
    for choice in ("--read-only", "--snapshot", "--parent-writable"):
        with mounted(disk, "--socket", folder / "s", choice) as running:
            assert running.end() == (0, "")


def test_a_snapshot_takes_writes_and_forgets_them(disk: Path, folder: Path) -> None:
    before = disk.read_bytes()
    with mounted(disk, "--socket", folder / "s", "--snapshot") as running:
        written(str(folder / "s"), b"\x5a" * 512)
        assert running.end() == (0, "")
    assert disk.read_bytes() == before


def test_the_image_is_locked_while_it_is_served(disk: Path, folder: Path) -> None:
    with mounted(disk, "--socket", folder / "s"), pytest.raises(ImageBusyError):
        open_image(disk, read_only=True)
    with mounted(disk, "--socket", folder / "s", "--read-only"):
        open_image(disk, read_only=True).close()


def test_a_child_needs_its_parent_allowed(disk: Path, folder: Path) -> None:
    (folder / "mine").mkdir()
    child = make_child(folder / "mine" / "child.vhd", disk)
    with pytest.raises(DiskError, match="--allow-root"):
        mount(child, "--socket", folder / "s")
    with mounted(child, "--socket", folder / "s", "--allow-root", folder) as running:
        written(str(folder / "s"), b"\x5a" * 512)
        assert running.end() == (0, "")


@pytest.mark.oracle
def test_what_it_says_to_people_works(disk: Path, folder: Path) -> None:
    command = [*COMMAND, "disk", "mount", str(disk), "--socket", str(folder / "a b")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(5)]
            assert lines[0] == f"{disk}: {SIZE} (4 MiB), read-write, at nbd+unix:///?socket={folder}/a%20b\n"
            assert "virtual size: 4 MiB" in run_tool("sh", "-c", lines[1].strip())
            run_tool("sh", "-c", f"cd {folder} && {lines[2].strip()}")
            process.send_signal(signal.SIGINT)
            assert process.wait(GIVE_UP_S) == 0
        finally:
            process.kill()
    assert (folder / "copy.raw").read_bytes() == bytes(SIZE)


# -- what is refused


@pytest.mark.parametrize(
    "arguments", [(), ("--socket", "s", "--tcp", "1"), ("--socket", "s", "--read-only", "--snapshot")]
)
def test_contradictions_are_wrong_usage(
    disk: Path, folder: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError):
        mount(disk, *arguments)
    open_image(disk).close()


@pytest.mark.parametrize("text", ["", "x", "70000", "-1", "host:", "1.5", "٣", ":x", "host:port"])
def test_what_is_no_port_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_tcp(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("10809", "127.0.0.1", 10809), (":7", "127.0.0.1", 7), ("[::1]:7", "::1", 7), ("a.b:7", "a.b", 7)],
)
def test_a_port_has_a_host(text: str, host: str, port: int) -> None:
    assert parse_tcp(text) == (host, port)


def test_a_port_in_use_is_named() -> None:
    first = TcpPlace(parse_tcp("0"))
    with pytest.raises(ConfigError, match="name another port"):
        TcpPlace(parse_tcp(str(first.facts["port"])))
    first.release()


def test_the_socket_of_a_dead_server_is_replaced(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(folder / "s"))
    UnixPlace(folder / "s").release()
    assert not (folder / "s").exists()


def test_the_socket_of_a_live_server_is_kept(folder: Path) -> None:
    live = UnixPlace(folder / "s")
    with pytest.raises(ConfigError, match="another server"):
        UnixPlace(folder / "s")
    assert (folder / "s").is_socket()
    live.release()


def test_a_file_that_is_no_socket_is_kept(folder: Path) -> None:
    (folder / "s").write_text("precious")
    with pytest.raises(ConfigError, match="no socket"):
        UnixPlace(folder / "s")
    assert (folder / "s").read_text() == "precious"


def test_a_socket_that_was_replaced_meanwhile_is_kept(folder: Path) -> None:
    first = UnixPlace(folder / "s")
    (folder / "s").unlink()
    second = UnixPlace(folder / "s")
    first.release()
    assert (folder / "s").is_socket()
    second.release()


@pytest.mark.parametrize("name", ["x" * 200, "no/such/directory"])
def test_a_place_that_cannot_be_is_told_in_one_line(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--socket"):
        UnixPlace(folder / name)


def test_help_has_examples() -> None:
    result = CliRunner().invoke(app, ["mount", "--help"])
    assert "trapline disk mount" in result.output
