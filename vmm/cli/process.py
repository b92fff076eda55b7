"""The machine's own process, as its supervisor holds it.

Started before the options are even read, so that it loads the engine meanwhile; it then waits for its
job on a pipe. It also inherits a file without a name that holds the ring of the last exits and outlives
it. Imports little, since it is the first thing a run does.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

from vmm.cli import status
from vmm.clock import host_ns
from vmm.cpu.ring import BYTES, began_ns
from vmm.errors import VmmError

FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)
GRACE_S: Final = 10.0  # a machine past its time-out that does not end by itself is killed after this
LOADING_S: Final = 60.0  # the most that loading the machine adds to that, on a busy host
PATIENCE_NS: Final = 1_000_000_000  # a second Ctrl-C after this kills
ROOT: Final = Path(__file__).resolve().parents[2]


class Kill(NamedTuple):
    """Why we killed the process, and the status that gives."""

    why: str
    status: int


def child_command() -> list[str]:
    """Return the interpreter and module of a machine's process.

    The working directory stays out of the module path unless it is where this package lives: a
    directory called `disks` there must not be taken for ours.
    """
    try:
        safe = [] if Path.cwd() == ROOT else ["-P"]
    except OSError:  # the working directory is gone
        safe = ["-P"]
    return [sys.executable, *safe, "-m", "vmm.cli.child"]


class MachineProcess:
    """A process that waits for a job, the signals passed to it, and its end."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self.killed_for: Kill | None = None
        self.passed_on: set[int] = set()  # signals
        self._asked_ns: int | None = None
        try:
            self._start(command or child_command())
        except OSError as error:
            raise VmmError(
                f"cannot start the machine's process: {sys.executable}: {error.strerror}"
            ) from None

    def _start(self, command: Sequence[str]) -> None:
        with tempfile.TemporaryFile(prefix="trapline-") as ring_file:
            ring_file.truncate(BYTES)
            self.ring_pages = mmap.mmap(ring_file.fileno(), BYTES)
            job_end, self._job = os.pipe()
            descriptors = (job_end, ring_file.fileno())
            arguments = [*command, *map(str, descriptors)]
            self._process = subprocess.Popen(arguments, pass_fds=descriptors)  # noqa: S603 - our own interpreter
            os.close(job_end)

    def give(self, job: bytes) -> None:
        """Hand over the job; a process that is already dead tells so when waited for."""
        with contextlib.suppress(BrokenPipeError), os.fdopen(self._job, "wb") as pipe:
            self._job = -1
            pipe.write(job)

    @contextlib.contextmanager
    def signals_passed_on(self) -> Iterator[None]:
        """While the block runs, signals are the machine's: it ends, and then we do."""
        before = {number: signal.signal(number, self._forward) for number in FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wait(self, timeout_s: float | None) -> int:
        """Return the return code; kill it when it overruns its time-out too far.

        The time that it took to load does not count.
        """
        given_ns = host_ns()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(None if timeout_s is None else timeout_s + GRACE_S)
        began = began_ns(self.ring_pages)
        loading_s = max(0, began - given_ns) / 1e9 if began else LOADING_S
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(min(loading_s, LOADING_S))
        self._kill(Kill("the machine did not stop at its time-out and was killed", status.TIMEOUT))
        return self._process.wait()

    @property
    def hurried(self) -> bool:
        """Whether two different signals asked the machine to end: it then left everything as it was."""
        return len(self.passed_on - {signal.SIGWINCH}) > 1

    def discard(self) -> None:
        """End a process that is not needed, or is no more. Idempotent."""
        self._process.kill()  # before it finds that no job will come
        if self._job >= 0:
            os.close(self._job)
            self._job = -1
        self._process.wait()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number != signal.SIGWINCH and self._overdue():
            self._kill(
                Kill("the machine did not stop when asked and was killed", status.SIGNAL_BASE + number)
            )
        self.passed_on.add(number)
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _overdue(self) -> bool:
        """Whether the machine was asked to end so long ago that asking again is of no use."""
        now_ns = host_ns()
        if self._asked_ns is None:
            self._asked_ns = now_ns
        return now_ns - self._asked_ns > PATIENCE_NS

    def _kill(self, why: Kill) -> None:
        self.killed_for = why
        self._process.kill()
