"""Operating systems on a child of a child of a base, and two machines at once on children of one base."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Final

import pytest

from guests.snare import build, snarefs
from tests.disks.conftest import make_child
from tests.disks.scribbles import scribble, seven_zip
from tests.guests.assets import bootdisk
from tests.guests.assets.chains import breaches, digests, write_changes
from tests.guests.assets.console import ConsoleProcess
from tests.guests.assets.initramfs import DISK_OK, HALTED, PROMPT, LinuxGuest
from tests.guests.assets.snare import LIMIT_S, Shell, medium
from tests.guests.assets.snare import PROMPT as SNARE_PROMPT
from tests.guests.assets.trapline import SERIAL_ONLY, linux_options, trapline
from tests.guests.test_linux import check_raw_with_other_tools
from tests.oracles import run_tool
from vmm.cli import status
from vmm.config import DriveConfig, MachineConfig
from vmm.machine import Machine

pytestmark = pytest.mark.guest

BOOT_S: Final = 120
JOB_S: Final = 240
VOLUME: Final = "24M"
MIB: Final = 1 << 20


# -- Snare


def snare(disk: Path, *lines: str) -> str:
    """Start Snare from a disk, give it lines, switch it off; return what it answered."""
    with Machine(MachineConfig(hd=(DriveConfig(path=str(disk)),))) as machine:
        shell = Shell(machine)
        shell.wait()
        return "".join(shell.type(line) for line in lines)


def test_snare_on_a_child_of_a_child(tmp_path: Path) -> None:
    base = medium("hd", tmp_path, "notest")
    child = make_child(tmp_path / "child.vhd", base)
    snare(child, "write first on the child", "copy readme second")
    disk = make_child(tmp_path / "grandchild.vhd", child)
    before = digests((base, child))

    answers = snare(disk, "type first", "write third on the grandchild", "erase second", "copy touch fourth")
    assert "\non the child\n" in answers
    answers = snare(disk, "type third", "type second", "run fourth")

    assert "\non the grandchild\n" in answers
    assert "second: no such file" in answers
    assert "256 pages touched, 0 wrong" in answers
    assert digests((base, child)) == before
    assert breaches(disk) == []
    files, _ = snarefs.load(disk)
    assert files.check() == []
    assert (files.read("first"), files.read("third")) == (b"on the child\n", b"on the grandchild\n")
    assert files.read("fourth") == snarefs.FileSystem(build.FILES.read_bytes()).read("touch")
    assert set(snarefs.load(child)[0].names()) - set(snarefs.load(base)[0].names()) == {"first", "second"}


def test_two_machines_at_once_on_two_children_of_one_base(tmp_path: Path) -> None:
    base = medium("hd", tmp_path, "notest")
    disks = [make_child(tmp_path / f"{name}.vhd", base) for name in ("ada", "grace")]
    before = digests((base,))
    with trapline("run", disks[0], *SERIAL_ONLY) as one, trapline("run", disks[1], *SERIAL_ONLY) as other:
        both = (one, other)
        for machine in both:
            machine.wait_for(SNARE_PROMPT.encode(), LIMIT_S)
        with trapline("run", base, *SERIAL_ONLY) as third:
            assert third.wait_for_end(LIMIT_S) == status.ERROR
            assert b"in use by another machine" in third.output
        for machine, disk in zip(both, disks, strict=True):
            machine.send(f"write mine {disk.stem}\nsync\n".encode())
        for machine in both:
            machine.wait_for(SNARE_PROMPT.encode(), LIMIT_S, machine.wait_for(b"sync\r\n", LIMIT_S))
            machine.send(b"type mine\nhalt 0\n")
        for machine, disk in zip(both, disks, strict=True):
            machine.wait_for(f"type mine\r\n{disk.stem}\r\n".encode(), LIMIT_S)
            assert machine.wait_for_end(LIMIT_S) == status.OK
    assert digests((base,)) == before
    for disk in disks:
        assert breaches(disk) == []
        files, _ = snarefs.load(disk)
        assert files.read("mine") == f"{disk.stem}\n".encode()
        assert files.check() == []


# -- Debian


class Volume:
    """What an ext2 file system is to hold, made from outside on a base and a child, then by the guest."""

    def __init__(self) -> None:
        chance = random.Random(20061017)
        self.base = chance.randbytes(6 * MIB)
        self.doomed = chance.randbytes(2 * MIB)
        self.child = chance.randbytes(3 * MIB)
        self.numbers = "".join(f"{number}\n" for number in range(1, 20001)).encode()
        self.patch = b"written by the guest"
        self.patched = self.base[:MIB] + self.patch + self.base[MIB + len(self.patch) :]

    def chain(self, folder: Path) -> tuple[Path, Path, Path]:
        """Return a base with two files, a child with a third, and a child of that."""
        given, raw = folder / "given", folder / "volume.img"
        given.mkdir()
        (given / "base").write_bytes(self.base)
        (given / "doomed").write_bytes(self.doomed)
        run_tool("mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", "-d", given, raw, VOLUME)
        base = bootdisk.dynamic_vhd(raw, folder / "base.vhd")
        (folder / "child.bin").write_bytes(self.child)
        run_tool("debugfs", "-w", "-R", f"write {folder / 'child.bin'} child", raw)
        child = make_child(folder / "child.vhd", base)
        write_changes(child, raw.read_bytes())
        return base, child, make_child(folder / "grandchild.vhd", child)


def ask(machine: ConsoleProcess, command: str) -> str:
    """Give the guest's shell a command; return what it answered once it has ended with 0."""
    start = len(machine.output)
    machine.send(f"{command} && echo ended-$((6 * 7))\n".encode())
    end = machine.wait_for(b"\nended-42\r\n", BOOT_S, start)
    machine.wait_for(PROMPT, BOOT_S, end)
    return bytes(machine.output[start : end + 1]).decode().replace("\r", "")


