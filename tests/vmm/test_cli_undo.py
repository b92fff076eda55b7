"""Undo disks at the end of a run: asked for, committed, kept, discarded; after a crash always kept."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import termios
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disks.errors import ImageBusyError
from disks.open import open_image
from disks.vhd import mergejob
from disks.vhd.undo import open_undo
from disks.vhd.undo_names import committing_path, undo_path
from tests.disks.conftest import make_child, make_vhd  # noqa: F401 - a fixture
from tests.vmm.terminal_rig import Terminal
from vmm.cli import status
from vmm.cli.job import Job, RunOptions
from vmm.cli.process import MachineProcess
from vmm.cli.supervisor import supervise
from vmm.cli.undo import settle
from vmm.config import DriveConfig, MachineConfig, UndoAction
from vmm.scsi_config import ScsiDrive

MakeVhd = Callable[..., Path]
SIZE = 3 << 20
BUS = "ide"
WRITTEN = b"\x42" * 512
# Write the boot sector to sector 1; end the run with 0
WRITER = "b8 01 03 b9 02 00 ba 80 00 bb 00 7c cd 13 b0 00 e6 f4 eb fe"
BOOT = bytes.fromhex(WRITER).ljust(510, b"\0") + b"\x55\xaa"
GUEST = """
    import os, sys
    from vmm.cli.job import Job
    from vmm.power_on import Drives
    job = Job.unpack(os.fdopen(int(sys.argv[1]), "rb").read())
    drives = Drives(job.config)
    drives.images[0].write(1, b"B" * 512)
    drives.images[0].flush()
"""


@pytest.fixture
def disk(make_vhd: MakeVhd) -> Path:  # noqa: F811
    path = make_vhd(SIZE)
    image = open_image(path)
    image.write(0, BOOT)
    image.close()
    return path


@pytest.fixture(params=["ide", "scsi"], autouse=True)
def bus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The controller of the disks of this module's machines."""
    chosen: str = request.param
    monkeypatch.setattr(sys.modules[__name__], "BUS", chosen)
    return chosen


def drives(*paths: Path) -> dict[str, Any]:
    """Return the fields of a machine with these disks."""
    if BUS == "ide":
        return {"hd": tuple(DriveConfig(path=str(path)) for path in paths)}
    return {"scsi_hd": tuple(ScsiDrive(path=str(path)) for path in paths)}


def config(disk: Path, action: UndoAction = "ask") -> MachineConfig:
    return MachineConfig(**drives(disk), undo=action).check()


def run(disk: Path, action: UndoAction, end: str) -> int:
    """Supervise a machine whose guest writes sector 1, and that comes to an `end`."""
    script = textwrap.dedent(GUEST) + end
    job = Job(config(disk, action), RunOptions())
    return supervise(job, MachineProcess([sys.executable, "-c", script]))


def sector_1(disk: Path) -> bytes:
    image = open_image(disk, read_only=True)
    try:
        return image.read(1, 1)
    finally:
        image.close()


def write_undo(disk: Path) -> None:
    image = open_undo(disk)
    image.write(1, WRITTEN)
    image.close()


END = "drives.close(); os._exit({})"


@pytest.mark.quick("ide-0", "scsi-0", "ide-4", "ide-6", "scsi-130")
@pytest.mark.parametrize(
    "code", [0, status.TIMEOUT, status.HALTED_FOREVER, status.SIGNAL_BASE + signal.SIGINT]
)
def test_commit_after_a_machine_that_ended_in_good_order(disk: Path, code: int) -> None:
    assert run(disk, "commit", END.format(code)) == code
    assert sector_1(disk) == WRITTEN
    assert not undo_path(disk).exists()


