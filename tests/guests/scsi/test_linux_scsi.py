"""Debian's kernel and its own SCSI drivers on our whole PC: aic7xxx.ko on the AIC-7870, virtio_scsi.ko."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.aic7870 import faults
from devices.aic7870.chip import Aic7870
from devices.aic7870.faults import Fault
from tests.disks.conftest import make_child
from tests.guests.assets import bootdisk
from tests.guests.assets.initramfs import HALTED, LinuxGuest
from tests.guests.scsi import media
from tests.guests.scsi.card import HUNG_SECTOR, READ_10
from vmm.config import MachineConfig
from vmm.machine import Machine
from vmm.scsi_config import ScsiAdapter, ScsiDrive

pytestmark = pytest.mark.guest

QUICK_S = 700
RUN_S = 3000  # a busy host gives a guest a tenth of a processor
DRIVERS = {"aic7870": "aic7xxx", "virtio": "virtio_scsi"}
DEPTHS = {"aic7870": 8, "virtio": 128}


@pytest.fixture(params=["linux_i386", "linux_amd64"])
def guest(request: pytest.FixtureRequest) -> LinuxGuest:
    found: LinuxGuest = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def disks(tmp_path: Path) -> list[Path]:
    """Two differencing VHDs on empty parents."""
    parents = [bootdisk.empty_vhd(tmp_path / f"parent{number}.vhd", media.DISK_MIB) for number in (0, 1)]
    return [make_child(tmp_path / f"child{number}.vhd", parent) for number, parent in enumerate(parents)]


def config_of(guest: LinuxGuest, kind: str, jobs: str, disks: list[Path], cd: Path) -> MachineConfig:
    """A machine with the disks and the CD on an adapter, whose kernel does the jobs."""
    command_line = guest.command_line("scsi")
    return MachineConfig(
        kernel=str(guest.kernel),
        initrd=(str(guest.initramfs),),
        append=f"{command_line} trapline.jobs={jobs} trapline.driver={DRIVERS[kind]}",
        memory_bytes=256 << 20,
        engine="accelerated",
        clock="virtual",  # a guest that gets a tenth of a processor would only hear its timer
        scsi_adapters=(ScsiAdapter(kind),),  # type: ignore[arg-type]
        scsi_hd=tuple(ScsiDrive(path=str(disk)) for disk in disks),
        scsi_cd=(ScsiDrive(path=str(cd), read_only=True),),
    )


def run_jobs(machine: Machine, limit_s: float) -> list[str]:
    """Run to the guest's end; return what it said."""
    result = machine.run(HALTED, limit_s)
    output = machine.serial_output().decode("latin-1").replace("\r", "")
    assert result.reason == "until", (result, output[-2000:])
    assert machine.run(timeout_s=limit_s).reason == "halted"
    return [line for line in output.split("\n") if line.startswith(("TRAPLINE-", "aic7870:"))]


def test_the_driver_of_debian_finds_two_disks_and_a_cd_and_uses_them(
    linux_i386: LinuxGuest, accelerated: str, disks: list[Path], tmp_path: Path
) -> None:
    disc = media.disc(tmp_path)
    with Machine(config_of(linux_i386, "aic7870", "attach,small,cd", disks, disc)) as machine:
        said = run_jobs(machine, QUICK_S)
    assert said[1:6] == attached("aic7870", disc)
    assert said[6].startswith("TRAPLINE-SCSI small: 2 times ")
    assert said[7:] == ["TRAPLINE-SCSI cd: from the CD", "TRAPLINE-SCSI done"]


@pytest.mark.verify
@pytest.mark.timeout(RUN_S + 300)
@pytest.mark.parametrize("kind", ["aic7870", "virtio"])
def test_64_mib_go_to_each_of_two_disks_at_once_and_come_back(
    guest: LinuxGuest, kind: str, accelerated: str, disks: list[Path], tmp_path: Path
) -> None:
    disc = media.disc(tmp_path)
    jobs = "attach,cd,files,tags,complaints,absent"
    with Machine(config_of(guest, kind, jobs, disks, disc)) as machine:
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
    config = config_of(linux_i386, "aic7870", "attach,hang", disks, media.disc(tmp_path))
    with Machine(config) as machine:
        hang = Fault(faults.HANG, operation=READ_10, lba=HUNG_SECTOR)
        chip_of(machine).bus.peripherals[0].faults.append(hang)
        said = run_jobs(machine, RUN_S)
    assert hang.times == 0
    assert said[-2:] == ["TRAPLINE-SCSI hang: 1 aborted, 1 completed", "TRAPLINE-SCSI done"]


def attached(kind: str, disc: Path) -> list[str]:
    return media.attached(DRIVERS[kind], DEPTHS[kind], disc)


def chip_of(machine: Machine) -> Aic7870:
    """The chip of the first adapter."""
    return next(card for card in machine.board.cards if isinstance(card, Aic7870))
