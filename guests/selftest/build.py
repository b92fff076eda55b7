"""Builds the boot program and the media that carry it.

    python guests/selftest/build.py assemble            selftest.bin from its source (needs nasm)
    python guests/selftest/build.py raw  PATH           a raw hard disk
    python guests/selftest/build.py vhd  PATH           a dynamic VHD
    python guests/selftest/build.py cd   PATH           a bootable CD-ROM (needs xorriso)

`selftest.bin` is committed, so a user needs no assembler; a test proves that the source gives the
same bytes. What lies where on the media is told at the top of `selftest.asm`.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from disks.image import BlockImage

SECTOR_BYTES: Final = 512
HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parents[1]
PROGRAM: Final = HERE / "selftest.bin"
PROGRAM_SECTORS: Final = 16
PATTERN_LBA: Final = 32
PATTERN_SECTORS: Final = 32
PATTERN_STEP: Final = 0x9E37_79B1
DWORDS_PER_SECTOR: Final = SECTOR_BYTES // 4
DISK_BYTES: Final = 8 << 20


def pattern(lba: int, sectors: int) -> bytes:
    """Return what the sectors from `lba` on hold: dword j of sector n is (n * 128 + j) * step."""
    first = lba * DWORDS_PER_SECTOR
    values = ((k * PATTERN_STEP) & 0xFFFF_FFFF for k in range(first, first + sectors * DWORDS_PER_SECTOR))
    return struct.pack(f"<{sectors * DWORDS_PER_SECTOR}I", *values)


def boot_image() -> bytes:
    """Return the first sectors of every medium: the program, then the pattern."""
    program = PROGRAM.read_bytes()
    return program.ljust(PATTERN_LBA * SECTOR_BYTES, b"\0") + pattern(PATTERN_LBA, PATTERN_SECTORS)


def fill(disk: BlockImage) -> None:
    """Put the program and the pattern on `disk`."""
    disk.write(0, boot_image())
    disk.flush()


def assemble(target: Path = PROGRAM) -> None:
    """Build the program from its source."""
    command = [_tool("nasm"), "-w+all", "-f", "bin", "-o", str(target.resolve()), "selftest.asm"]
    subprocess.run(command, cwd=HERE, check=True)  # noqa: S603 - our own source


def make_raw(target: Path) -> None:
    """Write a raw hard disk."""
    target.write_bytes(boot_image().ljust(DISK_BYTES, b"\0"))


def make_vhd(target: Path) -> None:
    """Write a dynamic VHD."""
    from disks.newfile import new_file
    from disks.open import open_image
    from disks.vhd.create import write_dynamic

    with new_file(target, replace=True) as file:
        write_dynamic(file, DISK_BYTES)
    disk = open_image(target)
    try:
        fill(disk)
    finally:
        disk.close()


def make_cd(target: Path) -> None:
    """Write an ISO 9660 image whose El Torito entry loads the program without emulation."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "selftest.img").write_bytes(boot_image())
        command = [_tool("xorriso"), "-as", "mkisofs", "-quiet", "-V", "SELFTEST", "-o", str(target)]
        command += ["-b", "selftest.img", "-no-emul-boot", "-boot-load-size", str(PROGRAM_SECTORS), folder]
        subprocess.run(command, check=True)  # noqa: S603 - our own files


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        sys.exit(f"build.py: {name} is not installed")
    return found


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="Build Trapline's boot program and its media.")
    parser.add_argument("what", choices=["assemble", "raw", "vhd", "cd"])
    parser.add_argument("path", nargs="?", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "assemble":
        assemble(arguments.path or PROGRAM)
        return
    if arguments.path is None:
        parser.error("a path is needed")
    {"raw": make_raw, "vhd": make_vhd, "cd": make_cd}[arguments.what](arguments.path)


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))  # run from a checkout that is not installed
    main()
