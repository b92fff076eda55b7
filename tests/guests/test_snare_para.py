"""Snare's paravirtual port: the same array, by hypercalls, events and the shared ring."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.snare import build
from tests.guests.assets.snare import ARRAY, LIMIT_S, PROMPT, Shell, array
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

ENGINES = ("accelerated", "portable")
STORES = ("emulate.cli", "emulate.sti", "emulate.iret", "emulate.lgdt", "emulate.hlt", "emulate.invlpg")


def port(engine: str, **fields: object) -> MachineConfig:
    fields = {"kernel": str(build.PARA_KERNEL), "technique": "para", **fields}
    return MachineConfig(engine=engine, **fields)  # type: ignore[arg-type]


def disk(folder: Path, *, bootable: bool = False) -> DriveConfig:
    path = folder / "snare.img"
    build.make_raw(path, "exit", build.PARA_KERNEL if bootable else build.KERNEL)
    return DriveConfig(path=str(path), format="raw")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "accelerated":
        request.getfixturevalue("accelerated")
    return str(request.param)


def test_the_array_is_that_of_the_bare_machine(engine: str) -> None:
    with Machine(port(engine, initrd=(str(build.FILES),), append="exit")) as machine:
        result = machine.run(timeout_s=LIMIT_S)
        assert array(machine.serial_output(0)) == ARRAY
        assert (result.reason, result.exit_code) == ("exit", 0)
        exits = machine.exits
        assert not [reason for reason in STORES if reason in exits]
        assert exits["hypercall.iret"].count > 100
        assert exits["hypercall.set_callbacks"].count == 1


def test_the_system_lives_on_the_disk_behind_the_ring(accelerated: str, tmp_path: Path) -> None:
    with Machine(port(accelerated, hd=(disk(tmp_path),), append="exit")) as machine:
        assert machine.run(timeout_s=LIMIT_S).reason == "exit"
        assert array(machine.serial_output(0)) == ARRAY
        assert machine.exits["hypercall.block_op"].count > 100


@pytest.mark.verify
def test_it_starts_from_a_disk_through_a_bios_and_real_mode(accelerated: str, tmp_path: Path) -> None:
    drive = disk(tmp_path, bootable=True)
    with Machine(MachineConfig(engine=accelerated, technique="para", hd=(drive,))) as machine:
        assert machine.run(timeout_s=LIMIT_S).reason == "exit"
        assert array(machine.serial_output(0)) == ARRAY
        assert machine.exits["switch.protected"].count > 0


@pytest.mark.verify
def test_the_array_under_the_virtual_clock_twice_the_same_exits(accelerated: str) -> None:
    def counts() -> dict[str, int]:
        config = port(accelerated, initrd=(str(build.FILES),), append="exit", clock="virtual")
        with Machine(config) as machine:
            machine.run(timeout_s=LIMIT_S)
            assert array(machine.serial_output(0)) == ARRAY
            return {reason: entry.count for reason, entry in machine.exits.items()}

    assert counts() == counts()


def test_the_console_is_typed_at_by_com1_and_by_the_keyboard(accelerated: str, tmp_path: Path) -> None:
    with Machine(port(accelerated, hd=(disk(tmp_path),), append="notest")) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "Hello, para" in shell.type("run hello para")
        assert "* ring0 ring" in shell.type("disk")
        machine.send_keys("run hello keys\n")
        assert "Hello, keys" in shell.wait()


@pytest.mark.verify
def test_reboot_comes_back_to_the_prompt(accelerated: str) -> None:
    with Machine(port(accelerated, initrd=(str(build.FILES),), append="notest")) as machine:
        shell = Shell(machine)
        shell.wait()
        assert "Snare, a single-user system" in shell.type("reboot")
        assert "Hello, again" in shell.type("run hello again")


def test_halt_ends_the_run_with_its_number(accelerated: str) -> None:
    with Machine(port(accelerated, initrd=(str(build.FILES),), append="notest")) as machine:
        Shell(machine).wait(PROMPT)
        machine.send_serial(b"halt 7\n")
        result = machine.run(timeout_s=LIMIT_S)
        assert (result.reason, result.exit_code) == ("exit", 7)


def test_a_panic_halts_for_ever(engine: str) -> None:
    with Machine(port(engine, memory_bytes=2 << 20)) as machine:
        assert machine.run(timeout_s=LIMIT_S).reason == "halted"
        assert b"panic: too little memory" in machine.serial_output(0)


def test_without_a_monitor_it_says_what_it_needs(accelerated: str) -> None:
    with Machine(port(accelerated, technique="bare")) as machine:
        result = machine.run(timeout_s=LIMIT_S)
        assert (result.reason, result.exit_code) == ("exit", 3)
        assert "This kernel needs the paravirtual machine of Trapline." in "\n".join(machine.screen_text())


@pytest.mark.verify
def test_the_full_kernel_runs_under_para_only_as_far_as_trap_does(accelerated: str) -> None:
    config = port(accelerated, kernel=str(build.KERNEL), initrd=(str(build.FILES),), append="exit")
    with Machine(config) as machine:
        machine.run(timeout_s=LIMIT_S)
        lines = array(machine.serial_output(0))
        assert lines[-1].endswith("FAILED")
