"""The machine's own process: builds the machine, drives it through its dialogue, tells the outcome.

Started by the supervisor as `python -m vmm.cli.child JOB RING`, two descriptors it inherits.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

from vmm.cli.errors import one_line
from vmm.cli.job import Job

PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> int:
    """Load the engine, wait for the job on the first descriptor, run it with the ring on the second."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # there is nothing yet that must end in good order
    job_descriptor, ring_descriptor = map(int, arguments)
    end_with_parent()
    gc.disable()  # what is imported now stays; looking through it again and again costs a tenth of the start
    with one_line() as failure:
        from vmm.cli.session import Session
        from vmm.clock import host_ns
        from vmm.cpu.ring import BYTES, ExitRing, note_begin

        with os.fdopen(job_descriptor, "rb") as pipe:
            job = Job.unpack(pipe.read())
        gc.freeze()
        gc.enable()
        stop = _StopSignal()
        pages = mmap.mmap(ring_descriptor, BYTES)
        note_begin(pages, host_ns())
        return Session(job, ExitRing(pages), stop.seen).run()
    return failure.status


class _StopSignal:
    """Remembers the first SIGINT, SIGTERM or SIGHUP; a second one of them ends the process at once."""

    def __init__(self) -> None:
        self._number = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._number and self._number != number:
            os._exit(128 + number)
        self._number = number

    @property
    def seen(self) -> Callable[[], int]:
        """Return a function that gives the signal's number, 0 for none."""
        return lambda: self._number


def end_with_parent() -> None:
    """On Linux, have the kernel end this process when the supervisor is killed."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    outcome = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(outcome)  # all is closed by now, and the engine's destructors cannot be trusted
