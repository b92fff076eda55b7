"""What a machine is made of: one frozen value, checked before anything is built.

`MachineConfig` names files, sizes and policies; it opens nothing. `check` looks at the host's files
and raises ConfigError with one line for the user. Not described here: how a run is driven and shown
(time-out, dialogue, traces), which belongs to the command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from devices.floppy.drive import BY_SIZE
from vmm import scsi_config
from vmm.config_checks import check_choice
from vmm.config_checks import check_file as check_file
from vmm.drive_config import DriveConfig as DriveConfig
from vmm.drive_config import ImageConfig
from vmm.errors import ConfigError, UsageError
from vmm.scsi_config import ScsiAdapter, ScsiConfig, ScsiDrive

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
PAGE_BYTES: Final = 4 * KIB
MIN_MEMORY_BYTES: Final = 1 * MIB
MAX_MEMORY_BYTES: Final = 3 * GIB + GIB // 2  # PCI's window and the firmware take what is above
DEFAULT_MEMORY_BYTES: Final = 128 * MIB
MAX_BIOS_BYTES: Final = 1 * MIB
MAX_OPTION_ROM_BYTES: Final = 64 * KIB
MAX_APPEND_BYTES: Final = 2047  # Linux's COMMAND_LINE_SIZE on x86, less the final NUL
ATA_DRIVES: Final = 4
FLOPPY_DRIVES: Final = 2
SERIAL_PORTS: Final = 2
DETERMINISTIC_RTC_S: Final = 946_684_800  # 2000-01-01 00:00:00 UTC, where no host clock may be seen

Engine = Literal["auto", "portable", "accelerated"]
ClockSource = Literal["host", "virtual"]
MsrPolicy = Literal["fault", "ignore"]
BootDevice = Literal["floppy", "cd", "hd"]
UndoAction = Literal["ask", "commit", "keep", "discard"]
EntryMode = Literal["auto", "16", "32", "64"]
TechniqueName = Literal["bare", "trap", "translation", "hardware", "para"]
TranslationMode = Literal["patch", "cache"]
PagingMode = Literal["shadow", "nested"]
SerialKind = Literal["stdio", "file", "pty", "null"]

ENGINES: Final = ("auto", "portable", "accelerated")
CLOCKS: Final = ("host", "virtual")
MSR_POLICIES: Final = ("fault", "ignore")
UNDO_ACTIONS: Final = ("ask", "commit", "keep", "discard")
BOOT_DEVICES: Final = ("floppy", "cd", "hd")
TECHNIQUES: Final = ("bare", "trap", "translation", "hardware", "para")
TRANSLATIONS: Final = ("patch", "cache")
PAGINGS: Final = ("shadow", "nested")
FULL_TECHNIQUES: Final = {
    "bare": {"technique": "bare"},
    "trap": {"technique": "trap"},
    "translation-patch": {"technique": "translation", "translation": "patch"},
    "translation-cache": {"technique": "translation", "translation": "cache"},
    "hardware-shadow": {"technique": "hardware", "paging": "shadow"},
    "hardware-nested": {"technique": "hardware", "paging": "nested"},
    "para": {"technique": "para"},
}
"""What a machine is told, by the technique's name in tables (`MachineConfig.full_technique`)."""
ENTRIES: Final = ("auto", "16", "32", "64")
CPU_MODELS: Final = ("core2duo", "pentium3")  # those of vmm/cpu/cpuid.py, which loads the engine

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
_UNIT_BYTES: Final = {"": MIB, "k": KIB, "m": MIB, "g": GIB}


class SerialConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a serial port ends on the host; `path` only for `file`."""

    kind: SerialKind = "null"
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> SerialConfig:
        """Read `stdio`, `pty`, `null` or `file:PATH`."""
        kind, colon, path = text.partition(":")
        if kind == "file" and path:
            return cls("file", path)
        if not colon and kind in ("stdio", "pty", "null"):
            return cls(kind)  # type: ignore[arg-type]  # narrowed by the tuple above
        raise UsageError(f"serial port {text!r}: expected stdio, pty, null or file:PATH")


class MachineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A machine. Paths are of the host; None for `bios` means the firmware of this project.

    `rtc_base_s` is what the CMOS clock shows at power-on, in seconds since 1970 (the guest's
    calendar as it stands, no time zones); None means the host's time. `snapshot` holds for all disks.
    `parallel` is the file that a printer at the parallel port prints on; None: there is no printer.
    `entry` is the mode in which a kernel starts; each `initrd` may have arguments after its path.
    `apic` gives the machine a local APIC, an I/O APIC, and an MP table that tells of them.
    `allow_roots` are directories where parents of differencing VHDs may lie, besides the disk's own;
    `ignore_parent_id` takes parents of another identity than the child names.
    `technique` is what stands between the guest and the processor; `translation` and `paging` say more
    about binary translation and hardware assistance. `exit_leaf` is the first of four CPUID leaves that
    tell the guest of its exits.
    With `undo` hard disks are not written but their undo disks, which the command settles at the end.
    """

    name: str = ""
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    cpu: str = "core2duo"
    apic: bool = False
    hd: tuple[DriveConfig, ...] = ()
    cd: tuple[DriveConfig, ...] = ()
    floppy: tuple[DriveConfig, ...] = ()
    scsi_adapters: tuple[ScsiAdapter, ...] = ()
    scsi_hd: tuple[ScsiDrive, ...] = ()
    scsi_cd: tuple[ScsiDrive, ...] = ()
    scsi_faults: tuple[str, ...] = ()
    boot: tuple[BootDevice, ...] = ("floppy", "cd", "hd")
    bios: str | None = None
    vgabios: str | None = None
    kernel: str | None = None
    initrd: tuple[str, ...] = ()
    append: str = ""
    entry: EntryMode = "auto"
    load_address: str | None = None
    serial: tuple[SerialConfig, ...] = ()
    parallel: str | None = None
    clock: ClockSource = "host"
    engine: Engine = "auto"
    technique: TechniqueName = "bare"
    translation: TranslationMode = "cache"
    paging: PagingMode = "nested"
    exit_leaf: int = 0x4FFF_FFFC
    msr: MsrPolicy = "fault"
    rtc_base_s: int | None = None
    snapshot: bool = False
    undo: UndoAction | None = None
    allow_roots: tuple[str, ...] = ()
    ignore_parent_id: bool = False

    def with_places(self) -> MachineConfig:
        """Return the same machine, every drive with its place: disks from 0 up, CDs from 2 up."""
        taken = {drive.index for drive in (*self.hd, *self.cd) if drive.index is not None}
        hd = _place(self.hd, (0, 1, 2, 3), taken)
        adapters, scsi_hd, scsi_cd, _ = scsi_config.place(self.scsi)
        return msgspec.structs.replace(
            self,
            hd=hd,
            cd=_place(self.cd, (2, 3, 1, 0), taken),
            scsi_adapters=adapters,
            scsi_hd=scsi_hd,
            scsi_cd=scsi_cd,
        )

    @property
    def scsi(self) -> ScsiConfig:
        """The SCSI side."""
        return ScsiConfig(self.scsi_adapters, self.scsi_hd, self.scsi_cd, self.scsi_faults)

    @property
    def hard_disks(self) -> tuple[ImageConfig, ...]:
        """The hard disks of every controller."""
        return (*self.hd, *self.scsi_hd)

    @property
    def full_technique(self) -> str:
        """The technique's name in tables: with the mode of those that have two."""
        modes = {"translation": self.translation, "hardware": self.paging}
        mode = modes.get(self.technique)
        return self.technique if mode is None else f"{self.technique}-{mode}"

    def has_undo_disk(self, drive: ImageConfig) -> bool:
        """Whether what is written to a hard disk goes to an undo disk."""
        return self.undo is not None and not (drive.read_only or drive.snapshot)

    def power_on_time_s(self, host_time_s: int) -> int:
        """Return what the CMOS clock shows first; under the virtual clock never the host's time."""
        if self.rtc_base_s is not None:
            return self.rtc_base_s
        return DETERMINISTIC_RTC_S if self.clock == "virtual" else host_time_s

    def check(self) -> MachineConfig:
        """Return the machine with its drives placed; raise ConfigError if it cannot be built."""
        check_memory(self.memory_bytes)
        for option, value, allowed in (
            ("cpu", self.cpu, CPU_MODELS),
            ("clock", self.clock, CLOCKS),
            ("engine", self.engine, ENGINES),
            ("msr", self.msr, MSR_POLICIES),
            ("technique", self.technique, TECHNIQUES),
            ("translation", self.translation, TRANSLATIONS),
            ("paging", self.paging, PAGINGS),
            ("entry", self.entry, ENTRIES),
            ("undo", self.undo or "ask", UNDO_ACTIONS),
            *(("boot", device, BOOT_DEVICES) for device in self.boot),
        ):
            check_choice(option, value, allowed)
        _check_exit_leaf(self.exit_leaf)
        _check_firmware(self)
        _check_kernel(self)
        _check_serial(self.serial)
        _check_output("parallel port", self.parallel)
        for root in self.allow_roots:
            if not Path(root).is_dir():
                raise ConfigError(f"allow root {root}: no such directory")
        _check_drives(self)
        scsi_config.check(self.scsi)
        _check_writable((*self.hard_disks, *self.floppy))
        _check_undo(self)
        _check_floppies(self.floppy)
        if not any((self.hard_disks, self.cd, self.scsi_cd, self.floppy, self.bios, self.kernel)):
            raise UsageError(
                "nothing to run: give a disk image, a MACHINE.toml, --cd, --floppy, --scsi-hd, --scsi-cd, "
                "--kernel or --bios"
            )
        return self.with_places()


