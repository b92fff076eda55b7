"""The machine's process and its supervisor: death by signal, time-outs, signals passed on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vmm.cli import process, status
from vmm.cli.job import Job, RunOptions
from vmm.cli.process import MachineProcess
from vmm.cli.supervisor import check_disks, supervise
from vmm.config import DriveConfig, MachineConfig

ROOT = Path(__file__).parents[2]

# The job comes when the supervisor is ready for signals and has kept the terminal
AWAIT_JOB = "import os, sys; os.fdopen(int(sys.argv[1]), 'rb').read()\n"

RECORD = """
    import mmap, os, sys, signal, time
    from vmm.cpu.ring import BYTES, ExitRing
    ring = ExitRing(mmap.mmap(int(sys.argv[2]), BYTES))
    for number in range(40):
        ring.add(1 + number % 2, 0xF000, 0x1000 + number, 0, 0x60 + number, 0xAA, 1_000_000 * number)
"""


def python(text: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(text)]


def child(text: str) -> MachineProcess:
    return MachineProcess(python(text))


def job(tmp_path: Path, *, timeout_s: float | None = None, snapshot: bool = False) -> Job:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4096))
    config = MachineConfig(hd=(DriveConfig(path=str(disk)),), snapshot=snapshot)
    return Job(config, RunOptions(timeout_s=timeout_s))


def test_the_childs_status_is_passed_on(tmp_path: Path) -> None:
    assert supervise(job(tmp_path), child("raise SystemExit(71)")) == 71


def test_the_child_is_given_the_whole_job(tmp_path: Path) -> None:
    script = """
        import os, sys
        from vmm.cli.job import Job
        job = Job.unpack(os.fdopen(int(sys.argv[1]), "rb").read())
        raise SystemExit(len(job.config.hd) + 40)
    """

    assert supervise(job(tmp_path), child(script)) == 41


def test_a_dead_engine_has_its_own_status_and_shows_the_last_exits(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    died = supervise(job(tmp_path), child(RECORD + "    os.kill(os.getpid(), signal.SIGABRT)"))

    lines = capfd.readouterr().err.splitlines()
    assert died == status.ENGINE_DIED
    assert lines[0] == "trapline: error: the engine died: signal 6 (SIGABRT)"
    assert lines[1] == "the last 32 exits, newest last:"
    assert lines[-2].split() == ["0.039000000", "f000:00001027", "ring", "0", "io.out", "87h", "took", "aah"]
    assert lines[-1] == f"disk {tmp_path / 'disk.img'}: intact"


def test_an_engine_that_dies_before_any_exit_is_told_as_well(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    died = supervise(job(tmp_path), child("import os; os.kill(os.getpid(), 11)"))

    assert died == status.ENGINE_DIED
    assert "(SIGSEGV)\nno exits were recorded\n" in capfd.readouterr().err


def test_a_machine_that_overruns_its_time_out_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    monkeypatch.setattr(process, "LOADING_S", 0.2)

    outcome = supervise(job(tmp_path, timeout_s=0.1), child("import time; time.sleep(60)"))

    assert outcome == status.TIMEOUT
    assert "did not stop at its time-out and was killed" in capfd.readouterr().err


def test_what_a_machine_takes_to_load_is_not_held_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    script = """
        import mmap, sys, time
        from vmm.clock import host_ns
        from vmm.cpu.ring import BYTES, note_begin
        time.sleep(0.6)
        note_begin(mmap.mmap(int(sys.argv[2]), BYTES), host_ns())
        time.sleep(0.1)
        raise SystemExit(7)
    """
    assert supervise(job(tmp_path, timeout_s=0.1), child(script)) == 7


def test_check_disks_tells_intact_unchanged_and_damaged(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"

    assert check_disks(job(tmp_path)) == [f"disk {disk}: intact"]
    assert check_disks(job(tmp_path, snapshot=True)) == [f"disk {disk}: intact, unchanged"]
    missing = MachineConfig(hd=(DriveConfig(path="/nowhere/x.vhd"),))
    assert check_disks(Job(missing, RunOptions()))[0].startswith("disk /nowhere/x.vhd: damaged: ")


def start_supervised(tmp_path: Path, script: str) -> subprocess.Popen[bytes]:
    """Run `supervise` over a child of `script` in a process of its own, as the command does."""
    runner = f"""
        import sys
        from vmm.cli.job import Job, RunOptions
        from vmm.cli.process import MachineProcess
        from vmm.cli.supervisor import supervise
        from vmm.config import MachineConfig
        child = [sys.executable, "-c", {AWAIT_JOB + textwrap.dedent(script)!r}]
        raise SystemExit(supervise(Job(MachineConfig(), RunOptions()), MachineProcess(child)))
    """
    started = subprocess.Popen(python(runner), cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert started.stdout is not None
    assert started.stdout.readline() == b"up\n"
    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_machine(tmp_path: Path, number: signal.Signals) -> None:
    script = f"""
        import signal, sys, time
        signal.signal({int(number)}, lambda number, frame: sys.exit(90 + number))
        print("up", flush=True)
        time.sleep(100)
    """
    with start_supervised(tmp_path, script) as started:
        started.send_signal(number)

        assert started.wait(60) == 90 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_machine_listens_is_no_death_of_the_engine(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    script = """
        import signal, time
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print("up", flush=True)
        time.sleep(100)
    """
    with start_supervised(tmp_path, script) as started:
        started.send_signal(number)

        assert started.wait(60) == status.SIGNAL_BASE + number
    assert capfd.readouterr().err == ""


def test_a_machine_that_ignores_ctrl_c_is_killed_by_the_next(tmp_path: Path) -> None:
    script = """
        import signal, time
        signal.signal(signal.SIGINT, lambda number, frame: print("heard", flush=True))
        print("up", flush=True)
        time.sleep(100)
    """
    with start_supervised(tmp_path, script) as started:
        started.send_signal(signal.SIGINT)
        assert started.stdout is not None
        assert started.stdout.readline() == b"heard\n"  # the time to be patient for has begun
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(process.PATIENCE_NS / 1e9 + 0.3)
        started.send_signal(signal.SIGINT)

        assert started.wait(60) == status.SIGNAL_BASE + signal.SIGINT


def test_the_terminal_is_restored_when_the_machine_dies_raw(tmp_path: Path) -> None:
    import pty
    import termios

    script = f"""
        import os, sys, tty
        from vmm.cli.job import Job, RunOptions
        from vmm.cli.process import MachineProcess
        from vmm.cli.supervisor import supervise
        from vmm.config import MachineConfig
        child = [sys.executable, "-c", {AWAIT_JOB + "import tty; tty.setraw(0); os.abort()"!r}]
        raise SystemExit(supervise(Job(MachineConfig(), RunOptions()), MachineProcess(child)))
    """
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    done = subprocess.run(
        python(script), cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, timeout=100, check=False
    )
    after = termios.tcgetattr(slave)
    os.close(master)
    os.close(slave)

    assert done.returncode == status.ENGINE_DIED
    assert after == before
