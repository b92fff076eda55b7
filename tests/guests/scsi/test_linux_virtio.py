"""Debian's kernel with its virtio_pci.ko and virtio_scsi.ko, by the modern and by the legacy interface."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guests.assets import bootdisk
from tests.guests.assets.initramfs import HALTED, LinuxGuest
from tests.guests.scsi import media
from tests.guests.scsi.machines import RUN_S, config_of
from vmm.machine import Machine

pytestmark = [pytest.mark.guest, pytest.mark.verify]

JOBS = "attach,small,tags,cd,absent,complaints"


@pytest.mark.timeout(RUN_S + 300)
@pytest.mark.parametrize("legacy", [False, True])
def test_the_drivers_of_debian_use_both_interfaces(
    linux_i386: LinuxGuest, accelerated: str, tmp_path: Path, legacy: bool
) -> None:
    disk = bootdisk.empty_vhd(tmp_path / "disk.vhd", media.DISK_MIB)
    words = f"virtio_pci.force_legacy={int(legacy)}"
    config = config_of(linux_i386, "virtio", JOBS, [disk], media.disc(tmp_path), words=words)
    with Machine(config) as machine:
        result = machine.run(HALTED, RUN_S)
        output = machine.serial_output().decode("latin-1").replace("\r", "")
        assert result.reason == "until", output[-2000:]
        host = next(card for card in machine.board.cards if card.name == "scsi0").transport
        assert host.save().by_page == legacy
    assert re.search(r"scsi host\d: Virtio SCSI HBA", output)
    said = [line for line in output.split("\n") if line.startswith("TRAPLINE-")]
    assert said[1].endswith(" of virtio_scsi")
    assert said[2].endswith(f": type 0, {media.DISK_MIB * 2048} sectors, depth 128")
    assert ": type 5, " in said[3]
    assert said[4].startswith("TRAPLINE-SCSI small: 2 times ")
    assert said[5:] == [
        "TRAPLINE-SCSI tags: 8 parts the same",
        "TRAPLINE-SCSI cd: from the CD",
        "TRAPLINE-SCSI absent: nobody at 5",
        "TRAPLINE-SCSI complaints: none",
        "TRAPLINE-SCSI done",
    ]
