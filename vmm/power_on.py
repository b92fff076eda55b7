"""What a machine starts with: its drives, its CMOS, and who runs first (a BIOS, ours, or a kernel)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import msgspec

from devices.apic.io import IoApic
from devices.apic.local import LocalApic
from devices.floppy.drive import FloppyDrive
from devices.ide.atapi import AtapiDrive
from devices.ide.disk import AtaDisk
from devices.ide.identify import DriveIdentity
from devices.scsi.disk import ScsiDisk
from devices.scsi.inquiry import cd_identity, disk_identity
from devices.scsi.mmc import CdRom
from devices.scsi.target import ScsiTarget, Unit
from devices.scsi.task import FIRST_LUN
from disks.errors import HOST_ERRORS
from disks.image import BlockImage
from vmm.config import DriveConfig, MachineConfig
from vmm.cpu.processor import ProcessorOptions
from vmm.drive_config import ImageConfig
from vmm.drive_images import OpenDrive, open_drive
from vmm.drive_serials import DiskFile, serial_numbers
from vmm.errors import ConfigError
from vmm.firmware.host import BootDrive, DriveKind, ScsiPlace
from vmm.firmware.scsi_rom import scsi_rom
from vmm.scsi_board import SCSI_SLOTS, AdapterFitting
from vmm.scsi_config import ScsiDrive, read_fault

KIB: Final = 1024
MIB: Final = 1024 * KIB
ROM_END: Final = 1 << 32
LEGACY_BIOS: Final = 0x20000  # the part of a BIOS that also appears below 1 MiB
FIRST_HARD_DISK: Final = 0x80
FIRST_CD: Final = 0xE0
MEDIA: Final = {"hd": "disk", "cd": "CD"}
BOOT_ADAPTER: Final = 0  # INT 13h reaches the drives of the first only, as Virtual Server's did

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
EQUIPMENT_MOUSE: Final = 0x04
EQUIPMENT_FLOPPY: Final = 0x01
EQUIPMENT_FLOPPIES_SHIFT: Final = 6  # one less than there are
BOOT_CODES: Final = {"floppy": 1, "hd": 2, "cd": 3}
BOOT_CODE_ROM: Final = 4  # what an option ROM offers
TRANSLATE_LBA: Final = 1
LARGE_DISK: Final = 1024 * 16 * 63  # sectors: above, CHS needs translation


class Drives:
    """The open images of a machine, as drives by place and as the firmware numbers them.

    `warnings` are what is odd about the images, each with the path.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.floppies: list[FloppyDrive] = []
        self.images: list[BlockImage] = []
        self.by_place: dict[int, AtaDisk | AtapiDrive] = {}
        rom = None if config.bios is None else scsi_rom()
        self.adapters = [AdapterFitting(adapter.kind, rom=rom) for adapter in config.scsi_adapters]
        for number, fault in map(read_fault, config.scsi_faults):
            if number < len(self.adapters):
                self.adapters[number].faults.append(fault)
        self.boot: list[BootDrive] = []
        self.warnings: list[str] = []
        try:
            self._open(config)
        except BaseException:
            self.close()
            raise

    def _open(self, config: MachineConfig) -> None:
        for number, drive in enumerate(config.floppy):
            image = self._take(drive, config, raw=True).image
            unit = FloppyDrive(image)
            self.floppies.append(unit)
            self.boot.append(BootDrive(number, "floppy", image, unit=unit))
        self._open_hard_disks(config)
        for number, drive in enumerate(sorted(config.cd, key=_place)):
            image = self._take(msgspec.structs.replace(drive, read_only=True), config, raw=True).image
            self.by_place[_place(drive)] = AtapiDrive(f"cd{_place(drive)}", image, cd_drive(_place(drive)))
            self.boot.append(BootDrive(FIRST_CD + number, "cd", image, place=_place(drive)))
        for scsi in sorted(config.scsi_cd, key=_target):
            image = self._take(msgspec.structs.replace(scsi, read_only=True), config, raw=True).image
            self._attach(scsi, "cd", image, CdRom(scsi_name(scsi), image, cd_identity()))

    def _open_hard_disks(self, config: MachineConfig) -> None:
        """Open them all, then give each the serial number that it has beside the others."""
        ide, scsi = sorted(config.hd, key=_place), sorted(config.scsi_hd, key=_target)
        opened = [self._take(drive, config) for drive in (*ide, *scsi)]
        files = [
            DiskFile(Path(drive.path), found.unique_id)
            for drive, found in zip((*ide, *scsi), opened, strict=True)
        ]
        numbered = zip([found.image for found in opened], serial_numbers(files), strict=True)
        for number, drive in enumerate(ide):
            image, serial = next(numbered)
            place = _place(drive)
            self.by_place[place] = AtaDisk(f"hd{place}", image, DriveIdentity(serial=serial))
            self.boot.append(BootDrive(FIRST_HARD_DISK + number, "hd", image, place=place))
        for target in scsi:
            image, serial = next(numbered)
            self._attach(target, "hd", image, ScsiDisk(scsi_name(target), image, disk_identity(serial)))

    def _attach(self, drive: ScsiDrive, kind: DriveKind, image: BlockImage, unit: Unit) -> None:
        """Put a unit on its adapter; of the first adapter the firmware has it too, by the same image."""
        adapter = self.adapters[drive.adapter]
        adapter.targets[drive.target] = ScsiTarget({FIRST_LUN: unit})
        adapter.policies[drive.target] = drive.disconnect
        adapter.media[drive.target] = f"{MEDIA[kind]} {drive.path}"
        if drive.adapter == BOOT_ADAPTER:
            first = FIRST_HARD_DISK if kind == "hd" else FIRST_CD
            place = ScsiPlace(SCSI_SLOTS[drive.adapter], drive.target)
            self.boot.append(BootDrive(first + len(self.images_of(kind)), kind, image, scsi=place))

    def _take(self, drive: ImageConfig, config: MachineConfig, *, raw: bool = False) -> OpenDrive:
        opened = open_drive(drive, config, raw=raw)
        self.images.append(opened.image)
        self.warnings += opened.warnings
        return opened

    def images_of(self, kind: DriveKind) -> list[BlockImage]:
        """Return the images of one kind of drive, in the order of their numbers."""
        return [drive.image for drive in self.boot if drive.kind == kind]

    @property
    def first_disk(self) -> BlockImage | None:
        """The hard disk with the lowest number."""
        return next(iter(self.images_of("hd")), None)

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