def linux(guest: LinuxGuest, engine: str, disk: Path, *commands: str) -> str:
    """Boot Debian's kernel with a disk, give it commands, switch it off; return what it answered."""
    with trapline("run", *linux_options(guest, "shell"), "--engine", engine, "--hd", disk) as machine:
        machine.wait_for(PROMPT, BOOT_S)
        ask(machine, "until [ -b /dev/sda ]; do sleep 0.1; done")
        answers = "".join(ask(machine, command) for command in commands)
        machine.send(b"exit\n")
        machine.wait_for(HALTED, BOOT_S)
        assert machine.wait_for_end(BOOT_S) == status.HALTED_FOREVER
    return answers


@pytest.mark.verify
@pytest.mark.oracle
@pytest.mark.parametrize("fixture", ["linux_i386", "linux_amd64"])
def test_debian_on_a_child_of_a_child(
    fixture: str, accelerated: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    guest, volume = request.getfixturevalue(fixture), Volume()
    base, child, disk = volume.chain(tmp_path)
    before = digests((base, child))
    linux(
        guest,
        accelerated,
        disk,
        "mount -t ext2 /dev/sda /mnt",
        "cp /mnt/base /mnt/copy",
        f"printf '{volume.patch.decode()}' | dd of=/mnt/base bs=1 seek={MIB} conv=notrunc 2>/dev/null",
        "rm /mnt/doomed && seq 1 20000 >/mnt/numbers",
        "sync && umount /mnt",
    )
    wanted = {
        "base": volume.patched,
        "child": volume.child,
        "copy": volume.base,
        "numbers": volume.numbers,
    }
    answers = linux(
        guest,
        accelerated,
        disk,
        "mount -t ext2 -o ro /dev/sda /mnt && cd /mnt && ls && sha256sum base child copy numbers",
    )

    assert "doomed" not in answers
    for name, content in wanted.items():
        digest = hashlib.sha256(content).hexdigest()
        assert f"{digest}  {name}\n" in answers
    assert digests((base, child)) == before
    assert breaches(disk) == []
    raw = tmp_path / "flat.img"
    raw.write_bytes(seven_zip(disk))
    run_tool("e2fsck", "-f", "-n", raw)
    for name, content in wanted.items():
        run_tool("debugfs", "-R", f"dump /{name} {tmp_path / 'found'}", raw)
        assert (tmp_path / "found").read_bytes() == content, name


@pytest.mark.verify
@pytest.mark.oracle
@pytest.mark.timeout(900)
def test_debians_disk_job_on_a_child_of_a_child(
    linux_i386: LinuxGuest, accelerated: str, tmp_path: Path
) -> None:
    """Partition, format, write 64 MiB and read them back, over what base and child hold."""
    base = bootdisk.empty_vhd(tmp_path / "base.vhd", 128)
    scribble(base, seed=1, writes=200)
    child = make_child(tmp_path / "child.vhd", base)
    scribble(child, seed=2, writes=200)
    disk = make_child(tmp_path / "disk.vhd", child)
    before = digests((base, child))
    with trapline(
        "run", *linux_options(linux_i386, "disk"), "--engine", accelerated, "--hd", disk
    ) as machine:
        machine.wait_for(HALTED, 2 * JOB_S)
        machine.wait_for(DISK_OK, timeout_s=0)
        assert machine.wait_for_end(BOOT_S) == status.HALTED_FOREVER
    assert digests((base, child)) == before
    assert breaches(disk) == []
    raw = tmp_path / "flat.img"
    raw.write_bytes(seven_zip(disk))
    check_raw_with_other_tools(raw)
