"""Sees a machine's process through to its end, so that a dying engine takes nothing else with it.

A terminal that will be the guest's keyboard echoes nothing from the start, so that what is typed before
there is a guest waits for it; it is restored whatever happens. When the engine died, the last exits are
shown from memory that outlived it, and the disk images are looked at.
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
from typing import Final, TextIO

from vmm.cli import status
from vmm.cli.job import Job
from vmm.cli.process import MachineProcess
from vmm.display.keyboard_input import RawTerminal

LEAVE_MODES: Final = "\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?1049l"  # plain paste, cursor shown, normal screen


def supervise(job: Job, process: MachineProcess | None = None) -> int:
    """Run `job` in `process`, or in a new one, and return the status to exit with."""
    process = process or MachineProcess()
    with process.signals_passed_on(), _terminal_kept(job):
        process.give(job.pack())
        code = process.wait(job.options.timeout_s)
    orderly = code >= 0 and code not in (status.ERROR, status.USAGE) and not process.hurried
    if process.killed_for is not None:
        print(f"trapline: error: {process.killed_for.why}", file=sys.stderr)
        code, orderly = process.killed_for.status, False
    elif -code in process.passed_on:  # it had not begun to listen to signals
        code = status.SIGNAL_BASE - code
    elif code < 0:
        _post_mortem(-code, process.ring_pages, job, sys.stderr)
        code = status.ENGINE_DIED
    if job.config.undo is None:
        return code
    from vmm.cli.undo import settle

    return settle(job.config, code, orderly=orderly)


@contextlib.contextmanager
def _terminal_kept(job: Job) -> Iterator[None]:
    """Give the terminal back as it was; what is typed for the guest is not echoed from here on."""
    if not os.isatty(0):
        yield
        return
    saved = termios.tcgetattr(0)
    try:
        if _is_typed_to(job):
            RawTerminal(0, lines=True, signals=True)
        given = termios.tcgetattr(0)
        yield
    finally:
        left = termios.tcgetattr(0)
        if left != saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        if left != given and sys.stdout.isatty():  # the machine did not tidy up
            sys.stdout.write(LEAVE_MODES)
            sys.stdout.flush()


def _is_typed_to(job: Job) -> bool:
    """Whether the machine's console will read the terminal."""
    return job.options.display.kind == "terminal" or any(port.kind == "stdio" for port in job.config.serial)


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
    """Open every disk image of `job` read-only, with the chain behind it, and return a line about each."""
    from disks.errors import DiskError
    from disks.vhd.undo_names import undo_path
    from vmm.drive_images import look_at

    lines = []
    for drive in job.config.hard_disks:
        undo = undo_path(Path(drive.path)) if job.config.has_undo_disk(drive) else None
        unchanged = drive.snapshot or job.config.snapshot or drive.read_only or undo is not None
        for path, what in ((drive.path, ", unchanged" if unchanged else ""), (undo, "")):
            if path is None or (path is undo and not path.exists()):
                continue
            try:
                look_at(path, drive, job.config)
            except (DiskError, OSError) as error:
                lines.append(f"disk {path}: damaged: {' '.join(str(error).split())}")
            else:
                lines.append(f"disk {path}: intact{what}")
    return lines