def cd_drive(place: int) -> DriveIdentity:
    """Return the identity of an ATAPI drive, which is not that of the disc in it."""
    return DriveIdentity("TRAPLINE CD-ROM", f"TL{place:05}")


def _target(drive: ScsiDrive) -> tuple[int, int]:
    return drive.adapter, drive.target


def scsi_name(drive: ScsiDrive) -> str:
    """Return what a unit is called in traces."""
    return f"scsi{drive.adapter}.{drive.target}"


def cmos_contents(config: MachineConfig, drives: Drives) -> dict[int, int]:
    """Return what the battery has kept: memory sizes, drive types, boot order."""
    extended = min((config.memory_bytes - MIB) // KIB, 0xFFFF)
    above = max(0, config.memory_bytes - 16 * MIB) // (64 * KIB)
    types = [drive.drive_type for drive in drives.floppies] + [0, 0]
    equipment = EQUIPMENT_FPU | EQUIPMENT_MOUSE
    if drives.floppies:
        equipment |= EQUIPMENT_FLOPPY | len(drives.floppies) - 1 << EQUIPMENT_FLOPPIES_SHIFT
    cmos = {
        CMOS_FLOPPY_TYPES: types[0] << 4 | types[1], CMOS_DISK_TYPES: 0, CMOS_EQUIPMENT: equipment,
    }  # fmt: skip
    _word(cmos, CMOS_BASE_MEMORY, 640)
    for register in CMOS_EXTENDED_MEMORY:
        _word(cmos, register, extended)
    _word(cmos, CMOS_ABOVE_16M, above)
    kernel = [BOOT_CODE_ROM] if config.kernel is not None else []
    codes = [*kernel, *(BOOT_CODES[kind] for kind in config.boot), 0, 0, 0]
    cmos[CMOS_BOOT_FLAG2] = codes[0] | codes[1] << 4
    cmos[CMOS_BOOT_FLAG1] = codes[2] << 4
    cmos[CMOS_TRANSLATION] = sum(
        TRANSLATE_LBA << 2 * drive.place
        for drive in drives.boot
        if drive.kind == "hd" and drive.place is not None and drive.image.size_bytes // 512 > LARGE_DISK
    )
    return cmos


def _word(cmos: dict[int, int], register: int, value: int) -> None:
    cmos[register], cmos[register + 1] = value & 0xFF, value >> 8


def processor_options(config: MachineConfig, apics: tuple[LocalApic, IoApic] | None) -> ProcessorOptions:
    """Return what the processor is to be."""
    return ProcessorOptions(
        engine=config.engine,
        model="core2duo" if config.cpu == "auto" else config.cpu,
        virtual_clock=config.clock == "virtual",
        ignore_unknown_msrs=config.msr == "ignore",
        apic=apics[0] if apics is not None else None,
    )


def read_rom(path: str, what: str, unit: int, most: int) -> bytes:
    """Read a ROM image; ConfigError if its size cannot be one."""
    data = Path(path).read_bytes()
    if not data or len(data) % unit or len(data) > most:
        raise ConfigError(
            f"{path}: {len(data)} bytes cannot be a {what}: expected a multiple of {unit // KIB or unit} "
            f"{'KiB' if unit >= KIB else 'bytes'}, at most {most // KIB} KiB"
        )
    return data
