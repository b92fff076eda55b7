"""Debian's SCSI drivers on a machine with an I/O APIC: the adapters' interrupts come by pins 16 to 19."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.apic.messages import MASKED
from tests.guests.assets import bootdisk
from tests.guests.assets.initramfs import HALTED, LinuxGuest
from tests.guests.scsi import media
from tests.guests.scsi.machines import RUN_S, config_of
from vmm.machine import Machine
from vmm.scsi_config import AdapterKind

pytestmark = [pytest.mark.guest, pytest.mark.verify]

JOBS = "attach,small,complaints"
PCI_PINS = range(16, 20)


@pytest.mark.timeout(RUN_S + 300)
@pytest.mark.parametrize("kind", ["aic7870", "virtio"])
def test_a_driver_of_debian_gets_its_interrupts_from_the_io_apic(
    linux_i386: LinuxGuest, accelerated: str, tmp_path: Path, kind: AdapterKind
) -> None:
    disk = bootdisk.empty_vhd(tmp_path / "disk.vhd", media.DISK_MIB)
    config = config_of(linux_i386, kind, JOBS, [disk], apic=True)
    with Machine(config) as machine:
        result = machine.run(HALTED, RUN_S)
        output = machine.serial_output().decode("latin-1").replace("\r", "")
        assert machine.board.apics is not None
        entries = machine.board.apics[1].save().entries
        (pin,) = machine.board.pin_numbers()["scsi0"]
    assert result.reason == "until", output[-2000:]
    assert pin in PCI_PINS
    assert not entries[pin] & MASKED
    assert "TRAPLINE-SCSI complaints: none" in output
    assert "TRAPLINE-SCSI small: 2 times " in output
