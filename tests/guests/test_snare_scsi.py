"""Snare on a SCSI disk: its driver for the AIC-7870, by interrupts and by polling, without a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from devices.aic7870 import registers as r
from devices.aic7870.chip import Aic7870
from devices.backplane import IrqLine
from tests.disks.conftest import make_child
from tests.guests.assets.chains import breaches, digests
from tests.guests.assets.snare import ARRAY, LIMIT_S, PROMPT, Shell, array, failures, fields, medium
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine
from vmm.scsi_config import ScsiAdapter, ScsiDrive

pytestmark = pytest.mark.guest

POLLED = "scsi=pio"
NO_WAIT_IN_VAIN = ", 0 missed, 0 timeouts\n"


def chain(folder: Path, command_line: str = "") -> list[Path]:
    """Return a dynamic VHD with Snare on it, its child, and the child of that."""
    base = medium("hd", folder, command_line)
    child = make_child(folder / "child.vhd", base)
    return [base, child, make_child(folder / "grandchild.vhd", child)]


def on_id_0(disk: Path, **more: object) -> MachineConfig:
    return MachineConfig(scsi_hd=(ScsiDrive(path=str(disk), id=0),), **more)  # type: ignore[arg-type]


def chip(machine: Machine, number: int = 0) -> Aic7870:
    found = [part for part in machine.board.cards if isinstance(part, Aic7870)]
    return found[number]


def scsi_line(text: str) -> str:
    return next(line for line in text.splitlines(keepends=True) if line.startswith("SCSI: "))


def engines(modes: Iterable[str]) -> list[Any]:
    """All on the accelerated engine; the slow one for `make verify`."""
    return [
        pytest.param(engine, mode, marks=[pytest.mark.verify] if engine == "portable" else [],
                     id=f"{engine}-{mode or 'interrupts'}")
        for engine in ("accelerated", "portable") for mode in modes
    ]  # fmt: skip


@pytest.mark.parametrize(("engine", "mode"), engines(("", POLLED)))
def test_the_array_is_the_same_from_id_0_of_a_childs_child(
    engine: str, mode: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if engine == "accelerated":
        request.getfixturevalue("accelerated")
    *parents, disk = chain(tmp_path, f"exit {mode}".strip())
    before = digests(parents)
    with Machine(on_id_0(disk, engine=engine)) as machine:
        result = machine.run(timeout_s=LIMIT_S)
        output = machine.serial_output(0)
        assert chip(machine).interrupts.paused()
        assert chip(machine).instructions == 0
    assert (result.reason, result.exit_code) == ("exit", 0), output.decode()
    assert array(output) == ARRAY
    assert breaches(disk) == []
    assert digests(parents) == before


@pytest.mark.parametrize("mode", ["", POLLED])
def test_interrupts_come_unless_they_are_not_wanted(accelerated: str, mode: str, tmp_path: Path) -> None:
    disk = medium("hd", tmp_path, f"notest {mode}".strip())
    with Machine(on_id_0(disk, engine=accelerated)) as machine:
        shell = Shell(machine)
        shell.wait()
        text = shell.type("disk")
    assert "* scsi0 SCSI " in text
    assert text.count(NO_WAIT_IN_VAIN) == 2
    assert scsi_line(text).startswith("SCSI: 0 interrupts") == (mode == POLLED)


def test_what_is_written_to_the_scsi_disk_survives_power_off(accelerated: str, tmp_path: Path) -> None:
    *parents, disk = chain(tmp_path, "notest")
    before = digests(parents)
    with Machine(on_id_0(disk, engine=accelerated)) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "readme" in shell.type("dir")
        shell.type("write kept across the power-off")
        shell.type("erase hello")
    with Machine(on_id_0(disk, engine=accelerated)) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "\nacross the power-off\n" in shell.type("type kept")
        assert "hello" not in shell.type("dir")
    assert breaches(disk) == []
    assert digests(parents) == before


def test_the_same_disk_goes_from_ide_to_scsi(accelerated: str, tmp_path: Path) -> None:
    disk = medium("hd", tmp_path, "notest")
    with Machine(MachineConfig(engine=accelerated, hd=(DriveConfig(path=str(disk)),))) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "* ide0  IDE " in shell.type("disk")
        shell.type("write moved from IDE")
    with Machine(on_id_0(disk, engine=accelerated)) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "\nfrom IDE\n" in shell.type("type moved")


def test_disks_of_every_id_and_adapter_are_found_and_ide_comes_first(
    accelerated: str, tmp_path: Path
) -> None:
    disks = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        disks.append(medium("hd", folder, "notest"))
    config = MachineConfig(
        engine=accelerated, hd=(DriveConfig(path=str(disks[0])),),
        scsi_adapters=(ScsiAdapter(), ScsiAdapter()),
        scsi_hd=(ScsiDrive(path=str(disks[1]), id=5), ScsiDrive(path=str(disks[2]), adapter=1, id=6)),
    )  # fmt: skip
    with Machine(config) as machine:
        shell = Shell(machine)
        shell.wait()
        text = shell.type("disk")
        assert "* ide0  IDE " in text
        assert "  scsi0 SCSI " in text
        assert "  scsi1 SCSI " in text
        for name in ("scsi0", "scsi1"):
            shell.type(f"disk {name}")
            shell.type("write where here")
            assert f"* {name} SCSI " in shell.type("disk")
        shell.type("disk ide0")
        assert "where: no such file" in shell.type("type where")


def test_a_cds_ram_disk_comes_before_a_scsi_disk(accelerated: str, tmp_path: Path) -> None:
    disk = medium("hd", tmp_path, "notest")
    with Machine(on_id_0(disk, engine=accelerated, **fields("cd", tmp_path, "notest"))) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "* ram   memory " in shell.type("disk")


# -- adapters with something wrong: it is seen, and nothing hangs


def run_with(config: MachineConfig, break_it: Callable[[Aic7870], None]) -> bytes:
    with Machine(config) as machine:
        break_it(chip(machine))
        assert machine.run(until=PROMPT, timeout_s=LIMIT_S).reason == "until"
        output = machine.serial_output(0)
        machine.send_serial(b"run hello you\n")
        assert machine.run(until="Hello, you", timeout_s=LIMIT_S).reason == "until"
    return output


def test_without_the_adapters_interrupt_it_is_polled_and_the_array_says_so(
    accelerated: str, tmp_path: Path
) -> None:
    def cut(adapter: Aic7870) -> None:
        adapter.interrupts._irq = IrqLine(lambda level: None)

    output = run_with(on_id_0(medium("hd", tmp_path), engine=accelerated), cut)
    assert [line.partition(" ")[2] for line in failures(output)] == [
        "disk interrupts waited for in vain = 1 <- 0 expected"
    ]


def test_an_adapter_whose_dma_stands_still_does_not_hang_the_system(accelerated: str, tmp_path: Path) -> None:
    disk = medium("hd", tmp_path)
    config = on_id_0(disk, engine=accelerated, **fields("cd", tmp_path, "notest"))
    with Machine(config) as machine:
        chip(machine).registers.writers[r.DFCNTRL] = lambda value: None
        shell = Shell(machine)
        shell.wait()
        text = shell.type("disk")
        assert "* ram   memory " in text
        assert "scsi0" not in text
        assert scsi_line(text).endswith(", 1 missed, 1 timeouts\n")
        assert "Hello, you" in shell.type("run hello you")
