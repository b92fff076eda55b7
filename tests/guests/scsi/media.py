"""What the guests of the SCSI tests find on the bus, and what must be on it afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from tests.guests.assets.initramfs import expected_data
from tests.guests.assets.trapline import trapline
from tests.oracles import run_tool

DISK_MIB: Final = 128
CHECK_S: Final = 300
ALL_FILES: Final = f"TRAPLINE-SCSI files: 2 times {hashlib.sha256(expected_data()).hexdigest()}"
"""What scsi.sh says when the 64 MiB are on both disks."""


def disc(folder: Path) -> Path:
    """Write a CD with the file `given`; return its path."""
    tree, image = folder / "disc", folder / "disc.iso"
    tree.mkdir()
    (tree / "given").write_text("from the CD\n")
    run_tool("xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", image, tree)
    return image


def attached(driver: str, depth: int, cd_depth: int, disc_image: Path) -> list[str]:
    """What scsi.sh says of an adapter with two disks and a CD; hosts 0 and 1 are IDE's."""
    disk = f"type 0, {DISK_MIB << 11} sectors, depth {depth}"
    cd = f"type 5, {disc_image.stat().st_size // 512} sectors, depth {cd_depth}"
    return [
        *["aic7870: Single Channel A, SCSI Id=7, 16/253 SCBs"] * (driver == "aic7xxx"),
        f"TRAPLINE-SCSI attach: host 2 of {driver}",
        f"TRAPLINE-SCSI device 2:0:0:0: {disk}",
        f"TRAPLINE-SCSI device 2:0:1:0: {disk}",
        f"TRAPLINE-SCSI device 2:0:2:0: {cd}",
    ]


def check_disk(vhd: Path) -> Path:
    """Have `trapline disk check` find nothing wrong with a VHD; return what a guest sees as a raw image."""
    raw = vhd.with_suffix(".raw")
    raw.unlink(missing_ok=True)
    for command in (("check", vhd), ("convert", vhd, raw)):
        with trapline("disk", *command) as process:
            assert process.wait_for_end(CHECK_S) == 0, process.output.decode()
    return raw


def check_file_system(vhd: Path) -> None:
    """e2fsck finds nothing wrong on the disk, and the guest's 64 MiB are there."""
    raw = check_disk(vhd)
    run_tool("e2fsck", "-f", "-n", raw)
    copy = raw.with_suffix(".data")
    run_tool("debugfs", "-R", f"dump /data {copy}", raw)
    found = hashlib.sha256(copy.read_bytes()).hexdigest()
    assert found == hashlib.sha256(expected_data()).hexdigest()
