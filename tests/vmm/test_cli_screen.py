"""`trapline run` in a terminal, whole: screen, keys, prompt, and the terminal given back."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vmm.cli import status

ROOT = Path(__file__).parents[2]
LEAVE = b"\x1b[?1049l"
# mov ax, 0e3eh; int 10h; then for ever: mov ah, 0; int 16h; mov ah, 0eh; int 10h
TYPEWRITER = "b8 3e 0e cd 10 b4 00 cd 16 b4 0e cd 10 eb f6"
# for ever: wait for COM1's data ready, then send what came
SERIAL_ECHO = "ba fd 03 ec a8 01 74 f8 ba f8 03 ec ee eb f1"
GRAPHICS = "b8 13 00 cd 10 68 00 a0 07 31 ff b0 0f b9 00 fa f3 aa eb fe"  # mode 13h, all white


class Terminal:
    """A terminal of 80 x 24 with `trapline run` in it."""

    def __init__(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._ours, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vmm.cli", "run", *arguments, "--timeout", "120"],
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "NO_COLOR": "", "COLORTERM": "", **(environment or {})},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )

    def child(self) -> int:
        """Return the machine's process as soon as there is one, and our command no more waits for it."""
        parent, deadline = self.process.pid, time.monotonic() + 60
        while True:
            for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
                if b"vmm.cli.child" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def hold(self) -> int:
        """Stop the machine's process before there is a machine; return it once the terminal awaits keys."""
        child, deadline = self.child(), time.monotonic() + 60
        os.kill(child, signal.SIGSTOP)
        while self.modes[3] & (termios.ECHO | termios.ICANON):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return child

    @property
    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    def type(self, text: bytes) -> None:
        os.write(self._ours, text)

    def read_until(self, text: bytes) -> bytes:
        """Return what was shown up to `text`."""
        deadline = time.monotonic() + 100
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self._ours], [], [], 0.2)[0]:
                self.seen += os.read(self._ours, 65536)
        before, found, self.seen = self.seen.partition(text)
        return before + found

    def end(self) -> int:
        """Wait for the end, reading all; return the status."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read()
        self.read()
        return self.process.returncode

    def read(self) -> None:
        while select.select([self._ours], [], [], 0.2)[0]:
            self.seen += os.read(self._ours, 65536)

    @property
    def restored(self) -> bool:
        return LEAVE in self.seen and self.modes == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._slave)


def disk(code: str) -> bytes:
    return (bytes.fromhex(code).ljust(510, b"\0") + b"\x55\xaa").ljust(64 * 512, b"\0")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "guest.img"
    path.write_bytes(disk(TYPEWRITER))
    return path


def test_a_plain_run_shows_the_screen_and_types_on_its_keyboard(image: Path) -> None:
    terminal = Terminal(str(image))
    try:
        terminal.read_until(b"\x1b[?1049h")
        terminal.read_until(b">")
        terminal.type(b"k")
        terminal.read_until(b"k")
        terminal.type(b"\x1d")
        terminal.read_until(b"trapline> ")
        terminal.type(b"pause\r")
        terminal.read_until(b"paused at")
        terminal.type(b"\x1d")
        terminal.read_until(b"trapline> ")
        terminal.type(b"quit\r")
        assert terminal.end() == status.OK
        assert terminal.restored
        assert b"the guest's screen" in terminal.seen  # shown once more, where it stays
    finally:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(image: Path, number: signal.Signals) -> None:
    terminal = Terminal(str(image))
    try:
        terminal.read_until(b">")
        terminal.process.send_signal(number)
        assert terminal.end() == status.SIGNAL_BASE + number
        assert terminal.restored
    finally:
        terminal.close()


def test_a_dead_machine_gives_the_terminal_back(image: Path) -> None:
    terminal = Terminal(str(image))
    try:
        terminal.read_until(b">")
        os.kill(terminal.child(), signal.SIGSEGV)
        assert terminal.end() == status.ENGINE_DIED
        assert terminal.restored
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("option", "code", "sent"),
    [("--display=terminal", TYPEWRITER, b">"), ("--serial=stdio", SERIAL_ECHO, b"~")],
)
def test_what_is_typed_before_there_is_a_guest_is_not_echoed(
    image: Path, option: str, code: str, sent: bytes
) -> None:
    image.write_bytes(disk(code))
    terminal = Terminal(str(image), option)
    try:
        child = terminal.hold()
        terminal.type(b"~")
        terminal.read()
        assert terminal.seen == b""
        os.kill(child, signal.SIGCONT)
        terminal.read_until(sent)  # COM1 gets what was typed; a keyboard that is reset may lose it
    finally:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_before_there_is_a_guest_gives_the_terminal_back(image: Path, number: signal.Signals) -> None:
    terminal = Terminal(str(image))
    try:
        child = terminal.hold()
        (terminal.process.send_signal if number == signal.SIGTERM else partial(os.kill, child))(number)
        os.kill(child, signal.SIGCONT)
        assert terminal.end() == (
            status.ENGINE_DIED if number == signal.SIGKILL else status.SIGNAL_BASE + number
        )
        assert terminal.modes == terminal.before
    finally:
        terminal.close()


def test_an_error_before_there_is_a_guest_is_a_line_of_its_own(image: Path) -> None:
    terminal = Terminal(str(image), "--trace", "exits=/nowhere/trace.txt")
    try:
        assert terminal.end() == status.ERROR
        assert terminal.seen == b"trapline: error: --trace: /nowhere/trace.txt: No such file or directory\r\n"
        assert terminal.modes == terminal.before
    finally:
        terminal.close()


def test_a_terminal_that_nothing_is_typed_to_is_left_alone(image: Path, tmp_path: Path) -> None:
    picture, deadline = tmp_path / "screen.png", time.monotonic() + 60
    terminal = Terminal(str(image), "--serial=null", f"--display=png:{picture}")
    try:
        while not picture.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert terminal.modes == terminal.before
    finally:
        terminal.close()


def test_graphics_are_shown_as_half_blocks(image: Path) -> None:
    image.write_bytes(disk(GRAPHICS))
    terminal = Terminal(str(image), environment={"COLORTERM": "truecolor"})
    try:
        terminal.read_until("\x1b[38;2;255;255;255;48;2;255;255;255m▀".encode())
    finally:
        terminal.close()


@pytest.mark.parametrize("option", ["--quiet", "--serial=stdio", "--display=none", "--expect=never"])
def test_a_run_that_wants_something_else_has_no_screen(image: Path, option: str) -> None:
    terminal = Terminal(str(image), option)
    try:
        terminal.read_until(b"this terminal is COM1")
        assert LEAVE not in terminal.seen
    finally:
        terminal.close()


def test_a_guest_by_name_runs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "vmm.cli",
            "run",
            "guest:selftest/cd",
            "-q",
            "--timeout",
            "100",
            f"--display=png:{tmp_path / 'screen.png'}",
        ],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "26 of 26 passed" in done.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["screen.png"]
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
