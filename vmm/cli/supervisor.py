"""Sees a machine's process through to its end, so that a dying engine takes nothing else with it.

The terminal is restored whatever happens; when the engine died, the last exits are shown from memory
that outlived it, and the disk images are looked at.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from vmm.cli import status
from vmm.cli.job import Job
from vmm.cli.process import MachineProcess

LEAVE_MODES: Final = "\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?1049l"  # plain paste, cursor shown, normal screen


def supervise(job: Job, process: MachineProcess | None = None) -> int:
    """Run `job` in `process`, or in a new one, and return the status to exit with."""
    process = process or MachineProcess()
    with _terminal_kept():
        process.give(job.pack())
        code = process.wait(job.options.timeout_s)
    if process.killed_for is not None:
        print(f"trapline: error: {process.killed_for.why}", file=sys.stderr)
        return process.killed_for.status
    if code >= 0:
        return code
    _post_mortem(-code, process.ring_pages, job, sys.stderr)
    return status.ENGINE_DIED


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
