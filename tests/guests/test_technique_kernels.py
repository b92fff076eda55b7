"""Kernels and loaders that nobody here wrote under every technique that hides itself, on both firmwares.

memtest86+, GNU Mach, GRUB's own functional tests, SYSLINUX, and SeaBIOS, whose 32-bit code runs many times
before any of them. Linux is in `test_linux_techniques.py`; docs/techniques/guests.md has the whole table.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.guests.assets import grub
from tests.guests.assets.loaders import isolinux_disc
from tests.guests.assets.machines import Firmware, run_until_shown, shown
from tests.guests.technique_rig import FULL
from tests.guests.test_grub import on_cd, passed_tests
from tests.guests.test_kernels import MIB, has_run_five_tests, mach, memtest
from vmm.config import FULL_TECHNIQUES, DriveConfig, MachineConfig
from vmm.machine import Machine

pytestmark = [pytest.mark.guest, pytest.mark.verify, pytest.mark.usefixtures("accelerated")]

LONG_S: Final = 1500
every_technique = pytest.mark.parametrize("technique", FULL)


def machine_of(technique: str, firmware: Firmware, **fields: object) -> Machine:
    return Machine(MachineConfig(engine="accelerated", **firmware, **FULL_TECHNIQUES[technique], **fields))  # type: ignore[arg-type]


@every_technique
@pytest.mark.timeout(3 * LONG_S)
@pytest.mark.parametrize("entry", ["16", "32"])
def test_memtest_runs_five_tests_without_an_error(technique: str, entry: str, firmware: Firmware) -> None:
    # Where the processor has long mode memtest86+ uses it, and translation cannot run that
    cpu = "pentium3" if technique.startswith("translation") else "core2duo"
    fields = {"kernel": str(memtest()), "entry": entry, "memory_bytes": 16 * MIB, "cpu": cpu}
    with machine_of(technique, firmware, **fields) as machine:
        if technique == "translation-cache":  # memtest86+ maps all 4 GiB: the cache has nowhere to be
            result = machine.run(timeout_s=LONG_S)
            assert result.reason == "unsupported"
            assert "all is mapped" in result.detail
            return
        run_until_shown(machine, "Test #0", LONG_S)
        machine.run(lambda: has_run_five_tests(shown(machine)), LONG_S)
        screen = shown(machine)
    assert re.search("Errors: 0$", screen, re.MULTILINE), screen
    assert has_run_five_tests(screen), screen


@every_technique
@pytest.mark.timeout(2 * LONG_S)
def test_gnu_mach_finds_our_disk_and_then_nothing_to_start(
    technique: str, firmware: Firmware, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(64 * MIB))
    fields = {
        "kernel": str(mach()),
        "append": "console=com0",
        "memory_bytes": 64 * MIB,
        "hd": (DriveConfig(path=str(disk), format="raw"),),
    }
    with machine_of(technique, firmware, **fields) as machine:
        result = machine.run("bootstrap_create: No bootstrap code loaded with the kernel!", LONG_S)
        output = machine.serial_output()
    assert result.reason == "until", (result, output[-2000:])
    assert b"hd0: TRAPLINE HARDDISK, 64MB w/256kB Cache, CHS=130/16/63" in output


@every_technique
@pytest.mark.timeout(2 * LONG_S)
def test_grubs_functional_tests_pass(technique: str, firmware: Firmware, tmp_path: Path) -> None:
    drives = on_cd(tmp_path, grub.test_script(grub.QUICK_TESTS))
    found = passed_tests(drives, {**firmware, **FULL_TECHNIQUES[technique]}, LONG_S)
    assert sorted(found) == sorted(grub.QUICK_TESTS)


@every_technique
@pytest.mark.timeout(2 * LONG_S)
def test_isolinux_runs_a_module(technique: str, firmware: Firmware, tmp_path: Path) -> None:
    """SYSLINUX's core is 32-bit code that goes to real mode for each of the BIOS's services."""
    disc = isolinux_disc(tmp_path, ("meminfo",), "  COM32 meminfo.c32")
    with machine_of(technique, firmware, cd=(DriveConfig(path=str(disc)),), memory_bytes=64 * MIB) as machine:
        result = machine.run("INT 12h: 639K (0x9fc00)", LONG_S)
        assert result.reason == "until", (result, machine.serial_output()[-2000:])
