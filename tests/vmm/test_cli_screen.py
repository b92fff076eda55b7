"""`trapline run` in a terminal, whole: screen, keys, prompt, and the terminal given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vmm.terminal_rig import LEAVE, ROOT, Terminal
from vmm.cli import status

# mov ax, 0e3eh; int 10h; then for ever: mov ah, 0; int 16h; mov ah, 0eh; int 10h
TYPEWRITER = "b8 3e 0e cd 10 b4 00 cd 16 b4 0e cd 10 eb f6"
# for ever: wait for COM1's data ready, then send what came
SERIAL_ECHO = "ba fd 03 ec a8 01 74 f8 ba f8 03 ec ee eb f1"
GRAPHICS = "b8 13 00 cd 10 68 00 a0 07 31 ff b0 0f b9 00 fa f3 aa eb fe"  # mode 13h, all white


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
    image: Path, option: str, code: str, sent: bytes, tmp_path: Path
) -> None:
    image.write_bytes(disk(code))
    terminal = Terminal(str(image), option, hold=tmp_path)
    try:
        child = terminal.held()
        terminal.type(b"~")
        terminal.read()
        assert terminal.seen == b""
        os.kill(child, signal.SIGCONT)
        terminal.read_until(sent)  # COM1 gets what was typed; a keyboard that is reset may lose it
    finally:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_before_there_is_a_guest_gives_the_terminal_back(
    image: Path, number: signal.Signals, tmp_path: Path
) -> None:
    terminal = Terminal(str(image), hold=tmp_path)
    try:
        child = terminal.held()
        if number == signal.SIGKILL:
            os.kill(child, number)  # takes one that is held, too; by now it may be gone and waited for
            expected = status.ENGINE_DIED
        else:
            terminal.process.send_signal(number)
            os.kill(child, signal.SIGCONT)
            expected = status.SIGNAL_BASE + number
        assert terminal.end() == expected
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
