"""The prompt's `vmcb`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmm.cli.monitor import MachineMonitor
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

SPIN = bytes.fromhex("eb fe").ljust(510, b"\0") + b"\x55\xaa"


def machine(folder: Path, technique: str) -> Machine:
    disk = folder / "disk.img"
    disk.write_bytes(SPIN.ljust(1 << 20, b"\0"))
    config = MachineConfig(hd=(DriveConfig(path=str(disk)),), technique=technique, engine="portable")  # type: ignore[arg-type]
    return Machine(config)


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[MachineMonitor]:
    with machine(tmp_path, "hardware") as built:
        yield MachineMonitor(built, lambda: None, "")


def test_it_shows_all_within_the_width_of_a_terminal(monitor: MachineMonitor) -> None:
    lines = monitor.run("vmcb")
    assert "control area:" in lines
    assert "state save area:" in lines
    assert lines[0] == "no exit yet"
    assert max(map(len, lines[2:])) <= 79


def test_a_field_is_shown_and_set(monitor: MachineMonitor) -> None:
    assert monitor.run("vmcb show rip") == ["rip 000000000000fff0h"]
    assert monitor.run("vmcb set rax 1234h") == ["rax 0000000000001234h"]
    assert monitor.run("vmcb show rax") == ["rax 0000000000001234h"]


def test_controls_are_armed_and_disarmed(monitor: MachineMonitor) -> None:
    assert "pushf" in monitor.run("vmcb arm pushf")[0]
    assert "pushf" not in monitor.run("vmcb disarm pushf")[0]


@pytest.mark.parametrize(("line", "why"), [
    ("vmcb show rbx", "rbx: no field"), ("vmcb set rax", "expected show"),
    ("vmcb set rax ten", "ten: no number"),
    ("vmcb set exitcode 1", "can only be read"), ("vmcb disarm ltr", "ltr: it has to exit"),
    ("vmcb disarm pushf", "pushf: it does not exit"), ("vmcb arm nothing", "no control 'nothing'"),
    ("vmcb set rax 1 2", "too many words"),
])  # fmt: skip
def test_what_is_wrong_is_said(monitor: MachineMonitor, line: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        monitor.run(line)


def test_fields_are_completed(monitor: MachineMonitor) -> None:
    assert monitor.complete("vmcb set event") == ["vmcb set eventinj"]


def test_under_another_technique_there_is_none(tmp_path: Path) -> None:
    with machine(tmp_path, "bare") as built, pytest.raises(ValueError, match="--technique hardware"):
        MachineMonitor(built, lambda: None, "").run("vmcb")
