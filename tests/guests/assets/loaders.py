"""Media with programs nobody here wrote that work through BIOS services: SYSLINUX's modules, memdisk.

Nothing is mounted; the tools write into images.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.oracles import require_file, run_tool

SECTOR_BYTES: Final = 512
MODULES: Final = "/usr/lib/syslinux/modules/bios"
# What the modules used here need in turn
LIBRARIES: Final = ("ldlinux", "libcom32", "libutil", "libgpl", "libmenu")
HEADS, TRACK = 15, 17  # of a small disk of the AT's time
PARTITION_LBA: Final = TRACK


def module(name: str) -> Path:
    """Return a SYSLINUX module.

    Raises:
        MissingError: its package is not installed.
    """
    return require_file(f"{MODULES}/{name}.c32", "syslinux-common")


def configuration(folder: Path, name: str, *lines: str) -> Path:
    """Write a configuration that runs one entry at once, on COM1."""
    path = folder / name
    path.write_text("\n".join(("SERIAL 0 115200", "PROMPT 0", "DEFAULT it", "LABEL it", *lines, "")))
    return path


def isolinux_disc(folder: Path, modules: Sequence[str], *lines: str, files: Sequence[Path] = ()) -> Path:
    """Write a CD that boots ISOLINUX, without emulation, into the entry that `lines` make."""
    tree, image = folder / "isolinux", folder / "isolinux.iso"
    tree.mkdir()
    loader = require_file("/usr/lib/ISOLINUX/isolinux.bin", "isolinux")
    for source in (loader, *(module(name) for name in (*LIBRARIES, *modules)), *files):
        (tree / source.name).write_bytes(source.read_bytes())
    configuration(tree, "isolinux.cfg", *lines)
    _iso(image, tree, "-b", loader.name, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table")
    return image


def syslinux_floppy(folder: Path, kib: int, module_name: str) -> Path:
    """Write a floppy image of that size that boots SYSLINUX into a module."""
    image = folder / f"floppy{kib}.img"
    run_tool("mkfs.fat", "--invariant", "-C", image, str(kib))
    _fill(folder, str(image), module_name)
    run_tool("syslinux", "--install", image)
    return image


def syslinux_disk(folder: Path, module_name: str) -> Path:
    """Write a hard disk of 15 heads and 17 sectors that boots SYSLINUX into a module."""
    image = folder / "disk.img"
    cylinder = HEADS * TRACK
    length = 64 * cylinder - PARTITION_LBA
    code = require_file("/usr/lib/syslinux/mbr/mbr.bin", "syslinux-common").read_bytes()
    entry = struct.pack(
        "<B3sB3sII", 0x80, _chs(PARTITION_LBA), 4, _chs(PARTITION_LBA + length - 1), PARTITION_LBA, length
    )
    image.write_bytes((code.ljust(446, b"\0") + entry).ljust(510, b"\0") + b"\x55\xaa")
    with image.open("r+b") as file:
        file.truncate(65 * cylinder * SECTOR_BYTES)
    run_tool("mkfs.fat", "--invariant", "-F", "12", "-g", f"{HEADS}/{TRACK}", "-h", str(PARTITION_LBA),
             f"--offset={PARTITION_LBA}", image, str(length // 2))  # fmt: skip
    offset = PARTITION_LBA * SECTOR_BYTES
    _fill(folder, f"{image}@@{offset}", module_name)
    run_tool("syslinux", "--install", "--offset", str(offset), image)
    return image


def emulating_disc(folder: Path, boot_image: Path, *, hard_disk: bool = False) -> Path:
    """Write a CD whose boot image is shown as a floppy, or as a hard disk."""
    tree, disc = folder / "tree", folder / "emulated.iso"
    tree.mkdir()
    (tree / boot_image.name).write_bytes(boot_image.read_bytes())
    kind = ["-hard-disk-boot"] if hard_disk else []
    _iso(disc, tree, *kind, "-b", boot_image.name)
    return disc


def _iso(image: Path, tree: Path, *options: str) -> None:
    run_tool("xorriso", "-as", "mkisofs", "-quiet", "-r", *options, "-c", "boot.cat", "-o", image, tree)


def _chs(lba: int) -> bytes:
    cylinder, rest = divmod(lba, HEADS * TRACK)
    return bytes((rest // TRACK, rest % TRACK + 1 | cylinder >> 2 & 0xC0, cylinder & 0xFF))


def _fill(folder: Path, volume: str, module_name: str) -> None:
    config = configuration(folder, "syslinux.cfg", f"  COM32 {module_name}.c32")
    for source in (config, *(module(name) for name in ("libcom32", "libutil", module_name))):
        run_tool("mcopy", "-i", volume, source, f"::{source.name}")
