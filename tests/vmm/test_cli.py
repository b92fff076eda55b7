"""The command: help, statuses, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from vmm import __version__
from vmm.cli import run as run_module
from vmm.cli import run_command, status
from vmm.cli.doctor import BAD, MISSING
from vmm.cli.image_argument import machine_of
from vmm.cli.wires import serial_ports
from vmm.config import SerialConfig

ROOT = Path(__file__).parents[2]
RUN_OPTIONS = """--hd --cd --boot --memory --bios --vgabios --kernel --initrd --append --entry
--load-address --serial --display
--snapshot --expect --send --timeout --screenshot --engine --clock --trace --explain --json --msr
--technique --translation --paging"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    return path


def run_trapline(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vmm.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == status.OK

    text = ANSI.sub("", capsys.readouterr().out)
    for verb in ("run", "compare", "disk", "doctor", "version"):
        assert re.search(rf"^│ {verb} ", text, re.MULTILINE)


def test_help_of_run_tells_options_and_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "--help"]) == status.OK

    text = ANSI.sub("", capsys.readouterr().out)
    for option in RUN_OPTIONS.split():
        assert option in text
    for code, meaning in status.MEANINGS.items():
        assert f"{code}  {meaning}" in text


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version_is_printed(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert run_command([word]) == status.OK
    assert capsys.readouterr().out == f"trapline {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "nothing to run"),
        (["run", "/nowhere/disk.img"], 1, "image /nowhere/disk.img: no such file"),
        (["run", "/tmp"], 1, "it is a directory"),
        (["run", "/nowhere/machine.toml"], 1, "machine file /nowhere/machine.toml: no such file"),
        (["run", "--kernel", "/nowhere"], 1, "kernel /nowhere: no such file"),
        (["run", "DISK", "--memory", "lots"], 2, "memory 'lots'"),
        (["run", "DISK", "--boot", "net"], 2, "boot 'net': expected one of floppy, cd, hd"),
        (["run", "DISK", "--cpu", "z80"], 2, "cpu 'z80': expected one of core2duo, pentium3"),
        (["run", "DISK", "--serial", "tcp"], 2, "serial port 'tcp'"),
        (["run", "DISK", "--timeout", "0"], 2, "--timeout 0"),
        (["run", "DISK", "--timeout", "nan"], 2, "--timeout nan"),
        (["run", "DISK", "--trace", "all"], 2, "--trace 'all'"),
        (["run", "DISK", "--trace", "exits", "--trace", "exits"], 2, "given twice"),
        (["run", "DISK", "--trace-count", "5"], 2, "need --trace"),
        (["run", "DISK", "--trace-range", "x", "--trace", "instructions"], 2, "address range 'x'"),
        (["run", "DISK", "--send", "\\q"], 2, "no escape"),
        (
            ["run", "DISK", "--screenshot", "/nowhere/x.png"],
            1,
            "--screenshot /nowhere/x.png: no such directory",
        ),
        (["run", "DISK", "--display", "terminal"], 2, "needs a terminal"),
        (["run", "DISK", "--memory", ""], 2, "memory ''"),
        (["run", "DISK", "--memory", "9" * 5000], 2, "memory '9999999999999999999999999999999999999...'"),
        (["run", "DISK", "--boot", ""], 2, "boot ''"),
        (["run", "DISK", "--send", "serial3:x"], 2, "there are serial: and serial2:"),
        (["run", "DISK", "--trace", "exits="], 2, "--trace 'exits='"),
        (["run", "DISK", "--trace", "exits=t", "--trace", "instructions=t"], 2, "cannot both go to t"),
        (
            ["run", "DISK", "--trace", "exits", "--trace-reason", "nonsense"],
            2,
            "no reason begins so; there are",
        ),
        (["run", "DISK", "--trace", "instructions", "--trace-reason", "io"], 2, "it needs --trace exits"),
        (["run", "DISK", "--trace", "exits", "--trace-range", "0-5"], 2, "it needs --trace instructions"),
        (["run", "DISK", "--screenshot", ""], 2, "expected a name that ends in .png"),
        (["run", "DISK", "--screenshot", "x.jpg"], 2, "expected a name that ends in .png"),
        (["run", "DISK", "--json", "--serial", "stdio"], 2, "both want standard output"),
        (["disk", "create", "a.img", "10M", "--sparse"], 2, "--sparse is for fixed VHD images"),
        (
            ["disk", "create", "a.vhd", "10M", "--type", "fixed", "--block-size", "512K"],
            2,
            "--block-size is for",
        ),
        (["disk", "create", "/nowhere/a.vhd", "10M"], 1, "/nowhere/a.vhd: no such directory"),
        (["run", "DISK", "--engine", "fast"], 2, "'fast' is not one of 'auto', 'portable', 'accelerated'"),
        (["run", "DISK", "--bogus"], 2, "No such option: --bogus"),
        (["run", "DISK", "extra"], 2, "unexpected extra argument"),
        (["bogus"], 2, "No such command 'bogus'"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(
    arguments: list[str], code: int, message: str, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command([str(disk) if word == "DISK" else word for word in arguments])

    error = capsys.readouterr().err
    assert outcome == code
    assert message in error
    assert error.startswith("trapline: error: ")
    assert error.count("\n") == 1


def test_our_own_bugs_are_one_line_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], disk: Path
) -> None:
    def fail(image: Path | None, cleanup: ExitStack, *, paravirtual: bool) -> None:
        raise AssertionError("impossible")

    monkeypatch.setattr(run_module, "machine_of", fail)

    assert run_command(["run", str(disk)]) == status.ERROR
    assert "this is our bug, AssertionError: impossible" in capsys.readouterr().err
    monkeypatch.setenv("TRAPLINE_DEBUG", "1")
    with pytest.raises(AssertionError):
        run_command(["run", str(disk)])


def test_an_interruption_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vmm.cli.build_app", interrupt)

    assert run_command(["guests"]) == status.INTERRUPTED
    assert capsys.readouterr().err == ""


def test_an_image_is_a_cd_by_name_or_by_its_volume_descriptor(tmp_path: Path) -> None:
    plain, named, described, hybrid = (tmp_path / name for name in ("a.img", "b.ISO", "c.img", "d.img"))
    image = bytearray(0x9000)
    plain.write_bytes(image)
    named.write_bytes(image)
    image[0x8001:0x8006] = b"CD001"
    described.write_bytes(image)
    image[510:512] = b"\x55\xaa"
    hybrid.write_bytes(image)

    machines = [machine_of(path, ExitStack()) for path in (plain, named, described, hybrid)]

    assert [bool(machine.cd) for machine in machines] == [False, True, True, False]
    assert [bool(machine.hd) for machine in machines] == [True, False, False, True]


def test_com1_is_the_terminal_unless_something_else_needs_it() -> None:
    from vmm.cli.job import DisplayOptions, RunOptions

    options = RunOptions()

    assert serial_ports(None, (), options) == (SerialConfig("stdio"),)
    assert serial_ports(["null"], (), options) == (SerialConfig("null"),)
    assert serial_ports(None, (), RunOptions(json=True)) == ()
    assert serial_ports(None, (), RunOptions(display=DisplayOptions(kind="terminal"))) == ()


def test_doctor_says_which_engine_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--json"]) == status.OK
    found = json.loads(capsys.readouterr().out)

    assert found["unicorn"]["found"] == "2.1.4"
    assert found["state layout"]["found"].startswith("proved")
    assert re.match("(accelerated|portable): .", found["engine"]["found"])


def test_doctor_fails_when_guests_cannot_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRAPLINE_ENGINE", "steam")

    assert run_command(["doctor", "--json"]) == status.ERROR
    assert json.loads(capsys.readouterr().out)["engine"]["state"] == BAD


def test_doctor_names_missing_tools(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)

    run_command(["doctor"])
    text = ANSI.sub("", capsys.readouterr().out)

    assert re.search(rf"nasm +{MISSING} +not found; it rebuilds our own guests", text)


HEAVY = (
    "unicorn",
    "numpy",
    "capstone",
    "rich",
    "construct",
    "pydantic",
    "typer",
    "vmm.techniques.deprivileged",
)


def loaded(script: str) -> set[str]:
    """Return which of the modules that take long to load a script has loaded."""
    asking = f"{script}; import sys; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", asking], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_command_line_loads_neither_engine_nor_tables() -> None:
    script = (
        "from typer.main import get_command; from vmm.cli import build_app; get_command(build_app(['run']))"
    )
    assert loaded(script) == {"typer"}


def test_the_process_of_a_bare_machine_loads_only_what_that_needs() -> None:
    assert loaded("import vmm.cli.child, vmm.cli.session") == {"unicorn", "construct"}


def test_completion_offers_verbs_and_options() -> None:
    done = run_trapline(_TRAPLINE_COMPLETE="complete_bash", COMP_WORDS="trapline ru", COMP_CWORD="1")

    assert "run" in done.stdout.split()


def test_a_closed_pipe_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "vmm.cli", "run", "--help"],
            cwd=ROOT,
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert "Traceback" not in done.stderr
