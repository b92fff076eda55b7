"""Debian's kernel and its own SCSI drivers on our whole PC: aic7xxx.ko on the AIC-7870, virtio_scsi.ko."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.aic7870 import faults
from devices.aic7870.chip import Aic7870
from devices.aic7870.faults import Fault
from tests.disks.conftest import make_child
from tests.guests.assets import bootdisk
from tests.guests.assets.initramfs import LinuxGuest
from tests.guests.scsi import media
from tests.guests.scsi.card import HUNG_SECTOR, READ_10
from tests.guests.scsi.machines import DRIVERS, RUN_S, config_of
from tests.oracles import run_tool
from vmm.machine import Machine
from vmm.scsi_config import AdapterKind

pytestmark = pytest.mark.guest

QUICK_S = 700
CLOCK = "virtual"  # a guest that gets a tenth of a processor would only hear its timer
DEPTHS = {"aic7870": (8, 2), "virtio": (128, 128)}  # of the queues of disks and CD


@pytest.fixture(params=["linux_i386", "linux_amd64"])
def guest(request: pytest.FixtureRequest) -> LinuxGuest:
    found: LinuxGuest = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    """Two differencing VHDs, the first on a parent with a file system, the second on an empty one."""
    raw = tmp_path / "parent.raw"
    run_tool("mke2fs", "-q", "-t", "ext2", raw, f"{media.DISK_MIB}m")
    parents = [
        bootdisk.dynamic_vhd(raw, tmp_path / "formatted.vhd"),
        bootdisk.empty_vhd(tmp_path / "empty.vhd", media.DISK_MIB),
    ]
    return [make_child(tmp_path / f"child{number}.vhd", parent) for number, parent in enumerate(parents)]


def run_jobs(machine: Machine, limit_s: float) -> list[str]:
    """Run to the guest's end; return what it said."""
    result = machine.run(timeout_s=limit_s)
    output = machine.serial_output().decode("latin-1").replace("\r", "")
    assert result.reason == "halted", (result, output[-2000:])
    return [line for line in output.split("\n") if line.startswith(("TRAPLINE-", "aic7870:"))]


def test_the_driver_of_debian_finds_two_disks_and_a_cd_and_uses_them(
    linux_i386: LinuxGuest, accelerated: str, disks: list[Path], tmp_path: Path
) -> None:
    disc = media.disc(tmp_path)
    with Machine(config_of(linux_i386, "aic7870", "attach,small,cd", disks, disc, clock=CLOCK)) as machine:
        said = run_jobs(machine, QUICK_S)
    assert said[1:6] == attached("aic7870", disc)
    assert said[6].startswith("TRAPLINE-SCSI small: 2 times ")
    assert said[7:] == ["TRAPLINE-SCSI cd: from the CD", "TRAPLINE-SCSI done"]


@pytest.mark.verify
@pytest.mark.timeout(RUN_S + 300)
@pytest.mark.parametrize("kind", ["aic7870", "virtio"])
def test_64_mib_go_to_each_of_two_disks_at_once_and_come_back(
    guest: LinuxGuest, kind: AdapterKind, accelerated: str, disks: list[Path], tmp_path: Path
) -> None:
    disc = media.disc(tmp_path)
    jobs = "attach,cd,files,tags,complaints,absent"
    with Machine(config_of(guest, kind, jobs, disks, disc, clock=CLOCK)) as machine:
        if kind == "aic7870":
            for number in (0, 1):
                chip_of(machine).bus.peripherals[number].policy = faults.MID_DATA
        said = run_jobs(machine, RUN_S)
    first = said.index("TRAPLINE-SCSI cd: from the CD")
    assert said[1:first] == attached(kind, disc)
    assert said[first + 1 :] == [
        media.ALL_FILES,
        "TRAPLINE-SCSI tags: 16 parts the same",
        "TRAPLINE-SCSI complaints: none",
        "TRAPLINE-SCSI absent: nobody at 5",
        "TRAPLINE-SCSI done",
    ]
    for disk in disks:
        media.check_file_system(disk)


@pytest.mark.verify
@pytest.mark.timeout(RUN_S + 300)
def test_the_driver_aborts_a_command_that_hangs_and_goes_on(
    linux_i386: LinuxGuest, accelerated: str, disks: list[Path], tmp_path: Path
) -> None:
    disc = media.disc(tmp_path)
    config = config_of(linux_i386, "aic7870", "attach,hang", disks, disc, clock=CLOCK)
    with Machine(config) as machine:
        hang = Fault(faults.HANG, operation=READ_10, lba=HUNG_SECTOR)
        chip_of(machine).bus.peripherals[0].faults.append(hang)
        said = run_jobs(machine, RUN_S)
    assert hang.times == 0
    assert said[-2:] == ["TRAPLINE-SCSI hang: 1 aborted, 1 completed", "TRAPLINE-SCSI done"]


def attached(kind: AdapterKind, disc: Path) -> list[str]:
    return media.attached(DRIVERS[kind], *DEPTHS[kind], disc)


def chip_of(machine: Machine) -> Aic7870:
    """The chip of the first adapter."""
    return next(card for card in machine.board.cards if isinstance(card, Aic7870))
