"""Debian's SeaBIOS on our PC boots from IDE disk and from CD: our boot program, and Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from guests.selftest import build
from tests.guests.assets import bootdisk
from tests.guests.assets.initramfs import HALTED, READY, LinuxGuest
from tests.guests.assets.trapline import SERIAL_ONLY, trapline
from tests.oracles import require_tool

pytestmark = pytest.mark.guest

BOOT_S = 120
HALTED_FOREVER = 6  # exit status of `trapline run` after HLT with interrupts off


@pytest.fixture
def firmware(seabios: Path, vgabios: Path) -> tuple[str | Path, ...]:
    return ("--bios", seabios, "--vgabios", vgabios, *SERIAL_ONLY)


def run_self_test(*arguments: str | Path) -> None:
    with trapline("run", *arguments) as machine:
        status = machine.wait_for_end(BOOT_S)
        machine.wait_for(b"self-test: ", timeout_s=0)
        machine.wait_for(b" passed", timeout_s=0)
        assert status == 0, bytes(machine.output)


def run_linux(*arguments: str | Path) -> None:
    with trapline("run", *arguments, "--memory", "256M") as machine:
        machine.wait_for(READY, BOOT_S)
        machine.wait_for(HALTED, BOOT_S)
        assert machine.wait_for_end(BOOT_S) == HALTED_FOREVER


def test_boot_program_passes_from_a_dynamic_vhd(
    firmware: tuple[str | Path, ...], accelerated: str, tmp_path: Path
) -> None:
    disk = tmp_path / "selftest.vhd"
    build.make_vhd(disk)
    run_self_test(disk, *firmware, "--engine", accelerated)


@pytest.mark.verify
def test_boot_program_passes_on_the_portable_engine(firmware: tuple[str | Path, ...], tmp_path: Path) -> None:
    disk = tmp_path / "selftest.vhd"
    build.make_vhd(disk)
    run_self_test(disk, *firmware, "--engine", "portable")


def test_boot_program_passes_from_a_cd(firmware: tuple[str | Path, ...], tmp_path: Path) -> None:
    require_tool("xorriso")
    disc = tmp_path / "selftest.iso"
    build.make_cd(disc)
    run_self_test("--cd", disc, *firmware, "--boot", "cd")


def test_linux_boots_from_its_own_dynamic_vhd(
    linux_i386: LinuxGuest, firmware: tuple[str | Path, ...], accelerated: str, tmp_path: Path
) -> None:
    raw = bootdisk.linux_disk(tmp_path / "linux.raw", linux_i386, "boot")
    run_linux(bootdisk.dynamic_vhd(raw, tmp_path / "linux.vhd"), *firmware, "--engine", accelerated)


@pytest.mark.verify
def test_linux_boots_from_a_cd(
    linux_i386: LinuxGuest, firmware: tuple[str | Path, ...], accelerated: str, tmp_path: Path
) -> None:
    disc = bootdisk.linux_cd(tmp_path / "linux.iso", linux_i386, "boot")
    run_linux("--cd", disc, *firmware, "--boot", "cd", "--engine", accelerated)
