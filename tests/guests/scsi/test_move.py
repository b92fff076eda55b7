"""The move: a Linux on a VHD runs from IDE, meets a SCSI adapter, and boots from it with nothing changed.

`docs/guide/the-move.md` tells the same with commands.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final

import pytest

from tests.guests.assets import bootdisk, rootdisk
from tests.guests.assets.initramfs import HALTED, LinuxGuest
from tests.guests.assets.trapline import SERIAL_ONLY, trapline
from tests.guests.scsi import media
from tests.oracles import run_tool

pytestmark = [pytest.mark.guest, pytest.mark.verify]

BOOT_S: Final = 900
HALTED_FOREVER: Final = 6  # exit status of `trapline run` after HLT with interrupts off


def boot(*options: str | Path) -> list[str]:
    """Run a machine to its end; return what the guest said."""
    with trapline("run", *options, "--clock", "virtual", "--memory", "256M", *SERIAL_ONLY) as machine:
        machine.wait_for(HALTED, BOOT_S)
        assert machine.wait_for_end(BOOT_S) == HALTED_FOREVER
        said: list[str] = re.findall(r"^TRAPLINE-\w+ ?(.*)$", machine.output.decode().replace("\r", ""), re.M)
    assert said[1] == "files as installed: 3"
    assert said[-1] == "done"
    return [said[0], *said[2:-1]]


def check(vhd: Path) -> None:
    """The VHD and the file system in its partition are whole."""
    raw = media.check_disk(vhd)
    sector = raw.read_bytes()[: bootdisk.SECTOR_BYTES]
    first_lba, sectors = struct.unpack_from("<II", sector, bootdisk.TABLE_OFFSET + 8)
    start = first_lba * bootdisk.SECTOR_BYTES
    partition = raw.with_suffix(".ext2")
    partition.write_bytes(raw.read_bytes()[start : start + sectors * bootdisk.SECTOR_BYTES])
    run_tool("e2fsck", "-f", "-n", partition)


@pytest.mark.timeout(5 * BOOT_S)
def test_a_disk_moves_from_ide_to_the_aic_7870_and_to_virtio(linux_i386: LinuxGuest, tmp_path: Path) -> None:
    disk = rootdisk.root_vhd(tmp_path, linux_i386)
    other = bootdisk.empty_vhd(tmp_path / "other.vhd", 32)
    assert boot("--hd", disk) == ["boot 1: root file system by ata_piix"]
    check(disk)
    assert boot("--hd", disk, "--scsi-adapter", "aic7870", "--scsi-hd", other) == [
        "boot 2: root file system by ata_piix",
        "other disk by aic7xxx: visited in boots 2 ",
    ]
    check(disk)
    on_scsi = ("--scsi-hd", f"{disk},id=0", "--scsi-hd", f"{other},id=1")
    assert boot("--scsi-adapter", "aic7870", *on_scsi) == [
        "boot 3: root file system by aic7xxx",
        "other disk by aic7xxx: visited in boots 2 3 ",
    ]
    check(disk)
    assert boot("--scsi-adapter", "virtio", *on_scsi) == [
        "boot 4: root file system by virtio_scsi",
        "other disk by virtio_scsi: visited in boots 2 3 4 ",
    ]
    check(disk)