def _check_exit_leaf(leaf: int) -> None:
    if not 0x4000_0004 <= leaf <= 0x4FFF_FFFC:
        raise ConfigError(f"exit leaf {leaf:#x}: four CPUID leaves from 0x40000004 to 0x4fffffff")


def parse_memory(text: str | int) -> int:
    """Return bytes for `64M`, `512K`, `1.5G` or a plain number of MiB."""
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise UsageError(f"memory {_cut(text)!r}: expected a size such as 64M, 1.5G or a number of MiB")
    size = float(match[1]) * _UNIT_BYTES[match[2].lower()]
    if size > MAX_MEMORY_BYTES or size != int(size):
        raise UsageError(f"memory {_cut(text)!r}: expected 1M to 3.5G in whole KiB")
    return check_memory(int(size))


def _cut(text: object) -> str:
    """Shorten what the user wrote, to be shown in one line."""
    return shown if len(shown := str(text)) <= 40 else f"{shown[:37]}..."


def check_memory(size_bytes: int) -> int:
    """Return `size_bytes` if a machine can have that much memory, else raise ConfigError."""
    if not MIN_MEMORY_BYTES <= size_bytes <= MAX_MEMORY_BYTES:
        raise UsageError(f"memory of {size_bytes} bytes: expected 1 MiB to 3.5 GiB")
    if size_bytes % PAGE_BYTES:
        raise UsageError(f"memory of {size_bytes} bytes: expected a multiple of 4 KiB")
    return size_bytes


