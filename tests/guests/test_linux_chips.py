"""Debian's Linux and the chips beside the disks: floppy by DMA, CD, parallel port, and the mouse by VNC."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from tests.guests.assets.initramfs import LinuxGuest
from tests.oracles import run_tool
from tests.vmm.vnc_rig import Pointer
from vmm.clock import host_ns
from vmm.config import DriveConfig, MachineConfig
from vmm.display.vnc import VncServer
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


def move_and_click(machine: Machine) -> None:
    """Move the pointer of a VNC client 5 right, 7 down, and press its left button; wait for each."""
    board = machine.board
    inputs = (board.keyboard, board.mouse)
    with closing(VncServer(("127.0.0.1", 0), board.vga, inputs, machine.wait_fds, host_ns, print)) as server:

        def has_seen(packets: int) -> bool:
            server.pump()
            return machine.serial_output().count(b"mouse:") >= packets

        with Pointer(server.address) as pointer:
            pointer.do("mouseMove 100 100")  # where it is to begin with
            for packets, action in enumerate(("mouseMove 105 100", "mouseMove 105 107", "mouseDown 1"), 1):
                pointer.do(action)
                machine.run(partial(has_seen, packets), BOOT_S)


@pytest.mark.verify
@pytest.mark.parametrize("apic", [False, True])
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
        move_and_click(machine)
        machine.run(timeout_s=BOOT_S)
        output = machine.serial_output()
        assert machine.parallel.since(0) == b"printed by Linux\n"
    assert b"floppy: from the floppy\r\n" in output
    assert b"CD: from the CD\r\n" in output
    assert b"TRAPLINE-CHIPS-DONE" in output
    # /dev/input/mice speaks PS/2 again: buttons and signs, right, up
    assert [line.split() for line in output.split(b"\r\n") if line.startswith(b"mouse:")] == [
        [b"mouse:", b"08", b"05", b"00"],
        [b"mouse:", b"28", b"00", b"f9"],
        [b"mouse:", b"09", b"00", b"00"],
    ]
    run_tool("fsck.fat", "-n", floppy)
    run_tool("mcopy", "-n", "-i", floppy, "::written", tmp_path / "written")
    assert (tmp_path / "written").read_text() == "".join(f"{line}\n" for line in range(1, 40001))
