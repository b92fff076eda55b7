"""`trapline compare --disk-paths`: counting between marks, the table, and Snare by its drivers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from vmm.cli import run_command, status
from vmm.cli.disk_path_child import PathJob, PathOutcome, Work, run
from vmm.cli.disk_paths import IDE_PIO, Measured, work_facts
from vmm.cli.disk_paths_table import print_paths
from vmm.config import DriveConfig, MachineConfig
from vmm.trace.events import ExitCount

# Prints what follows it on COM1, reads port 80h 100 times for each '#', ends at a 0
PRINTER = bytes.fromhex("fc31c08ed8be257cacbaf8033c23740784c0740ceeebf1b96400e480e2fcebe8b000e6f4f4")
WORK = Work(
    sectors=100,
    host_ns=1_000_000,
    exits={
        "io.in": ExitCount(300),
        "interrupt": ExitCount(7),
        "mmio.write": ExitCount(2),
        "hypercall.block_op": ExitCount(1),
        "rdtsc": ExitCount(90),
    },
)


def outcome_of(folder: Path, text: str) -> PathOutcome:
    image = folder / "disk.img"
    image.write_bytes((PRINTER + text.encode()).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return run(PathJob(MachineConfig(hd=(DriveConfig(path=str(image)),), clock="virtual"), 60))


def test_exits_between_the_marks_are_counted_and_no_others(tmp_path: Path) -> None:
    outcome = outcome_of(
        tmp_path, "#disk-path read begins\n##disk-path read ends: 25 sectors\n#disk-path done\n"
    )
    work = outcome.work["read"]
    assert outcome.fault == ""
    assert work.sectors == 25
    assert work.exits["io.in"].count == 200
    assert work.exits["io.out"].count == len("disk-path ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("disk-path fails: no disk\n", "no disk"),
        ("disk-path read ends: 5 sectors\n", "read ends: 5 sectors"),
        ("disk-path done\n", "the guest did nothing"),
        ("nothing\n", "exit before COM1 showed 'disk-path'"),
    ],
)
def test_a_guest_that_does_not_do_the_work_is_told_of(tmp_path: Path, text: str, fault: str) -> None:
    assert outcome_of(tmp_path, text) == PathOutcome(fault=fault)


def test_facts_are_of_one_sector() -> None:
    facts = work_facts(WORK)
    assert facts["exits_per_sector"] == 4
    assert facts["by_group_per_sector"] == {
        "port": 3, "MMIO": 0.02, "interrupt": 0.07, "hypercall": 0.01, "other": 0.9,
    }  # fmt: skip
    assert facts["bytes_per_exit"] == 128
    assert facts["interrupts"] == 7
    assert facts["host_us_per_sector"] == 10


def test_the_table_has_a_row_a_path_and_says_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    print_paths(
        [Measured(IDE_PIO, PathOutcome({"read": WORK})), Measured(IDE_PIO, PathOutcome(fault="no disk"))],
        stream,
    )
    lines = [line.split() for line in stream.getvalue().splitlines()]
    assert ["IDE,", "PIO", "4.000", "3.000", "0.020", "0.070", "0.010", "0.900", "128", "7", "10.0"] in lines
    assert ["IDE,", "PIO:", "no", "disk"] in lines
    assert "…" not in stream.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["guest:selftest"], "expected guest:snare, or --kernel and --initrd"),
        (["guest:snare", "--kernel", "vmlinuz"], "leave out --kernel or the image"),
        (["--technique", "trap"], "say nothing of disks"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "--disk-paths", *arguments]) == status.USAGE
    assert message in capsys.readouterr().err


@pytest.mark.guest
@pytest.mark.verify
def test_snare_needs_fewer_exits_by_its_ring(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "--disk-paths", "--json"]) == status.OK
    found = {path["path"]: path for path in json.loads(capsys.readouterr().out)["paths"]}
    for way in ("read", "write"):
        assert found["ide-pio"][way]["sectors"] == found["ring"][way]["sectors"] == 4096
        assert found["ide-pio"][way]["interrupts"] >= 4096
        assert found["ring"][way]["exits"]["hypercall.block_op"]["count"] >= 32
        assert found["ring"][way]["exits_per_sector"] < 1