def parse_boot(text: str) -> tuple[BootDevice, ...]:
    """Read a boot order such as `cd,hd`."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        check_choice("boot", name, BOOT_DEVICES)
    if len(set(names)) != len(names):
        raise UsageError(f"boot order {text!r} names a device twice")
    return tuple(names)  # type: ignore[arg-type]  # each was checked above


def _place(drives: tuple[DriveConfig, ...], order: Sequence[int], taken: set[int]) -> tuple[DriveConfig, ...]:
    placed = []
    for drive in drives:
        if drive.index is None:
            free = next((index for index in order if index not in taken), None)
            if free is None:
                raise ConfigError(f"{drive.path}: the IDE controller has room for {ATA_DRIVES} drives")
            taken.add(free)
            placed.append(msgspec.structs.replace(drive, index=free))
        else:
            placed.append(drive)
    return tuple(placed)


def _check_firmware(config: MachineConfig) -> None:
    if config.bios is not None:
        size = check_file(config.bios, "BIOS image", MAX_BIOS_BYTES)
        if size % PAGE_BYTES:
            raise ConfigError(f"BIOS image {config.bios}: {size} bytes, expected a multiple of 4 KiB")
    if config.vgabios is not None:
        check_file(config.vgabios, "VGA BIOS image", MAX_OPTION_ROM_BYTES)


def _check_kernel(config: MachineConfig) -> None:
    if config.kernel is None:
        if config.initrd or config.append or config.entry != "auto" or config.load_address is not None:
            raise ConfigError("initrd, append, entry and load address need a kernel")
        return
    check_file(config.kernel, "kernel", config.memory_bytes)
    for module in config.initrd:
        check_file(split_module(module)[0], "initrd", config.memory_bytes)
    if len(config.append.encode("utf-8", "surrogateescape")) > MAX_APPEND_BYTES or "\0" in config.append:
        raise ConfigError(f"append: expected at most {MAX_APPEND_BYTES} bytes without NUL")


def split_module(text: str) -> tuple[str, str]:
    """Return path and arguments of `PATH ARGUMENTS`; a file whose name has spaces is a path without."""
    path, _, arguments = text.strip().partition(" ")
    return (text, "") if Path(text).exists() else (path, arguments.strip())


def _check_serial(ports: tuple[SerialConfig, ...]) -> None:
    if len(ports) > SERIAL_PORTS:
        raise ConfigError(f"{len(ports)} serial ports: the machine has {SERIAL_PORTS} (COM1, COM2)")
    if sum(port.kind == "stdio" for port in ports) > 1:
        raise ConfigError("two serial ports cannot both be stdio")
    for port in ports:
        if (port.kind == "file") != bool(port.path):
            raise ConfigError(f"serial port {port.kind}: a path belongs to file, and only to file")
        _check_output("serial port", port.path)


def _check_output(what: str, path: str | None) -> None:
    if path and not Path(path).absolute().parent.is_dir():
        raise ConfigError(f"{what} file:{path}: no such directory")


def _check_drives(config: MachineConfig) -> None:
    owners: dict[int, str] = {}
    for what, drives in (("disk image", config.hd), ("CD image", config.cd)):
        for drive in drives:
            check_file(drive.path, what)
            if drive.index is None:
                continue
            if not 0 <= drive.index < ATA_DRIVES:
                raise ConfigError(f"{drive.path}: index {drive.index}, expected 0 to {ATA_DRIVES - 1}")
            if drive.index in owners:
                raise ConfigError(f"{drive.path}: index {drive.index} is taken by {owners[drive.index]}")
            owners[drive.index] = drive.path


def _check_writable(drives: Sequence[ImageConfig]) -> None:
    writable = [Path(drive.path).resolve() for drive in drives if not drive.read_only]
    for path in writable:
        if writable.count(path) > 1:
            raise ConfigError(f"{path}: one image cannot be two writable disks")


def _check_undo(config: MachineConfig) -> None:
    if config.undo is None:
        return
    if config.snapshot:
        raise UsageError("undo and snapshot exclude each other: a snapshot leaves nothing to settle")
    if not any(map(config.has_undo_disk, config.hard_disks)):
        raise ConfigError("undo: the machine has no hard disk that is written; only hard disks are undone")


def is_floppy_size(size_bytes: int) -> bool:
    """Whether some floppy disk holds exactly so much."""
    return size_bytes in BY_SIZE


def _check_floppies(floppies: tuple[DriveConfig, ...]) -> None:
    if len(floppies) > FLOPPY_DRIVES:
        raise ConfigError(f"{floppies[FLOPPY_DRIVES].path}: the controller has two floppy drives")
    for drive in floppies:
        size = check_file(drive.path, "floppy image")
        if size and not is_floppy_size(size):
            known = ", ".join(f"{size >> 10}" for size in sorted(BY_SIZE))
            raise ConfigError(
                f"floppy image {drive.path}: {size} bytes are no floppy disk's size; "
                f"expected one of {known} KiB, such as 1440"
            )
        if drive.index is not None:
            raise ConfigError(f"{drive.path}: floppy disks go by their order, expected no index")
