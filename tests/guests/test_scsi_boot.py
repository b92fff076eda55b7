"""Booting from SCSI through INT 13h: GRUB and Snare; and what SeaBIOS makes of an adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from devices.pci.config import BAR0, COMMAND, INTERRUPT_LINE
from guests.snare import build as snare
from tests.disks.conftest import make_child
from tests.guests.assets import bootdisk, grub
from tests.guests.assets.machines import BOOT_S, run_until_shown
from tests.guests.assets.snare import ARRAY, array, medium
from tests.guests.test_grub import MIB, SNARE
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine
from vmm.scsi_config import AdapterKind, ScsiAdapter, ScsiDrive

pytestmark = pytest.mark.guest

SHORT_TESTS: Final = ("strtoull_test", "setjmp_test")
ADAPTER: Final = b"00:03.0 9004:7078 [0100] SCSI Controller"


Boot = Callable[..., dict[str, Any]]


def on_cd(folder: Path, script: str, files: Sequence[Path] = ()) -> dict[str, Any]:
    return {"scsi_cd": (ScsiDrive(path=str(grub.disc(folder, script, files=files)), id=6),)}


def on_child(folder: Path, script: str, files: Sequence[Path] = ()) -> dict[str, Any]:
    raw = grub.disk(folder, script, files=files)
    base = bootdisk.dynamic_vhd(raw, folder / "base.vhd")
    return {"scsi_hd": (ScsiDrive(path=str(make_child(folder / "child.vhd", base))),)}


@pytest.mark.parametrize("boot", [on_cd, on_child], ids=["cd", "vhd"])
def test_grub_passes_its_tests_and_sees_the_adapter(boot: Boot, tmp_path: Path) -> None:
    drives = boot(tmp_path, grub.test_script(SHORT_TESTS))
    with Machine(MachineConfig(memory_bytes=64 * MIB, **drives)) as pc:
        result = pc.run(timeout_s=BOOT_S)
        output = pc.serial_output()
    assert (result.reason, result.exit_code) == ("exit", grub.EXIT_VALUE), output[-2000:]
    assert grub.PASSED in output
    assert b"FAIL" not in output
    assert ADAPTER in output
    assert b"(cd" in output or b"(hd0,msdos1)" in output


@pytest.mark.parametrize("boot", [on_cd, on_child], ids=["cd", "vhd"])
def test_grub_boots_snare_which_passes_its_own_test(boot: Boot, tmp_path: Path) -> None:
    drives = boot(tmp_path, SNARE, files=(snare.KERNEL, snare.FILES))
    with Machine(MachineConfig(memory_bytes=64 * MIB, **drives)) as pc:
        result = pc.run(timeout_s=BOOT_S)
        output = pc.serial_output()
    assert result.reason == "exit", (result, output[-2000:])
    assert array(output) == ARRAY


@pytest.mark.parametrize("kind", ["aic7870", "virtio"])
def test_seabios_places_and_routes_an_adapter(
    seabios: Path, vgabios: Path, tmp_path: Path, kind: AdapterKind
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(MIB))
    config = MachineConfig(
        bios=str(seabios), vgabios=str(vgabios), scsi_adapters=(ScsiAdapter(kind),),
        hd=(DriveConfig(path=str(disk)),),
    )  # fmt: skip
    with Machine(config) as pc:
        run_until_shown(pc, "Booting from Hard Disk")
        read = pc.board.pci.functions[3, 0].config.read
        identity, ports, memory = read(0, 4), read(BAR0, 4), read(BAR0 + 4, 4)
        command, line = read(COMMAND, 2), read(INTERRUPT_LINE, 1)
    assert identity == {"aic7870": 0x7078_9004, "virtio": 0x1004_1AF4}[kind]
    assert ports & 1
    assert 0 < ports & 0xFFFC < 0xFFFF
    assert 0xE000_0000 <= memory < 0xFEC0_0000
    assert (command & 3, line) == (3, 11)


def test_grub_boots_from_a_child_by_the_adapters_rom(seabios: Path, vgabios: Path, tmp_path: Path) -> None:
    drives = on_child(tmp_path, grub.test_script(SHORT_TESTS))
    config = MachineConfig(bios=str(seabios), vgabios=str(vgabios), memory_bytes=64 * MIB, **drives)
    with Machine(config) as pc:
        result = pc.run(timeout_s=BOOT_S)
        output = pc.serial_output()
    assert (result.reason, result.exit_code) == ("exit", grub.EXIT_VALUE), output[-2000:]
    assert grub.PASSED in output
    assert b"(hd0,msdos1)" in output


def test_snare_boots_from_id_0_by_the_adapters_rom(seabios: Path, vgabios: Path, tmp_path: Path) -> None:
    child = make_child(tmp_path / "child.vhd", medium("hd", tmp_path, "exit"))
    drives = (ScsiDrive(path=str(child), id=0),)
    with Machine(MachineConfig(bios=str(seabios), vgabios=str(vgabios), scsi_hd=drives)) as pc:
        result = pc.run(timeout_s=BOOT_S)
        output = pc.serial_output()
    assert result.reason == "exit", (result, output[-2000:])
    assert array(output) == ARRAY
