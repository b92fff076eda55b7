"""What becomes of the undo disks when a run has ended: committed, kept or discarded, as the user says.

Only a machine that ended in good order is asked about or acted upon; what another leaves is kept.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from disks.errors import HOST_ERRORS
from vmm.cli import status
from vmm.cli.disk.progress import progress
from vmm.cli.errors import print_error
from vmm.config import MachineConfig, UndoAction
from vmm.drive_images import parent_rules

ANSWERS: Final[dict[str, UndoAction]] = {"c": "commit", "k": "keep", "d": "discard"}


class Pending(NamedTuple):
    """A disk, its undo disk, how many bytes wait there, and whether they may spoil other children."""

    disk: Path
    undo: Path
    bytes: int
    force: bool

    @property
    def size(self) -> str:
        """The bytes, for people."""
        return f"{-(-self.bytes >> 10):,} KiB"


def settle(config: MachineConfig, code: int, *, orderly: bool) -> int:
    """Do what the configuration or the user says; return the status to exit with, given the run's own."""
    try:
        pending = _pending(config)
    except HOST_ERRORS as error:
        print_error(f"the undo disks are kept: {error}")
        return code or status.ERROR
    if not pending:
        return code
    action = config.undo if orderly else "keep"
    if action == "ask":
        # After a hang-up nobody is there to answer
        may_ask = code != status.SIGNAL_BASE + signal.SIGHUP and os.isatty(0) and os.isatty(2)
        action = _ask(pending) if may_ask else "keep"
    good = []
    for number, found in enumerate(pending, 1):
        try:
            good.append(_do(action, found, config))
        except KeyboardInterrupt:
            _tell_failed(found, "stopped")
            for other in pending[number:]:
                _do("keep", other, config)
            return status.SIGNAL_BASE + signal.SIGINT
    return code if all(good) else code or status.ERROR


def _pending(config: MachineConfig) -> list[Pending]:
    """Return the undo disks that hold something; delete those that hold nothing."""
    from disks.vhd import undo
    from disks.vhd.undo_names import undo_path

    found = []
    for drive in filter(config.has_undo_disk, config.hard_disks):
        disk = Path(drive.path)
        written = undo.written_bytes(disk)
        if written == 0:
            undo.discard(disk)
        elif written is not None:
            found.append(Pending(disk, undo_path(disk), written, drive.parent_writable))
    return found


def _ask(pending: Sequence[Pending]) -> UndoAction:
    """Have the user choose, once for all disks; whoever does not answer keeps them."""
    for found in pending:
        _tell(f"{found.disk}: the guest has written {found.size}, to the undo disk {found.undo.name}")
    question = "commit to the disk, keep for the next run, or discard? [c/k/d] "
    termios.tcflush(0, termios.TCIFLUSH)  # what was typed ahead was meant for the guest
    try:
        while True:
            print(f"trapline: {question}", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            answer = line.strip().lower()
            if not line:
                break
            for letter, action in ANSWERS.items():
                if answer and letter == answer[:1] and action.startswith(answer):
                    return action
    except KeyboardInterrupt:
        pass
    print(file=sys.stderr)
    return "keep"


def _do(action: UndoAction | None, found: Pending, config: MachineConfig) -> bool:
    from disks.vhd import undo

    if action == "keep":
        _tell(
            f"{found.size} are kept in {found.undo}; the next run with --undo goes on with them. "
            f"trapline disk merge --delete {found.undo} commits them, rm {found.undo} discards them"
        )
        return True
    try:
        if action == "commit":
            with progress(f"committing to {found.disk.name}", found.bytes) as done:
                undo.commit(found.disk, parent_rules(config), force=found.force, progress=done)
            _tell(f"{found.size} are committed to {found.disk}")
        else:
            undo.discard(found.disk)
            _tell(f"{found.size} of {found.disk} are discarded")
    except HOST_ERRORS as error:
        _tell_failed(found, str(error))
        return False
    return True


def _tell_failed(found: Pending, why: str) -> None:
    from disks.vhd import undo

    path = undo.half_committed(found.disk)
    if path is None:
        print_error(f"the undo disk {found.undo} is kept: {why}")
    else:
        print_error(f"the undo disk {path} is kept: {why}")
        _tell(f"{found.disk}: {undo.how_to_finish(path)}")


def _tell(text: str) -> None:
    print(f"trapline: {text}", file=sys.stderr, flush=True)
