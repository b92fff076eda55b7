"""Debian's Linux and the chips beside the disks: floppy by DMA, CD, mouse, parallel port."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices import mouse as m
from tests.guests.assets.initramfs import LinuxGuest
from tests.oracles import run_tool
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

BOOT_S = 120


@pytest.fixture
def floppy(tmp_path: Path) -> Path:
    """A FAT floppy with one file, made by tools that are not ours."""
    image = tmp_path / "floppy.img"
    given = tmp_path / "given"
    given.write_text("from the floppy\n")
    run_tool("mkfs.fat", "-C", image, "1440")
    run_tool("mcopy", "-i", image, given, "::given")
    return image


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """A CD with one file."""
    folder = tmp_path / "cd"
    folder.mkdir()
    (folder / "given").write_text("from the CD\n")
    image = tmp_path / "cd.iso"
    run_tool("xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", image, folder)
    return image


@pytest.mark.parametrize("apic", [False, pytest.param(True, marks=pytest.mark.verify)])
def test_linux_mounts_a_floppy_and_a_cd_prints_and_hears_the_mouse(
    linux_i386: LinuxGuest, accelerated: str, floppy: Path, disc: Path, tmp_path: Path, apic: bool
) -> None:
    config = MachineConfig(
        kernel=str(linux_i386.kernel),
        initrd=(str(linux_i386.initramfs),),
        append=linux_i386.command_line("chips", apic=apic),
        apic=apic,
        memory_bytes=256 << 20,
        floppy=(DriveConfig(path=str(floppy)),),
        cd=(DriveConfig(path=str(disc)),),
        parallel=str(tmp_path / "printed"),
        engine=accelerated,  # type: ignore[arg-type]
    )
    with Machine(config) as machine:
        ended = machine.run("TRAPLINE-MOUSE-READY", BOOT_S)
        assert ended.reason == "until", machine.serial_output()[-2000:]
        mouse = machine.board.mouse
        for act in (lambda: mouse.move(5, 0), lambda: mouse.move(0, -7), lambda: mouse.set_buttons(m.LEFT)):
            act()
            machine.run("mouse:", BOOT_S)
        machine.run("TRAPLINE-CHIPS-DONE", BOOT_S)
        output = machine.serial_output()
        machine.run(timeout_s=BOOT_S)
        assert machine.parallel.since(0) == b"printed by Linux\n"
    assert b"floppy: from the floppy\r\n" in output
    assert b"CD: from the CD\r\n" in output
    # /dev/input/mice speaks PS/2 again: buttons and signs, right, up
    assert [line.split() for line in output.split(b"\r\n") if line.startswith(b"mouse:")] == [
        [b"mouse:", b"08", b"05", b"00"],
        [b"mouse:", b"28", b"00", b"f9"],
        [b"mouse:", b"09", b"00", b"00"],
    ]
    run_tool("fsck.fat", "-n", floppy)
    run_tool("mcopy", "-n", "-i", floppy, "::written", tmp_path / "written")
    assert (tmp_path / "written").read_text() == "".join(f"{line}\n" for line in range(1, 40001))
