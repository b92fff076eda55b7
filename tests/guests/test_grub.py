"""GRUB 2 from CD and from an installed disk, on both firmwares: its own tests, its prompt, what it boots."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from guests.snare import build as snare
from tests.guests.assets import bootdisk, grub
from tests.guests.assets.initramfs import PROMPT, LinuxGuest
from tests.guests.assets.machines import BOOT_S, Firmware, run_until_shown, shown
from tests.guests.assets.snare import ARRAY, array
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

MIB: Final = 1 << 20
LONG_S: Final = 1200
MENU: Final = """
set timeout=-1
menuentry "first entry" { echo FIRST; sleep 60 }
menuentry "second entry" { echo SECOND; sleep 60 }
"""
SNARE: Final = """
multiboot /snare.bin exit
module /snare.fs
boot
"""
LINUX: Final = """
linux /vmlinuz {command_line}
initrd /initrd.img
boot
"""

Medium = Callable[..., dict[str, tuple[DriveConfig, ...]]]


def on_cd(folder: Path, script: str, **options: object) -> dict[str, tuple[DriveConfig, ...]]:
    return {"cd": (DriveConfig(path=str(grub.disc(folder, script, **options))),)}  # type: ignore[arg-type]


def on_disk(folder: Path, script: str, **options: object) -> dict[str, tuple[DriveConfig, ...]]:
    image = grub.disk(folder, script, **options)  # type: ignore[arg-type]
    return {"hd": (DriveConfig(path=str(bootdisk.dynamic_vhd(image, folder / "grub.vhd"))),)}


@pytest.fixture(params=[on_cd, on_disk], ids=["cd", "vhd"])
def medium(request: pytest.FixtureRequest) -> Medium:
    made: Medium = request.param
    return made


def machine(drives: dict[str, tuple[DriveConfig, ...]], firmware: Firmware, mib: int = 64) -> Machine:
    return Machine(MachineConfig(memory_bytes=mib * MIB, **drives, **firmware))  # type: ignore[arg-type]


def passed_tests(drives: dict[str, tuple[DriveConfig, ...]], firmware: Firmware, limit_s: float) -> list[str]:
    """Run GRUB's tests; return the names of those that passed, once all of them have."""
    with machine(drives, firmware, 256) as pc:
        result = pc.run(timeout_s=limit_s)
        output = pc.serial_output()
    assert result.reason == "exit", (result, output[-2000:])
    assert result.exit_code == grub.EXIT_VALUE
    assert grub.PASSED in output, output[-2000:]
    assert b"FAIL" not in output
    listing = output[output.index(b"LISTING") :]
    assert b"00:01.1 8086:7010 [0101] IDE Controller" in listing
    assert b"(cd" in listing or b"(hd0,msdos1)" in listing
    return re.findall(r"^(\w+): PASS", output.decode("latin-1").replace("\r", ""), re.MULTILINE)


@pytest.mark.quick("cd-ours")
def test_its_functional_tests_pass(medium: Medium, firmware: Firmware, tmp_path: Path) -> None:
    drives = medium(tmp_path, grub.test_script(grub.QUICK_TESTS))
    assert sorted(passed_tests(drives, firmware, BOOT_S)) == sorted(grub.QUICK_TESTS)


@pytest.mark.verify
def test_all_its_functional_tests_pass(medium: Medium, firmware: Firmware, tmp_path: Path) -> None:
    drives = medium(tmp_path, grub.test_script(grub.LONG_TESTS))
    assert sorted(passed_tests(drives, firmware, LONG_S)) == sorted(grub.LONG_TESTS)


@pytest.mark.quick("cd-seabios", "vhd-ours")
def test_its_prompt_answers_keyboard_and_serial_port(
    medium: Medium, firmware: Firmware, tmp_path: Path
) -> None:
    with machine(medium(tmp_path, "", terminal=grub.ON_BOTH), firmware) as pc:
        run_until_shown(pc, "grub>")
        pc.send_keys("echo typed-on-$grub_platform\n")
        run_until_shown(pc, "typed-on-pc")
        assert b"typed-on-pc" in pc.serial_output()
        pc.send_serial(b"echo sent-to-$grub_cpu\r")
        run_until_shown(pc, "sent-to-i386")
        assert b"sent-to-i386" in pc.serial_output()


def test_its_menu_follows_the_arrow_keys(firmware: Firmware, tmp_path: Path) -> None:
    with machine(on_cd(tmp_path, MENU, terminal="terminal_output console\n"), firmware) as pc:
        run_until_shown(pc, "second entry")
        pc.board.keyboard.type_keys(("down",))
        pc.send_keys("\n")
        run_until_shown(pc, "SECOND")
        assert "FIRST" not in shown(pc)


@pytest.mark.quick("cd-ours", "vhd-seabios")
def test_it_boots_snare_by_multiboot(medium: Medium, firmware: Firmware, tmp_path: Path) -> None:
    drives = medium(tmp_path, SNARE, files=(snare.KERNEL, snare.FILES))
    with machine(drives, firmware) as pc:
        result = pc.run(timeout_s=BOOT_S)
        output = pc.serial_output()
    assert result.reason == "exit", (result, output[-2000:])
    assert array(output) == ARRAY


@pytest.mark.verify
def test_it_boots_linux(medium: Medium, firmware: Firmware, linux_i386: LinuxGuest, tmp_path: Path) -> None:
    kernel, initramfs = tmp_path / "vmlinuz", tmp_path / "initrd.img"
    kernel.write_bytes(linux_i386.kernel.read_bytes())
    initramfs.write_bytes(linux_i386.initramfs.read_bytes())
    script = LINUX.format(command_line=linux_i386.command_line("shell"))
    with machine(medium(tmp_path, script, files=(kernel, initramfs)), firmware, 256) as pc:
        result = pc.run(until=PROMPT, timeout_s=BOOT_S)
        assert result.reason == "until", (result, pc.serial_output()[-2000:])
