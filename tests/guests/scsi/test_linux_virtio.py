"""Debian's kernel with its virtio_pci.ko and virtio_scsi.ko, by the modern and by the legacy interface."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guests.assets import bootdisk
from tests.guests.assets.initramfs import HALTED, LinuxGuest
from tests.guests.scsi import media
from vmm.config import MachineConfig
from vmm.machine import Machine
from vmm.scsi_config import ScsiAdapter, ScsiDrive

pytestmark = [pytest.mark.guest, pytest.mark.verify]

JOBS = "attach,small,tags,cd,absent,complaints"
RUN_S = 3000  # a busy host gives a guest a tenth of a processor


@pytest.mark.timeout(RUN_S + 300)
@pytest.mark.parametrize("legacy", [False, True])
def test_the_drivers_of_debian_use_both_interfaces(
    linux_i386: LinuxGuest, accelerated: str, tmp_path: Path, legacy: bool
) -> None:
    disk = bootdisk.empty_vhd(tmp_path / "disk.vhd", media.DISK_MIB)
    options = f"trapline.driver=virtio_scsi trapline.jobs={JOBS} virtio_pci.force_legacy={int(legacy)}"
    config = MachineConfig(
        kernel=str(linux_i386.kernel),
        initrd=(str(linux_i386.initramfs),),
        append=f"{linux_i386.command_line('scsi')} {options}",
        memory_bytes=256 << 20,
        engine=accelerated,  # type: ignore[arg-type]
        scsi_adapters=(ScsiAdapter("virtio"),),
        scsi_hd=(ScsiDrive(path=str(disk)),),
        scsi_cd=(ScsiDrive(path=str(media.disc(tmp_path)), read_only=True),),
    )
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
