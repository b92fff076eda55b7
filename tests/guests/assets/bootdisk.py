"""Disks that boot by themselves: master boot record, active FAT partition, SYSLINUX, Linux.

Nothing is mounted and no loop device is needed: the tools write at an offset inside the image.

Sources:
    [MBR] Microsoft, "Basic Disks": layout of the master boot record
"""

from __future__ import annotations

import os
import struct
import subprocess
import uuid
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

from disks.newfile import new_file
from disks.open import open_image
from disks.vhd.create import Identity, write_dynamic
from tests.guests.assets.initramfs import LinuxGuest
from tests.oracles import require_file, require_tool

SECTOR_BYTES: Final = 512
MEBIBYTE: Final = 1 << 20

CODE_BYTES: Final = 440  # [MBR] boot code, before the disk signature
SIGNATURE_OFFSET: Final = 440
TABLE_OFFSET: Final = 446
ACTIVE: Final = 0x80
TYPE_FAT16_LBA: Final = 0x0E
BOOTABLE: Final = b"\x55\xaa"

HEADS: Final = 255  # geometry the table's CHS fields are written for
TRACK_SECTORS: Final = 63
LAST_CHS: Final = (1023, HEADS - 1, TRACK_SECTORS)

PARTITION_LBA: Final = 2048
EPOCH: Final = 1_000_000_000  # time stamps inside the images
IDENTITY: Final = Identity(uuid.UUID(int=0x54524150), datetime.fromtimestamp(EPOCH, UTC))

SYSLINUX_CONFIG: Final = """\
SERIAL 0 115200
PROMPT 0
DEFAULT linux
LABEL linux
  LINUX vmlinuz
  INITRD initrd.img
  APPEND {command_line}
"""


def chs(lba: int) -> bytes:
    """Return a sector's address as the partition table packs it; beyond 1023 cylinders, the last."""
    cylinder, rest = divmod(lba, HEADS * TRACK_SECTORS)
    head, sector = divmod(rest, TRACK_SECTORS)
    position = (cylinder, head, sector + 1) if cylinder <= LAST_CHS[0] else LAST_CHS
    return bytes((position[1], position[2] | position[0] >> 2 & 0xC0, position[0] & 0xFF))


def master_boot_record(code: bytes, kind: int, first_lba: int, sectors: int) -> bytes:
    """Return a boot sector with one active partition."""
    entry = struct.pack(
        "<B3sB3sII", ACTIVE, chs(first_lba), kind, chs(first_lba + sectors - 1), first_lba, sectors
    )
    sector = bytearray(SECTOR_BYTES)
    sector[:CODE_BYTES] = code[:CODE_BYTES].ljust(CODE_BYTES, b"\0")
    struct.pack_into("<I", sector, SIGNATURE_OFFSET, 0x54524150)
    sector[TABLE_OFFSET : TABLE_OFFSET + len(entry)] = entry
    sector[-2:] = BOOTABLE
    return bytes(sector)


def linux_disk(image: Path, guest: LinuxGuest, mode: str, size_mib: int = 64) -> Path:
    """Write a raw image that boots `guest` with /init in `mode`; return `image`.

    Raises:
        MissingError: a tool is not installed.
    """
    code = require_file("/usr/lib/SYSLINUX/mbr.bin", "syslinux-common").read_bytes()
    sectors = size_mib * MEBIBYTE // SECTOR_BYTES - PARTITION_LBA
    config = image.with_suffix(".cfg")
    config.write_text(SYSLINUX_CONFIG.format(command_line=guest.command_line(mode)))
    with image.open("wb") as file:
        file.write(master_boot_record(code, TYPE_FAT16_LBA, PARTITION_LBA, sectors))
        file.truncate(size_mib * MEBIBYTE)
    offset = PARTITION_LBA * SECTOR_BYTES
    volume = f"{image}@@{offset}"
    _run("mkfs.fat", "--invariant", "-F", "16", "-n", "TRAPLINE", f"--offset={PARTITION_LBA}",
         "-h", str(PARTITION_LBA), str(image), str(sectors // 2))  # fmt: skip
    _run("syslinux", "--install", "--offset", str(offset), str(image))
    for source, name in (
        (config, "syslinux.cfg"),
        (guest.kernel, "vmlinuz"),
        (guest.initramfs, "initrd.img"),
    ):
        _run("mcopy", "-i", volume, str(source), f"::{name}")
    return image


def empty_vhd(vhd: Path, size_mib: int) -> Path:
    """Create an empty dynamic VHD; return `vhd`."""
    with new_file(vhd) as file:
        write_dynamic(file, size_mib * MEBIBYTE, identity=IDENTITY)
    return vhd


def dynamic_vhd(raw: Path, vhd: Path) -> Path:
    """Convert a raw image of whole MiB into a dynamic VHD of the same size; return `vhd`."""
    empty_vhd(vhd, raw.stat().st_size // MEBIBYTE)
    disk = open_image(vhd)
    with raw.open("rb") as file:
        for lba in count(0, MEBIBYTE // SECTOR_BYTES):
            data = file.read(MEBIBYTE)
            if not data:
                break
            if any(data):
                disk.write(lba, data)
    disk.close()
    return vhd


def boot_sector_cd(image: Path, program: bytes) -> Path:
    """Write a CD whose El Torito entry loads `program` at 7C00h, without emulation; return `image`."""
    folder = _fresh_folder(image)
    (folder / "boot.bin").write_bytes(program)
    sectors = -(-len(program) // SECTOR_BYTES)
    _iso(image, folder, "boot.bin", "-boot-load-size", str(sectors))
    return image


def linux_cd(image: Path, guest: LinuxGuest, mode: str) -> Path:
    """Write a CD that boots `guest` by ISOLINUX; return `image`."""
    folder = _fresh_folder(image)
    isolinux = require_file("/usr/lib/ISOLINUX/isolinux.bin", "isolinux")
    loader = require_file("/usr/lib/syslinux/modules/bios/ldlinux.c32", "syslinux-common")
    for source, name in (
        (isolinux, "isolinux.bin"),
        (loader, "ldlinux.c32"),
        (guest.kernel, "vmlinuz"),
        (guest.initramfs, "initrd.img"),
    ):
        (folder / name).write_bytes(source.read_bytes())
    (folder / "isolinux.cfg").write_text(SYSLINUX_CONFIG.format(command_line=guest.command_line(mode)))
    _iso(image, folder, "isolinux.bin", "-boot-load-size", "4", "-boot-info-table")
    return image


def _fresh_folder(image: Path) -> Path:
    folder = image.with_suffix(".d")
    folder.mkdir()
    return folder


def _iso(image: Path, folder: Path, boot_file: str, *options: str) -> None:
    _run("xorriso", "-as", "mkisofs", "-quiet", "-V", "TRAPLINE", "-r", "-b", boot_file, "-c", "boot.cat",
         "-no-emul-boot", *options, "-o", str(image), str(folder))  # fmt: skip


def _run(tool: str, *arguments: str) -> None:
    done = subprocess.run(
        [require_tool(tool), *arguments],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "MTOOLS_SKIP_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{tool} {' '.join(arguments)}: {done.stdout}{done.stderr}"
