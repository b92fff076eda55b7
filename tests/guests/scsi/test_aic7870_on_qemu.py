"""Debian's kernel with its own aic7xxx.ko drives our AIC-7870 inside Debian's QEMU.

Nothing but the chip, its disks and the CD is ours: processor, PC, firmware, kernel and driver are foreign.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.aic7870 import bus
from tests.guests.assets.initramfs import HALTED, LinuxGuest
from tests.guests.assets.qemu import qemu
from tests.guests.scsi import media
from tests.guests.scsi.card import AicCard
from tests.guests.scsi.proxy import PciProxy

pytestmark = [pytest.mark.guest, pytest.mark.oracle, pytest.mark.verify]

JOBS = "attach,cd,files,tags,complaints,absent,bad,hang"
THINKING_NS = 2_000_000  # of a disk that has let go of the bus: QEMU's guest queues commands meanwhile
RUN_S = 3000  # a busy host gives QEMU a tenth of a processor
ATTENTION = (6, 0x29, 0x00)  # UNIT ATTENTION: power on, reset, or bus device reset occurred
UNREADABLE = (3, 0x11, 0x00)  # MEDIUM ERROR: unrecovered read error


@pytest.fixture(params=["linux_i386", "linux_amd64"])
def guest(request: pytest.FixtureRequest) -> LinuxGuest:
    found: LinuxGuest = request.getfixturevalue(request.param)
    return found


def run_jobs(guest: LinuxGuest, proxy: PciProxy, jobs: str) -> list[str]:
    """Have the guest do the jobs; return what it said of them."""
    command_line = f"{guest.command_line('scsi', apic=True)} trapline.jobs={jobs}"
    load = ("-kernel", guest.kernel, "-initrd", guest.initramfs, "-append", command_line)
    with proxy, qemu(
        *proxy.arguments(), *load, architecture=guest.architecture, files=proxy.files
    ) as machine:  # fmt: skip
        machine.wait_for(HALTED, RUN_S)
        output = machine.output.decode("latin-1").replace("\r", "")
    return [line for line in output.split("\n") if line.startswith(("TRAPLINE-", "aic7870:"))]


@pytest.mark.timeout(RUN_S + 300)
def test_the_driver_of_debian_does_all_that_it_can_on_qemu(
    guest: LinuxGuest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "DISCONNECT_NS", THINKING_NS)
    proxy = PciProxy(tmp_path)
    card = AicCard(tmp_path, proxy)
    said = run_jobs(guest, proxy, JOBS)
    card.close()
    assert said == [
        "TRAPLINE-GUEST-READY",
        *media.attached("aic7xxx", 8, card.disc),
        "TRAPLINE-SCSI cd: from the CD",
        media.ALL_FILES,
        "TRAPLINE-SCSI tags: 16 parts the same",
        "TRAPLINE-SCSI complaints: none",
        "TRAPLINE-SCSI absent: nobody at 5",
        "TRAPLINE-SCSI bad: Sense Key : Medium Error",
        "TRAPLINE-SCSI bad: Add. Sense: Unrecovered read error",
        "TRAPLINE-SCSI bad: neighbours can be read",
        "TRAPLINE-SCSI hang: 1 aborted, 1 completed",
        "TRAPLINE-SCSI done",
    ]
    notebook = card.notebook
    assert card.complaints == []
    assert notebook.other == []
    assert {ATTENTION, UNREADABLE} <= notebook.sense
    assert notebook.both_open
    assert min(notebook.most_open[disk] for disk in (0, 1)) > 1
    assert card.most_disconnected > 1
    assert card.hang.times == 0
    assert [notebook.last[disk] for disk in (0, 1)] == ["SYNCHRONIZE CACHE 10"] * 2
    for disk in card.disks:
        media.check_file_system(disk)
