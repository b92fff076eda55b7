"""`trapline run` in a terminal, whole: screen, keys, prompt, and the terminal given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vmm.terminal_rig import LEAVE, ROOT, Terminal
from vmm.cli import status

# mov ax, 0e3eh; int 10h; then for ever: mov ah, 0; int 16h; mov ah, 0eh; int 10h
TYPEWRITER = "b8 3e 0e cd 10 b4 00 cd 16 b4 0e cd 10 eb f6"
GRAPHICS = "b8 13 00 cd 10 68 00 a0 07 31 ff b0 0f b9 00 fa f3 aa eb fe"  # mode 13h, all white


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "guest.img"
    path.write_bytes((bytes.fromhex(TYPEWRITER).ljust(510, b"\0") + b"\x55\xaa").ljust(64 * 512, b"\0"))
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
        parent = terminal.process.pid
        child = int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
        os.kill(child, signal.SIGSEGV)
        assert terminal.end() == status.ENGINE_DIED
        assert terminal.restored
    finally:
        terminal.close()


def test_graphics_are_shown_as_half_blocks(image: Path) -> None:
    image.write_bytes((bytes.fromhex(GRAPHICS).ljust(510, b"\0") + b"\x55\xaa").ljust(64 * 512, b"\0"))
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
