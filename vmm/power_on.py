"""What a machine starts with: its drives, its CMOS, and who runs first (a BIOS, ours, or a kernel)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from devices.ide.atapi import AtapiDrive
from devices.ide.disk import AtaDisk
from disks.errors import HOST_ERRORS
from disks.image import BlockImage
from disks.open import ImageFormat, open_image
from disks.overlay import SnapshotImage
from vmm.config import DriveConfig, MachineConfig
from vmm.errors import ConfigError
from vmm.firmware.host import BootDrive

KIB: Final = 1024
MIB: Final = 1024 * KIB
ROM_END: Final = 1 << 32
LEGACY_BIOS: Final = 0x20000  # the part of a BIOS that also appears below 1 MiB
FIRST_HARD_DISK: Final = 0x80
FIRST_CD: Final = 0xE0

# CMOS registers that a BIOS of the PC/AT line reads, [SEABIOS] src/rtc.h
CMOS_FLOPPY_TYPES: Final = 0x10
CMOS_DISK_TYPES: Final = 0x12
CMOS_EQUIPMENT: Final = 0x14
CMOS_BASE_MEMORY: Final = 0x15
CMOS_EXTENDED_MEMORY: Final = (0x17, 0x30)
CMOS_ABOVE_16M: Final = 0x34
CMOS_BOOT_FLAG2: Final = 0x3D
CMOS_BOOT_FLAG1: Final = 0x38
CMOS_TRANSLATION: Final = 0x39
EQUIPMENT_FPU: Final = 0x02
BOOT_CODES: Final = {"floppy": 1, "hd": 2, "cd": 3}
NO_FLOPPY_CHECK: Final = 0x01
TRANSLATE_LBA: Final = 1
LARGE_DISK: Final = 1024 * 16 * 63  # sectors: above, CHS needs translation


def open_drive(drive: DriveConfig, machine: MachineConfig, *, cd: bool) -> BlockImage:
    """Open the image behind a drive, with a snapshot in front where one is wanted."""
    snapshot = drive.snapshot or machine.snapshot
    image_format = ImageFormat.RAW if cd else ImageFormat(drive.format) if drive.format else None
    image = open_image(drive.path, read_only=cd or drive.read_only or snapshot, image_format=image_format)
    return SnapshotImage(image) if snapshot and not cd else image


class Drives:
    """The open images of a machine, as drives by place and as the firmware numbers them."""

    def __init__(self, config: MachineConfig) -> None:
        self.images: list[BlockImage] = []
        self.by_place: dict[int, AtaDisk | AtapiDrive] = {}
        self.boot: list[BootDrive] = []
        try:
            self._open(config)
        except BaseException:
            self.close()
            raise

    def _open(self, config: MachineConfig) -> None:
        for number, drive in enumerate(sorted(config.hd, key=_place)):
            image = open_drive(drive, config, cd=False)
            self.images.append(image)
            disk = AtaDisk(f"hd{_place(drive)}", image)
            self.by_place[_place(drive)] = disk
            self.boot.append(BootDrive(FIRST_HARD_DISK + number, "hd", image))
        for number, drive in enumerate(sorted(config.cd, key=_place)):
            image = open_drive(drive, config, cd=True)
            self.images.append(image)
            self.by_place[_place(drive)] = AtapiDrive(f"cd{_place(drive)}", image)
            self.boot.append(BootDrive(FIRST_CD + number, "cd", image))

    def flush(self) -> None:
        """Make durable what the guest wrote."""
        for image in self.images:
            if not image.read_only:
                image.flush()

    def flush_quietly(self) -> None:
        """Flush while the guest runs; what fails is told to the guest when it asks, and by `flush`."""
        with contextlib.suppress(*HOST_ERRORS):
            self.flush()

    def close(self) -> None:
        """Close every image."""
        for image in self.images:
            image.close()
        self.images = []


def _place(drive: DriveConfig) -> int:
    assert drive.index is not None
    return drive.index


def cmos_contents(config: MachineConfig, drives: Drives) -> dict[int, int]:
    """Return what the battery has kept: memory sizes, drive types, boot order."""
    extended = min((config.memory_bytes - MIB) // KIB, 0xFFFF)
    above = max(0, config.memory_bytes - 16 * MIB) // (64 * KIB)
    cmos = {CMOS_FLOPPY_TYPES: 0, CMOS_DISK_TYPES: 0, CMOS_EQUIPMENT: EQUIPMENT_FPU}
    _word(cmos, CMOS_BASE_MEMORY, 640)
    for register in CMOS_EXTENDED_MEMORY:
        _word(cmos, register, extended)
    _word(cmos, CMOS_ABOVE_16M, above)
    codes = [*(BOOT_CODES[kind] for kind in config.boot), 0, 0, 0]
    cmos[CMOS_BOOT_FLAG2] = codes[0] | codes[1] << 4
    cmos[CMOS_BOOT_FLAG1] = NO_FLOPPY_CHECK | codes[2] << 4
    cmos[CMOS_TRANSLATION] = sum(
        TRANSLATE_LBA << 2 * _place(drive)
        for drive, boot in zip(sorted(config.hd, key=_place), drives.boot, strict=False)
        if boot.image.size_bytes // 512 > LARGE_DISK
    )
    return cmos


def _word(cmos: dict[int, int], register: int, value: int) -> None:
    cmos[register], cmos[register + 1] = value & 0xFF, value >> 8


def read_rom(path: str, what: str, unit: int, most: int) -> bytes:
    """Read a ROM image; ConfigError if its size cannot be one."""
    data = Path(path).read_bytes()
    if not data or len(data) % unit or len(data) > most:
        raise ConfigError(
            f"{path}: {len(data)} bytes cannot be a {what}: expected a multiple of {unit // KIB or unit} "
            f"{'KiB' if unit >= KIB else 'bytes'}, at most {most // KIB} KiB"
        )
    return data
