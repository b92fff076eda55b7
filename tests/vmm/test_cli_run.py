"""`trapline run`, whole: small boot sectors, their statuses, and what is shown of them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.disks.conftest import MakeVhd, make_child, make_vhd  # noqa: F401 - a fixture
from vmm.cli import status

ROOT = Path(__file__).parents[2]

HALT = "fa f4 eb fd"  # cli; hlt
TRIPLE = "0f 01 1e 09 7c cd 03 eb fe 00 00 00 00 00 00"  # lidt of an empty table; int3
SPIN = "eb fe"
EXIT_5 = "b0 05 e6 f4 eb fe"  # out F4h, 5
PRINT = "ba 78 03 b0 50 ee ba 7a 03 b0 0d ee b0 0c ee e6 f4 fa f4"  # P to the printer; the end
FLOOD = "ba f8 03 b0 78 ee eb fd"  # COM1: 'x' for ever
ECHO = "ba fd 03 ec a8 01 74 f8 ba f8 03 ec ee eb f1"  # COM1: what comes in goes out


SECTORS = {"halt": HALT, "triple": TRIPLE, "spin": SPIN, "exit5": EXIT_5, "echo": ECHO, "flood": FLOOD}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, code in {
        "halt": HALT,
        "triple": TRIPLE,
        "spin": SPIN,
        "exit5": EXIT_5,
        "echo": ECHO,
        "flood": FLOOD,
        "print": PRINT,
    }.items():
        sector = bytes.fromhex(code).ljust(510, b"\0") + b"\x55\xaa"
        (tmp_path / name).write_bytes(sector.ljust(64 * 512, b"\0"))
    (tmp_path / "blank").write_bytes(bytes(64 * 512))
    return tmp_path


def trapline(folder: Path, *arguments: str, typed: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "vmm.cli", "run", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "90"},
        input=typed,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_value_at_the_exit_port_becomes_the_status(folder: Path) -> None:
    done = trapline(folder, "exit5")

    assert done.returncode == status.GUEST_BASE + 5
    assert "trapline: the guest ended the run with 5; " in done.stderr


def test_the_exit_table_ends_a_run(folder: Path) -> None:
    done = trapline(folder, "exit5")

    assert re.search(r"^ *io\.out +port write +\d+ +\d+\.\d % +[\d,]+ +[\d.,]+", done.stderr, re.MULTILINE)
    assert re.search(r"^ *\d+ reasons +\d+ +100\.0 %", done.stderr, re.MULTILINE)


def test_a_triple_fault_shows_registers_and_the_last_exits(folder: Path) -> None:
    done = trapline(folder, "triple", "-q")

    assert done.returncode == status.TRIPLE_FAULT
    assert "EIP 00007c05" in done.stderr  # the INT whose delivery failed
    assert done.stderr.splitlines()[-1].endswith("triple-fault")


def test_a_machine_halted_for_ever_says_so(folder: Path) -> None:
    done = trapline(folder, "halt", "-q")

    assert done.returncode == status.HALTED_FOREVER
    assert "halted for ever" in done.stderr


def test_a_disk_without_boot_sector_ends_with_what_the_firmware_said(folder: Path) -> None:
    done = trapline(folder, "blank", "-q", "--timeout", "20")

    assert done.returncode == status.ERROR
    assert done.stderr == "trapline: error: no bootable device (hd 80h: no boot sector (55AAh missing))\n"


def test_a_parent_that_is_not_found_is_told_with_all_that_was_tried(folder: Path, make_vhd: MakeVhd) -> None:  # noqa: F811
    base = make_vhd(1 << 20, name="base.vhd")
    child = make_child(folder / "child.vhd", base)
    base.unlink()
    done = trapline(folder, str(child), "-q")

    lines = done.stderr.splitlines()
    assert done.returncode == status.ERROR
    assert lines[0].startswith(f"trapline: error: {child}: its parent ")
    assert [line.split()[0] for line in lines[1:-1]] == ["tried"] * len(lines[1:-1])
    assert lines[-1] == f"  Put it back, or name it: trapline disk reparent {child} PARENT"


def test_what_is_odd_about_a_chain_is_a_warning_at_the_start(folder: Path, make_vhd: MakeVhd) -> None:  # noqa: F811
    base = make_vhd(1 << 20, name="base.vhd")
    child = make_child(folder / "child.vhd", base)
    os.utime(base, (0, 0))
    done = trapline(folder, str(child), "-q", "--timeout", "20")

    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"trapline: warning: {child}: its parent {base} has another time")
    assert "warning" not in "".join(rest)


def test_a_time_out_has_its_own_status(folder: Path) -> None:
    assert trapline(folder, "spin", "-q", "--timeout", "0.3").returncode == status.TIMEOUT


def test_text_that_does_not_come_is_named(folder: Path) -> None:
    late = trapline(folder, "spin", "-q", "--timeout", "0.3", "--expect", "ready")
    never = trapline(folder, "exit5", "-q", "--expect", "ready")

    assert late.returncode == status.TIMEOUT
    assert "the text 'ready' did not come" in late.stderr
    assert never.returncode == status.GUEST_BASE + 5


def test_what_is_sent_is_heard_and_what_is_expected_ends_the_run(folder: Path) -> None:
    done = trapline(
        folder, "echo", "-q", "--timeout", "20", "--expect", "", "--send", "serial:abc", "--expect", "abc"
    )

    assert done.returncode == status.OK
    assert done.stdout == "abc"


def test_stdin_is_com1(folder: Path) -> None:
    done = trapline(folder, "echo", "-q", "--timeout", "20", "--expect", "hello", typed=b"hello")

    assert done.stdout == "hello"


def test_a_serial_port_may_end_in_a_file(folder: Path) -> None:
    arguments = ("--expect", "", "--send", "serial:abc", "--expect", "abc", "--timeout", "20")
    trapline(folder, "echo", "-q", "--serial", "file:com1.log", *arguments)

    assert (folder / "com1.log").read_bytes() == b"abc"


def test_a_printer_prints_on_a_file(folder: Path) -> None:
    trapline(folder, "print", "-q", "--parallel", "paper", "--timeout", "20")

    assert (folder / "paper").read_bytes() == b"P"


def test_json_is_one_line_on_stdout(folder: Path) -> None:
    done = trapline(folder, "exit5", "--json")
    facts = json.loads(done.stdout)

    assert (facts["status"], facts["reason"], facts["exit_code"]) == (69, "exit", 5)
    assert "io.out" in {row["reason"] for row in facts["exits"]}
    assert done.stderr == ""


def test_exits_are_traced_and_explained(folder: Path) -> None:
    done = trapline(folder, "exit5", "-q", "--explain", "--trace-reason", "io.out", "--trace", "exits")
    *_, line, why, kind, techniques = done.stderr.splitlines()

    assert re.search(r" 0000:7c02 +out 0xf4, al +io\.out ", line)
    assert "VT-x: exit reason 30" in why
    assert kind.lstrip().startswith("Class: privileged")
    assert "hardware: a VM exit" in techniques


def test_instructions_are_traced_with_what_they_changed(folder: Path) -> None:
    done = trapline(
        folder, "exit5", "-q", "--trace", "instructions", "--trace-range", "0x7c00+2", "--trace-count", "1"
    )

    assert re.search(r" 0000:7c00 +0 +b0 05 +mov al, 5 +eax=5$", done.stderr.strip())


def test_a_trace_file_may_be_json_lines(folder: Path) -> None:
    trapline(folder, "exit5", "-q", "--trace", "exits=run.jsonl")
    events = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]

    assert events[-1]["instruction"] == "out 0xf4, al"
    assert all(event["event"] == "exit" for event in events)


def test_the_last_screen_of_a_silent_guest_is_printed(folder: Path) -> None:
    assert "| Trapline BIOS" in trapline(folder, "exit5").stdout


def test_a_machine_file_runs(folder: Path) -> None:
    (folder / "machine.toml").write_text("memory = '16M'\n[[hd]]\npath = 'exit5'\n")

    done = trapline(folder, "machine.toml", "-q", "--snapshot")

    assert done.returncode == status.GUEST_BASE + 5


def test_folders_of_our_names_in_the_working_directory_are_not_taken_for_ours(folder: Path) -> None:
    (folder / "disks").mkdir()
    (folder / "disks/__init__.py").write_text("raise SystemExit('the wrong package')")

    assert trapline(folder, "exit5", "-q").returncode == status.GUEST_BASE + 5


def test_the_terminal_is_com1_until_the_monitor_key(folder: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "vmm.cli", "run", str(folder / "echo"), "-q", "--timeout", "100"]
    with subprocess.Popen(command, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave) as running:
        os.close(slave)
        read_until(master, b"ends the run")
        os.write(master, b"a\x03b")
        assert read_until(master, b"b").endswith(b"a\x03b")
        os.write(master, b"\x1dreg")
        read_until(master, b"trapline> reg")
        os.write(master, b"\r")
        read_until(master, b"EFLAGS")
        os.write(master, b"q\r")

        assert running.wait(60) == status.OK
    os.close(master)


def read_until(descriptor: int, text: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + 60
    while text not in seen:
        assert time.monotonic() < deadline
        seen += os.read(descriptor, 256)
    return seen


def test_a_reader_that_does_not_read_holds_nothing_up(folder: Path) -> None:
    """The machine ends at its time-out by itself; what the reader then takes is what the guest sent."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "vmm.cli", "run", "flood", "--timeout", "1"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.wait(60) == status.TIMEOUT
    output, errors = process.communicate(timeout=60)
    assert output
    assert set(output) == {ord("x")}
    assert b"killed" not in errors


