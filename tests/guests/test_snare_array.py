"""Snare's self-test: the same array from every medium, on both firmwares, both engines, and on QEMU."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devices.backplane import IrqLine
from guests.snare import build
from tests.guests.assets import grub
from tests.guests.assets.qemu import qemu
from tests.guests.assets.snare import ARRAY, LIMIT_S, MEDIA, PROMPT, array, failures, fields, medium
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

QUICK_ON_PORTABLE = (("hd", "ours"), ("cd", "seabios"))
QEMU_EXIT_PASSED = 1  # isa-debug-exit ends QEMU with value * 2 + 1
# Time counted in instructions: the guest's patience is not spent while this host runs something else
QEMU_EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-vga", "std", "-icount", "shift=4,sleep=off")
CUT = IrqLine(lambda level: None)  # a wire that ends nowhere


def product() -> list[Any]:
    """All machines: all on the accelerated engine, two on the slow one, the others for `make verify`."""
    cases = []
    for engine, firmware, kind in itertools.product(("accelerated", "portable"), ("ours", "seabios"), MEDIA):
        long = engine == "portable" and (kind, firmware) not in QUICK_ON_PORTABLE
        marks = [pytest.mark.verify] if long else []
        cases.append(pytest.param(engine, firmware, kind, marks=marks, id=f"{engine}-{firmware}-{kind}"))
    return cases


def run_to_the_end(**config: object) -> bytes:
    with Machine(MachineConfig(**config)) as machine:  # type: ignore[arg-type]
        result = machine.run(timeout_s=LIMIT_S)
        output = machine.serial_output(0)
    assert (result.reason, result.exit_code) == ("exit", 0), output.decode()
    return output


@pytest.mark.parametrize(("engine", "firmware", "kind"), product())
def test_array_is_the_same_everywhere(
    engine: str, firmware: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    roms = {}
    if engine == "accelerated":
        request.getfixturevalue("accelerated")
    if firmware == "seabios":
        roms = {name: str(request.getfixturevalue(fixture))
                for name, fixture in (("bios", "seabios"), ("vgabios", "vgabios"))}  # fmt: skip
    output = run_to_the_end(engine=engine, **roms, **fields(kind, tmp_path, "exit"))
    assert array(output) == ARRAY


@pytest.mark.parametrize("memory_mib", [4, 16, 3584])
def test_array_does_not_depend_on_the_memory(memory_mib: int, accelerated: str, tmp_path: Path) -> None:
    output = run_to_the_end(
        engine=accelerated, memory_bytes=memory_mib << 20, **fields("hd", tmp_path, "exit")
    )
    assert array(output) == ARRAY


def test_array_under_the_virtual_clock_within_a_second(accelerated: str, tmp_path: Path) -> None:
    with Machine(
        MachineConfig(engine=accelerated, clock="virtual", **fields("hd", tmp_path, "exit"))
    ) as machine:
        machine.run(timeout_s=LIMIT_S)
        assert array(machine.serial_output(0)) == ARRAY
        assert machine.now_ns() < 1_000_000_000


def test_array_on_a_pentium_3(accelerated: str, tmp_path: Path) -> None:
    assert (
        array(run_to_the_end(engine=accelerated, cpu="pentium3", **fields("hd", tmp_path, "exit"))) == ARRAY
    )


def test_the_last_line_is_on_the_screen_too(accelerated: str, tmp_path: Path) -> None:
    with Machine(MachineConfig(engine=accelerated, **fields("floppy", tmp_path))) as machine:
        machine.run(until=PROMPT, timeout_s=LIMIT_S)
        assert ARRAY[-1] in machine.screen_text()


def on_qemu(*arguments: str | Path) -> list[str]:
    with qemu(*QEMU_EXIT, *arguments) as machine:
        assert machine.wait_for_end(LIMIT_S) == QEMU_EXIT_PASSED, bytes(machine.output)
        return array(bytes(machine.output))


@pytest.mark.oracle
def test_qemu_prints_the_array_from_a_dynamic_vhd(tmp_path: Path) -> None:
    disk = medium("hd", tmp_path, "exit")
    assert on_qemu("-drive", f"file={disk},format=vpc,if=ide") == ARRAY


@pytest.mark.oracle
def test_qemu_prints_the_array_from_a_cd(tmp_path: Path) -> None:
    assert on_qemu("-cdrom", medium("cd", tmp_path, "exit")) == ARRAY


@pytest.mark.oracle
def test_qemu_prints_the_array_from_a_floppy(tmp_path: Path) -> None:
    disk = medium("floppy", tmp_path, "exit")
    assert on_qemu("-drive", f"file={disk},format=raw,if=floppy") == ARRAY


@pytest.mark.oracle
def test_qemu_prints_the_array_by_its_own_multiboot_loader() -> None:
    assert on_qemu("-kernel", build.KERNEL, "-initrd", build.FILES, "-append", "exit") == ARRAY


def grub_disc(folder: Path) -> Path:
    """A CD whose GRUB starts Snare by its `multiboot` and `module` commands."""
    script = "multiboot /snare.bin exit\nmodule /snare.fs\nboot\n"
    return grub.disc(folder, script, files=(build.KERNEL, build.FILES))


def test_grub_starts_it_by_multiboot(accelerated: str, tmp_path: Path) -> None:
    disc = DriveConfig(path=str(grub_disc(tmp_path)))
    assert array(run_to_the_end(engine=accelerated, cd=(disc,))) == ARRAY


@pytest.mark.oracle
def test_grub_starts_it_on_qemu(tmp_path: Path) -> None:
    assert on_qemu("-cdrom", grub_disc(tmp_path)) == ARRAY


# -- machines with something wrong: it is seen, and nothing hangs


def array_with(tmp_path: Path, break_it: Callable[[Machine], None]) -> bytes:
    with Machine(MachineConfig(**fields("hd", tmp_path))) as machine:
        break_it(machine)
        assert machine.run(until=PROMPT, timeout_s=LIMIT_S).reason == "until"
        output = machine.serial_output(0)
        machine.send_serial(b"run hello you\n")
        assert machine.run(until="Hello, you", timeout_s=LIMIT_S).reason == "until"
    assert array(output)[-1].endswith("passed, FAILED")
    return output


def test_without_timer_interrupts_the_array_says_so(tmp_path: Path) -> None:
    output = array_with(tmp_path, lambda machine: setattr(machine.board.pit, "_irq", CUT))
    assert [line.partition(" ")[2] for line in failures(output)] == [
        "a waiting timer interrupt comes after STI = 0 <- 1 expected",
        "timer interrupts come in ring 0 = 0 <- 1 expected",
        "HLT ends by an interrupt = 0 <- 1 expected",
        "timer interrupts come without the mask = 0 <- 1 expected",
        "ring 3: timer interrupts come = 0 <- 1 expected",
        "an endless program is interrupted and killed = 1001 <- 356 expected",
    ]


def test_without_disk_interrupts_the_driver_polls_and_the_array_says_so(tmp_path: Path) -> None:
    def cut(machine: Machine) -> None:
        for channel in machine.board.ide:
            channel._irq = CUT

    output = array_with(tmp_path, cut)
    assert [line.partition(" ")[2] for line in failures(output)] == [
        "disk interrupts waited for in vain = 1 <- 0 expected"
    ]


def test_without_any_interrupt_it_still_comes_to_its_prompt(tmp_path: Path) -> None:
    def cut(machine: Machine) -> None:
        machine.processor.live.set_interrupt = lambda level: None

    assert len(failures(array_with(tmp_path, cut))) >= 7


def test_without_a_file_system_it_says_what_is_missing(tmp_path: Path) -> None:
    with Machine(MachineConfig(kernel=str(build.KERNEL))) as machine:
        assert machine.run(until=PROMPT, timeout_s=LIMIT_S).reason == "until"
        output = machine.serial_output(0)
    assert b"No disk with a file system was found, and no RAM disk was given." in output
    assert any("a disk with a file system was found = 0 <- 1 expected" in line for line in failures(output))


def test_with_too_little_memory_it_says_so() -> None:
    with Machine(MachineConfig(kernel=str(build.KERNEL), append="exit", memory_bytes=2 << 20)) as machine:
        result = machine.run(timeout_s=LIMIT_S)
        assert (result.reason, result.exit_code) == ("exit", 2)
        assert b"panic: too little memory: 4 MiB are needed" in machine.serial_output(0)
