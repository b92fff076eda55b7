"""Media that boot GRUB 2: a CD by grub-mkrescue, and an installed disk, made without root or mounts.

On the disk boot.img is the master boot record, core.img follows it in the gap before the partition, as
grub-bios-setup places them, and /boot/grub is on an ext2 file system.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.guests.assets import bootdisk
from tests.oracles import require_file, run_tool

MODULES: Final = Path("/usr/lib/grub/i386-pc")
TYPE_LINUX: Final = 0x83
DISK_MIB: Final = 32
UUID: Final = "54524150-4c49-4e45-8000-000000000001"
"""Of the file system on a disk."""

SERIAL: Final = "serial --unit=0 --speed=115200\n"
ON_SERIAL: Final = f"{SERIAL}terminal_output serial\nterminal_input serial\n"
ON_BOTH: Final = f"{SERIAL}terminal_output console serial\nterminal_input console serial\n"

PASSED: Final = b"ALL TESTS PASSED"
EXIT_VALUE: Final = 0x10
QUICK_TESTS: Final = ("exfctest", "div_test", "mul_test", "shift_test", "cmp_test", "bswap_test", "ctz_test",
                      "setjmp_test", "strtoull_test")  # fmt: skip
LONG_TESTS: Final = (*QUICK_TESTS, "pbkdf2_test", "sleep_test", "legacy_password_test", "signature_test",
                     "xnu_uuid_test", "videotest_checksum")  # fmt: skip
"""All that `all_functional_test` of Debian's GRUB runs, but two: gfxterm_menu and cmdline_cat_test expect
checksums of pictures in another font and other words than Debian's, on QEMU just as here."""


def test_script(tests: Sequence[str]) -> str:
    """Return a script that runs GRUB's own functional tests, lists what GRUB finds, and ends the run."""
    return "\n".join(
        [
            "set pager=0",
            *(f"insmod {test}" for test in tests),
            "insmod functional_test",
            "functional_test",
            "echo LISTING",
            "ls",
            "lspci",
            "insmod iorw",
            f"outb 0xf4 {EXIT_VALUE:#x}",
            "",
        ]
    )


def disc(folder: Path, script: str, *, terminal: str = ON_SERIAL, files: Sequence[Path] = ()) -> Path:
    """Write a CD on which GRUB runs `script`; `files` are in its root."""
    tree, image = _tree(folder / "disc", script, terminal, files), folder / "grub.iso"
    require_file(f"{MODULES}/lspci.mod", "grub-pc-bin")
    run_tool("grub-mkrescue", "-d", MODULES, "-o", image, tree)
    return image


def disk(
    folder: Path,
    script: str,
    *,
    terminal: str = ON_SERIAL,
    files: Sequence[Path] = (),
    size_mib: int = DISK_MIB,
    root: Path | None = None,
) -> Path:
    """Write a raw disk with an installed GRUB that runs `script`; `root` and `files` are on its ext2."""
    boot = require_file(f"{MODULES}/boot.img", "grub-pc-bin").read_bytes()
    tree, core, image = (
        _tree(folder / "disk", script, terminal, files, root),
        folder / "core.img",
        folder / "grub.raw",
    )
    modules = tree / "boot" / "grub" / "i386-pc"
    modules.mkdir()
    for file in (*MODULES.glob("*.mod"), *MODULES.glob("*.lst")):
        (modules / file.name).write_bytes(file.read_bytes())
    font = require_file("/usr/share/grub/unicode.pf2", "grub-common")
    (tree / "boot" / "grub" / "fonts").mkdir()
    (tree / "boot" / "grub" / "fonts" / font.name).write_bytes(font.read_bytes())
    run_tool("grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", core,
             "biosdisk", "part_msdos", "ext2", "normal")  # fmt: skip
    start = bootdisk.PARTITION_LBA * bootdisk.SECTOR_BYTES
    length = size_mib * bootdisk.MEBIBYTE - start
    assert core.stat().st_size <= start - bootdisk.SECTOR_BYTES, "core.img does not fit before the partition"
    with image.open("wb") as file:
        file.write(
            bootdisk.master_boot_record(
                boot, TYPE_LINUX, bootdisk.PARTITION_LBA, length // bootdisk.SECTOR_BYTES
            )
        )
        file.write(core.read_bytes())
        file.truncate(size_mib * bootdisk.MEBIBYTE)
    run_tool(
        "mke2fs",
        "-q",
        "-t",
        "ext2",
        "-U",
        UUID,
        "-d",
        tree,
        "-E",
        f"offset={start}",
        image,
        f"{length >> 10}k",
    )
    return image


def _tree(place: Path, script: str, terminal: str, files: Sequence[Path], root: Path | None = None) -> Path:
    if root is not None:
        shutil.copytree(root, place, symlinks=True)
    (place / "boot" / "grub").mkdir(parents=True)
    (place / "boot" / "grub" / "grub.cfg").write_text(terminal + script)
    for file in files:
        (place / file.name).write_bytes(file.read_bytes())
    return place