def test_discard(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(disk, "discard", END.format(0)) == 0
    assert sector_1(disk) == bytes(512)
    assert not undo_path(disk).exists()
    assert capfd.readouterr().err == f"trapline: 1 KiB of {disk} are discarded\n"


@pytest.mark.parametrize("action", ["keep", "ask"])
def test_kept_when_asked_to_and_where_nobody_can_be_asked(
    disk: Path, action: UndoAction, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(disk, action, END.format(0)) == 0
    assert sector_1(disk) == bytes(512)
    assert sector_1(undo_path(disk)) == WRITTEN
    said = capfd.readouterr().err
    assert f"kept in {undo_path(disk)}; the next run with --undo goes on" in said
    assert f"trapline disk merge --delete {undo_path(disk)} commits them" in said


@pytest.mark.quick(
    "ide-drives.close(); os._exit(1)-1-commit",
    "scsi-drives.close(); os._exit(1)-1-discard",
    "scsi-os.kill(os.getpid(), 9)-5-commit",
    "ide-os.kill(os.getpid(), 9)-5-discard",
    "ide-os.abort()-5-commit",
)
@pytest.mark.parametrize("action", ["commit", "discard"])
@pytest.mark.parametrize(
    ("end", "code"),
    [
        (END.format(status.ERROR), status.ERROR),
        ("os.kill(os.getpid(), 9)", status.ENGINE_DIED),
        ("os.abort()", status.ENGINE_DIED),
    ],
)
def test_always_kept_after_an_end_that_was_none(disk: Path, action: UndoAction, end: str, code: int) -> None:
    assert run(disk, action, end) == code
    assert sector_1(undo_path(disk)) == WRITTEN


def test_kept_when_a_second_signal_hurried_the_machine(disk: Path) -> None:
    script = textwrap.dedent(GUEST) + textwrap.dedent(
        """
        import signal, time
        signal.signal(signal.SIGINT, lambda number, frame: os.kill(os.getppid(), signal.SIGTERM))
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(100)
        """
    )
    job = Job(config(disk, "commit"), RunOptions())
    assert supervise(job, MachineProcess([sys.executable, "-c", script])) == 128 + signal.SIGTERM
    assert sector_1(undo_path(disk)) == WRITTEN


def test_an_undo_disk_that_holds_nothing_is_not_asked_about(
    disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    open_undo(disk).close()
    assert settle(config(disk), 0, orderly=False) == 0
    assert not undo_path(disk).exists()
    assert capfd.readouterr().err == ""


def test_an_empty_undo_disk_that_an_image_stands_on_is_kept(
    disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    open_undo(disk).close()
    make_child(disk.with_name("above.vhd"), undo_path(disk))
    assert settle(config(disk), 0, orderly=True) == status.ERROR
    assert undo_path(disk).exists()
    assert "above.vhd" in capfd.readouterr().err


def test_what_cannot_be_committed_is_kept_and_the_run_has_failed(
    disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_child(disk.with_name("sibling.vhd"), disk)
    write_undo(disk)
    assert settle(config(disk, "commit"), 0, orderly=True) == status.ERROR
    assert sector_1(undo_path(disk)) == WRITTEN
    assert f"trapline: error: the undo disk {undo_path(disk)} is kept: " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.EIO, "Input/output error"), status.ERROR)]
)
def test_a_commit_that_does_not_end_says_how_it_is_finished(
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    def stop(*_: object) -> None:
        raise error

    write_undo(disk)
    with monkeypatch.context() as patch:
        patch.setattr(mergejob, "merge_into", stop)
        assert settle(config(disk, "commit"), 0, orderly=True) == code
    half = committing_path(disk)
    said = capfd.readouterr().err
    assert f"trapline: error: the undo disk {half} is kept: " in said
    assert f"Finish the commit first: trapline disk merge --delete {half}\n" in said
    assert sector_1(half) == WRITTEN


def test_ctrl_c_in_a_commit_keeps_the_other_undo_disks(
    disk: Path,
    make_vhd: MakeVhd,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    second = make_vhd(SIZE, name="second.vhd")
    write_undo(disk)
    write_undo(second)
    monkeypatch.setattr(mergejob, "merge_into", stop)
    both = MachineConfig(**drives(disk, second), undo="commit")
    assert settle(both.check(), 0, orderly=True) == 130
    assert f"kept in {undo_path(second)}" in capfd.readouterr().err


def test_an_undo_disk_in_use_is_kept(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = open_undo(disk)
    assert settle(config(disk, "discard"), 0, orderly=True) == status.ERROR
    assert "by another machine" in capfd.readouterr().err
    with pytest.raises(ImageBusyError):
        open_undo(disk)
    image.close()


@pytest.mark.parametrize(
    ("typed", "committed", "kept"),
    [
        ("c\n", True, False),
        ("commit\n", True, False),
        ("Keep\n", False, True),
        ("d\n", False, False),
        ("\nwhat?\ncopy\ndiscard\n", False, False),
        ("", False, True),
    ],
)
def test_answers_at_the_terminal(
    disk: Path, monkeypatch: pytest.MonkeyPatch, typed: str, committed: bool, kept: bool
) -> None:
    write_undo(disk)
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    monkeypatch.setattr(termios, "tcflush", lambda descriptor, queue: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert settle(config(disk), 0, orderly=True) == 0
    assert (sector_1(disk) == WRITTEN) == committed
    assert undo_path(disk).exists() == kept


def test_after_a_hang_up_nobody_is_asked(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_undo(disk)
    monkeypatch.setattr(os, "isatty", lambda descriptor: True)
    assert settle(config(disk), status.SIGNAL_BASE + signal.SIGHUP, orderly=True) == 129
    assert undo_path(disk).exists()


@pytest.mark.quick("scsi")
def test_a_terminal_is_asked_when_the_guest_has_ended_the_run(disk: Path) -> None:
    terminal = Terminal(str(disk), "--undo", "-q")
    try:
        terminal.read_until(b"[c/k/d] ")
        assert terminal.restored_modes
        terminal.type(b"commit\n")
        assert terminal.end() == 0
        assert f"1 KiB are committed to {disk}".encode() in terminal.seen
    finally:
        terminal.close()
    assert sector_1(disk) == BOOT


@pytest.mark.quick("ide")
def test_ctrl_c_at_the_question_keeps(disk: Path) -> None:
    terminal = Terminal(str(disk), "--undo", "-q")
    try:
        terminal.read_until(b"[c/k/d] ")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0
        assert b"are kept in" in terminal.seen
    finally:
        terminal.close()
    assert sector_1(undo_path(disk)) == BOOT
