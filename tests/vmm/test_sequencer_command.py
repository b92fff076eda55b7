"""`sequencer` at the monitor's prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.aic7870 import registers as r
from devices.aic7870.assembler import assemble
from vmm.cli.monitor import MachineMonitor
from vmm.cli.sequencer_command import chip_of
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine
from vmm.scsi_config import ScsiAdapter

COUNT = """
again:  inc   SCRATCH
        mov   A, SCRATCH
        cmp   A, 0x20 jne again
wait:   jmp   wait
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    config = MachineConfig(
        hd=(DriveConfig(path=str(disk)),),
        scsi_adapters=(ScsiAdapter("virtio"), ScsiAdapter(), ScsiAdapter()),
        engine="portable",
    )
    with Machine(config) as built:
        yield built


@pytest.fixture
def monitor(machine: Machine) -> MachineMonitor:
    return MachineMonitor(machine, lambda: None, "")


def download(machine: Machine) -> None:
    """Load the program; the sequencer stays paused at its beginning."""
    chip = chip_of(machine)
    chip.write(r.SEQCTL, 1, 0x91)
    chip.write(r.SEQADDR, 2, 0)
    for word in assemble(COUNT):
        for at in range(4):
            chip.write(r.SEQRAM, 1, word >> 8 * at & 0xFF)
    chip.write(r.SEQCTL, 1, 0x90)
    chip.write(r.SEQADDR, 2, 0)


def test_it_shows_the_state_within_the_width_of_a_terminal(machine: Machine, monitor: MachineMonitor) -> None:
    download(machine)
    lines = monitor.run("sequencer")
    assert lines[0] == "PC 000  inc   SCRATCH"
    assert max(map(len, lines)) <= 79


def test_it_lists_the_program_with_the_pc_marked(machine: Machine, monitor: MachineMonitor) -> None:
    download(machine)
    lines = monitor.run("sequencer list")
    assert lines[0].startswith("> L000 000 ")
    assert len(lines) == 4
    assert monitor.run("sequencer list 002")[0].endswith("cmp   A, 0x20 jne L000")


def test_it_stops_the_machine_and_steps(machine: Machine, monitor: MachineMonitor) -> None:
    download(machine)
    assert monitor.run("sequencer break 002") == ["stops at: 002"]
    chip_of(machine).write(r.HCNTRL, 1, 0)
    assert machine.paused
    assert monitor.run("sequencer")[0].startswith("held at 002")
    lines = monitor.run("sequencer step 2")
    assert [line[:3] for line in lines if not line.startswith("--")] == ["pc ", "002", "000", "PC "]
    assert monitor.run("sequencer continue")[0].startswith("held at 002")
    assert monitor.run("sequencer delete 002")[0].startswith("stops at: nothing")
    assert monitor.run("sequencer continue") == ["running"]
    assert not machine.paused
    assert chip_of(machine).read(r.SCRATCH_RAM, 1) == 0x20


def test_it_is_the_first_chips_unless_another_is_named(machine: Machine, monitor: MachineMonitor) -> None:
    download(machine)
    assert monitor.run("sequencer scsi1") == monitor.run("sequencer")
    assert monitor.run("sequencer scsi1 break data-in") == ["stops at: data-in"]
    assert monitor.run("sequencer scsi2 break")[0].startswith("stops at: nothing")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("sequencer scsi2 list", "scsi2: no driver has downloaded"), ("sequencer scsi0", "adapter 0 has no"),
        ("sequencer list", "no driver has downloaded"), ("sequencer break here", "neither an address"),
        ("sequencer step 0", "expected 1 to"), ("sequencer jump", "expected sequencer"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(monitor: MachineMonitor, line: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        monitor.run(line)


def test_a_machine_without_the_chip_says_so(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    config = MachineConfig(hd=(DriveConfig(path=str(disk)),), engine="portable")
    with Machine(config) as built, pytest.raises(ValueError, match="no AIC-7870"):
        MachineMonitor(built, lambda: None, "").run("sequencer")
