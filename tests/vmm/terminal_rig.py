"""A terminal with `trapline run` in it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LEAVE = b"\x1b[?1049l"

# Python imports a module of this name before anything else
HOLD = """
import os, signal, sys
if "vmm.cli.child" in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def is_stopped(process: int) -> bool:
    """Whether a signal has stopped it."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


class Terminal:
    """A terminal of 80 x 24 with `trapline run` in it."""

    def __init__(
        self, *arguments: str, environment: dict[str, str] | None = None, hold: Path | None = None
    ) -> None:
        """Run the command; given a folder to `hold` it with, the machine's process stops as it begins."""
        held = {}
        if hold is not None:
            (hold / "sitecustomize.py").write_text(HOLD)
            held = {"PYTHONPATH": str(hold)}
        self._ours, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vmm.cli", "run", *arguments, "--timeout", "120"],
            cwd=ROOT,
            env={
                **os.environ,
                "TERM": "xterm",
                "NO_COLOR": "",
                "COLORTERM": "",
                **held,
                **(environment or {}),
            },
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

    def held(self) -> int:
        """Return the machine's process that was told to `hold`, once it does and the terminal awaits keys."""
        child, deadline = self.child(), time.monotonic() + 60
        while not is_stopped(child) or self.modes[3] & (termios.ECHO | termios.ICANON):
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

    def shows(self, text: bytes, within_s: float) -> bool:
        """Whether `text` comes in that time."""
        deadline = time.monotonic() + within_s
        while text not in self.seen and time.monotonic() < deadline:
            self.read()
        return text in self.seen

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
        return LEAVE in self.seen and self.restored_modes

    @property
    def restored_modes(self) -> bool:
        return termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._slave)
