"""Builds Snare and the media that carry it.

    python guests/snare/build.py build             all from source (gcc, nasm)
    python guests/snare/build.py raw    PATH       a raw hard disk of 8 MiB
    python guests/snare/build.py vhd    PATH       the same as a dynamic VHD
    python guests/snare/build.py floppy PATH       a floppy disk of 1440 KiB
    python guests/snare/build.py cd     PATH       a bootable CD-ROM
    python guests/snare/build.py kernel FOLDER     snare.bin and snare.fs, for a Multiboot loader

boot.bin, snare.bin, snare-para.bin and snare.fs are committed, so a user needs no compiler; a test
proves that the source gives the same bytes. `--append TEXT` is the kernel's command line: `notest`,
`exit`. `--para` takes the kernel's paravirtual port. Where everything lies is told at the top of
boot/boot.asm.
"""

from __future__ import annotations

import argparse
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING or __package__:
    from guests.snare import iso9660, snarefs
else:
    import iso9660
    import snarefs

SECTOR: Final = 512
HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parents[1]
BOOT: Final = HERE / "boot.bin"
KERNEL: Final = HERE / "snare.bin"
PARA_KERNEL: Final = HERE / "snare-para.bin"
FILES: Final = HERE / "snare.fs"
BOOT_SECTORS: Final = 8
FIELDS_AT: Final = 0x40
COMMAND_LINE_AT: Final = SECTOR
COMMAND_LINE_BYTES: Final = 64
PARTITION_AT: Final = 446
PARTITION_TYPE: Final = 0x7F  # set aside for experiments
DISK_BYTES: Final = 8 << 20
DISK_FS_BLOCKS: Final = 8192
FLOPPY_BYTES: Final = 1440 << 10
HEADS: Final = 16
TRACK: Final = 63


def boot_image(
    command_line: str = "",
    *,
    ramdisk: bool,
    all_loaded: bool = False,
    fs_blocks: int = 0,
    kernel_file: Path = KERNEL,
) -> bytes:
    """Return boot program, kernel and file system as they lie on every medium.

    With `ramdisk` the boot program loads the file system too; `all_loaded` says that the firmware
    has already done so. `fs_blocks` makes the file system larger than the committed one.
    """
    program, kernel, files = bytearray(BOOT.read_bytes()), kernel_file.read_bytes(), FILES.read_bytes()
    if fs_blocks:
        small = snarefs.FileSystem(files)
        files = bytes(
            snarefs.FileSystem.new(fs_blocks, {name: small.read(name) for name in small.names()}).data
        )
    kernel_sectors = -(-len(kernel) // SECTOR)
    fs_sector = BOOT_SECTORS + kernel_sectors
    fs_sectors = len(files) // SECTOR
    loaded = fs_sector + (fs_sectors if ramdisk else 0)
    fields = (loaded, len(kernel), fs_sector, fs_sectors, len(files) if ramdisk else 0, int(all_loaded))
    struct.pack_into("<6I", program, FIELDS_AT, *fields)
    text = command_line.encode()
    if len(text) >= COMMAND_LINE_BYTES:
        raise ValueError(f"a command line of {len(text)} bytes: at most {COMMAND_LINE_BYTES - 1} have room")
    program[COMMAND_LINE_AT : COMMAND_LINE_AT + len(text)] = text
    return bytes(program) + kernel.ljust(kernel_sectors * SECTOR, b"\0") + files


def _chs(lba: int) -> bytes:
    track, sector = divmod(lba, TRACK)
    cylinder, head = divmod(track, HEADS)
    return bytes((head, sector + 1 | cylinder >> 2 & 0xC0, cylinder & 0xFF))


def hard_disk(command_line: str = "", kernel: Path = KERNEL) -> bytes:
    """Return a hard disk as far as it is not zeros: one active partition, which is the file system."""
    image = bytearray(boot_image(command_line, ramdisk=False, fs_blocks=DISK_FS_BLOCKS, kernel_file=kernel))
    (start, count) = struct.unpack_from("<2I", image, FIELDS_AT + 8)
    entry = b"\x80" + _chs(start) + bytes((PARTITION_TYPE,)) + _chs(start + count - 1)
    image[PARTITION_AT : PARTITION_AT + 16] = entry + struct.pack("<2I", start, count)
    return bytes(image)


def make_raw(target: Path, command_line: str = "", kernel: Path = KERNEL) -> None:
    """Write a raw hard disk."""
    target.write_bytes(hard_disk(command_line, kernel).ljust(DISK_BYTES, b"\0"))


def make_vhd(target: Path, command_line: str = "", kernel: Path = KERNEL) -> None:
    """Write a dynamic VHD."""
    from disks.newfile import new_file
    from disks.open import open_image
    from disks.vhd.create import write_dynamic

    with new_file(target, replace=True) as file:
        write_dynamic(file, DISK_BYTES)
    disk = open_image(target)
    try:
        image = hard_disk(command_line, kernel).rstrip(b"\0")  # a dynamic disk need not hold zeros
        disk.write(0, image + bytes(-len(image) % SECTOR))
        disk.flush()
    finally:
        disk.close()


def make_floppy(target: Path, command_line: str = "", kernel: Path = KERNEL) -> None:
    """Write a floppy disk; the file system becomes a RAM disk."""
    image = boot_image(command_line, ramdisk=True, kernel_file=kernel)
    target.write_bytes(image.ljust(FLOPPY_BYTES, b"\0"))


def make_cd(target: Path, command_line: str = "", kernel: Path = KERNEL) -> None:
    """Write an ISO 9660 image whose El Torito entry loads everything; the file system becomes a RAM disk."""
    image = boot_image(command_line, ramdisk=True, all_loaded=True, kernel_file=kernel)
    target.write_bytes(iso9660.bootable_volume("SNARE", "SNARE.IMG", image))


def copy_kernel(target: Path, kernel: Path = KERNEL) -> None:
    """Copy what a Multiboot loader needs: the kernel, and the file system as its module."""
    for file in (kernel, FILES):
        (target / file.name).write_bytes(file.read_bytes())


MEDIA: Final = {"raw": make_raw, "vhd": make_vhd, "floppy": make_floppy, "cd": make_cd}


def _compile() -> None:
    if TYPE_CHECKING or __package__:
        from guests.snare import compiler
    else:
        import compiler
    compiler.main(HERE)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["build", *MEDIA, "kernel"])
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--append", default="", metavar="TEXT", help="the kernel's command line")
    parser.add_argument("--para", action="store_true", help="take the kernel's paravirtual port")
    given = parser.parse_args()
    kernel = PARA_KERNEL if given.para else KERNEL
    if given.what == "build":
        _compile()
    elif given.path is None:
        parser.error("a path is needed")
    elif given.what == "kernel":
        copy_kernel(given.path, kernel)
    else:
        MEDIA[given.what](given.path, given.append, kernel)


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))  # run from a checkout that is not installed
    main()