@pytest.mark.parametrize(
    ("option", "where"),
    [
        ("--serial=file:/dev/full", "COM1 file:/dev/full"),
        ("--trace=exits=/dev/full", "--trace: /dev/full"),
    ],
)
def test_a_full_disk_is_named(folder: Path, option: str, where: str) -> None:

    done = trapline(folder, "flood", "--timeout", "3", option)

    assert f"trapline: error: {where}: No space left on device" in done.stderr
    assert done.returncode == status.ERROR


def test_a_working_directory_that_is_gone_is_no_obstacle(folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()
    command = f"cd gone && rmdir ../gone && exec {sys.executable} -P -m vmm.cli run {folder}/exit5"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == status.GUEST_BASE + 5


def test_kernel_and_text_that_are_no_utf_8_are_run_as_any_other(folder: Path) -> None:
    name = os.fsdecode(b"k\xff")
    (folder / name).write_bytes(bytes.fromhex(EXIT_5))
    done = trapline(folder, "--kernel", name, "-q", "--display", "none")
    assert (done.returncode, done.stderr) == (status.GUEST_BASE + 5, "")
    for option in ("--append", "--initrd"):
        refused = trapline(folder, "--kernel", name, option, name, "-q", "--display", "none")
        assert refused.stderr.startswith("trapline: error: k\\udcff: taken for a flat binary")
    assert trapline(folder, "exit5", "-q", "--expect", name).returncode == status.GUEST_BASE + 5
