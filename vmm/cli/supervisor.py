"""Runs a machine in a process of its own, so that a dying engine takes nothing else with it.

The child inherits the terminal. It is given the job and a ring of the last exits as files without
names; the ring's pages outlive it. Signals are passed on; the terminal is restored whatever happens.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final, NamedTuple, TextIO

import msgspec

from vmm.cli import status
from vmm.cli.job import Job
from vmm.clock import host_ns

FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)
GRACE_S: Final = 10.0  # a machine past its time-out that does not end by itself is killed after this
PATIENCE_NS: Final = 1_000_000_000  # a second Ctrl-C after this kills
ROOT: Final = Path(__file__).resolve().parents[2]
LEAVE_MODES: Final = "\x1b[?25h\x1b[?1049l"  # cursor shown, normal screen


def child_command() -> list[str]:
    """Return the interpreter and module of a machine's process.

    The working directory stays out of the module path unless it is where this package lives: a
    directory called `disks` there must not be taken for ours.
    """
    safe = [] if Path.cwd() == ROOT else ["-P"]
    return [sys.executable, *safe, "-m", "vmm.cli.child"]


def supervise(job: Job, command: Sequence[str] | None = None) -> int:
    """Run `job` in a child process and return the status to exit with."""
    from vmm.cpu.ring import BYTES

    with _unnamed(msgspec.json.encode(job)) as job_file, _unnamed(bytes(BYTES)) as ring_file:
        descriptors = (job_file.fileno(), ring_file.fileno())
        with _terminal_kept():
            child = _Child(command or child_command(), descriptors)
            code = child.wait(job.options.timeout_s)
        if child.killed_for is not None:
            print(f"trapline: error: {child.killed_for.why}", file=sys.stderr)
            return child.killed_for.status
        if code >= 0:
            return code
        _post_mortem(-code, mmap.mmap(ring_file.fileno(), BYTES), job, sys.stderr)
        return status.ENGINE_DIED


class _Kill(NamedTuple):
    """Why we killed the child, and the status that gives."""

    why: str
    status: int


class _Child:
    """The machine's process, the signals passed to it, and its end."""

    def __init__(self, command: Sequence[str], descriptors: tuple[int, int]) -> None:
        arguments = [*command, *map(str, descriptors)]
        self._process = subprocess.Popen(arguments, pass_fds=descriptors)  # noqa: S603 - our own interpreter
        self._asked_ns: int | None = None
        self.killed_for: _Kill | None = None

    def wait(self, timeout_s: float | None) -> int:
        """Return the child's return code; kill it when it overruns its time-out by the grace period."""
        before = {number: signal.signal(number, self._forward) for number in FORWARDED}
        try:
            return self._process.wait(None if timeout_s is None else timeout_s + GRACE_S)
        except subprocess.TimeoutExpired:
            self._kill(_Kill("the machine did not stop at its time-out and was killed", status.TIMEOUT))
            return self._process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number != signal.SIGWINCH and self._overdue():
            self._kill(
                _Kill("the machine did not stop when asked and was killed", status.SIGNAL_BASE + number)
            )
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _overdue(self) -> bool:
        """Whether the machine was asked to end so long ago that asking again is of no use."""
        now_ns = host_ns()
        if self._asked_ns is None:
            self._asked_ns = now_ns
        return now_ns - self._asked_ns > PATIENCE_NS

    def _kill(self, why: _Kill) -> None:
        self.killed_for = why
        self._process.kill()


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    saved: list[Any] | None = None
    if os.isatty(0):
        saved = termios.tcgetattr(0)
    try:
        yield
    finally:
        if saved is not None and termios.tcgetattr(0) != saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
            sys.stdout.write(LEAVE_MODES)
            sys.stdout.flush()


@contextlib.contextmanager
def _unnamed(content: bytes) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile(prefix="trapline-") as file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield file


def _post_mortem(number: int, pages: mmap.mmap, job: Job, stream: TextIO) -> None:
    from vmm.cli.report import print_records
    from vmm.cpu.ring import ExitRing

    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    print(f"trapline: error: the engine died: signal {number} ({name})", file=stream)
    print_records(ExitRing(pages).last(), stream)
    for line in check_disks(job):
        print(line, file=stream)


def check_disks(job: Job) -> list[str]:
    """Open every disk image of `job` read-only and return a line about each."""
    from disks.errors import DiskError
    from disks.open import open_image

    lines = []
    for drive in job.config.hd:
        try:
            open_image(Path(drive.path), read_only=True).close()
        except (DiskError, OSError) as error:
            lines.append(f"disk {drive.path}: damaged: {error}")
        else:
            unchanged = drive.snapshot or job.config.snapshot or drive.read_only
            lines.append(f"disk {drive.path}: intact{', unchanged' if unchanged else ''}")
    return lines
