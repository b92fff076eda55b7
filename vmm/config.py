"""What a machine is made of: one frozen value, checked before anything is built.

`MachineConfig` names files, sizes and policies; it opens nothing. `check` looks at the host's files
and raises ConfigError with one line for the user. Not described here: how a run is driven and shown
(time-out, dialogue, traces), which belongs to the command.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from devices.floppy.drive import BY_SIZE
from vmm.errors import ConfigError, UsageError

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
ImageFormatName = Literal["raw", "vhd"]
SyncName = Literal["always", "on-flush", "never"]
UndoAction = Literal["ask", "commit", "keep", "discard"]
EntryMode = Literal["auto", "16", "32", "64"]
TechniqueName = Literal["bare", "trap", "translation", "hardware", "para"]
TranslationMode = Literal["patch", "cache"]
PagingMode = Literal["shadow", "nested"]
SerialKind = Literal["stdio", "file", "pty", "null"]

ENGINES: Final = ("auto", "portable", "accelerated")
CLOCKS: Final = ("host", "virtual")
MSR_POLICIES: Final = ("fault", "ignore")
IMAGE_FORMATS: Final = ("raw", "vhd")
SYNC_POLICIES: Final = ("always", "on-flush", "never")
UNDO_ACTIONS: Final = ("ask", "commit", "keep", "discard")
DRIVE_OPTIONS: Final = {"format": IMAGE_FORMATS, "sync": SYNC_POLICIES, "parent-writable": ("yes", "no")}
BOOT_DEVICES: Final = ("floppy", "cd", "hd")
TECHNIQUES: Final = ("bare", "trap", "translation", "hardware", "para")
TRANSLATIONS: Final = ("patch", "cache")
PAGINGS: Final = ("shadow", "nested")
ENTRIES: Final = ("auto", "16", "32", "64")
CPU_MODELS: Final = ("core2duo", "pentium3")  # those of vmm/cpu/cpuid.py, which loads the engine

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)
_UNIT_BYTES: Final = {"": MIB, "k": KIB, "m": MIB, "g": GIB}


class DriveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A disk or CD on the IDE controller, or a floppy disk.

    `index` is 0 to 3: primary master, primary slave, secondary master, secondary slave; None lets
    `MachineConfig.with_places` choose. Floppy disks go by their order and have none. With `snapshot`
    writes are kept aside and dropped at the end. `format` None means that of its contents, which a
    guest may have made look like another. `sync` says when what is written is durable. A VHD on which
    others in its directory stand is only written if `parent_writable`.
    """

    path: str
    index: int | None = None
    read_only: bool = False
    snapshot: bool = False
    format: ImageFormatName | None = None
    sync: SyncName = "on-flush"
    parent_writable: bool = False

    @classmethod
    def parse(cls, text: str) -> DriveConfig:
        """Read `PATH` and what may follow it in any order, such as `,format=raw,sync=never`."""
        path, given = text, {"sync": "on-flush"}
        while True:
            rest, _, option = path.rpartition(",")
            name, equals, value = option.partition("=")
            if not (rest and equals and name in DRIVE_OPTIONS):
                break
            _check_choice(name, value, DRIVE_OPTIONS[name])
            path, given[name] = rest, value
        writable = given.get("parent-writable") == "yes"
        return cls(path=path, format=given.get("format"), sync=given["sync"], parent_writable=writable)  # type: ignore[arg-type]  # checked above


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
        return msgspec.structs.replace(self, hd=hd, cd=_place(self.cd, (2, 3, 1, 0), taken))

    @property
    def full_technique(self) -> str:
        """The technique's name in tables: with the mode of those that have two."""
        modes = {"translation": self.translation, "hardware": self.paging}
        mode = modes.get(self.technique)
        return self.technique if mode is None else f"{self.technique}-{mode}"

    def has_undo_disk(self, drive: DriveConfig) -> bool:
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
            _check_choice(option, value, allowed)
        _check_exit_leaf(self.exit_leaf)
        _check_firmware(self)
        _check_kernel(self)
        _check_serial(self.serial)
        _check_output("parallel port", self.parallel)
        for root in self.allow_roots:
            if not Path(root).is_dir():
                raise ConfigError(f"allow root {root}: no such directory")
        _check_drives(self)
        _check_undo(self)
        _check_floppies(self.floppy)
        if not (self.hd or self.cd or self.floppy or self.bios or self.kernel):
            raise UsageError(
                "nothing to run: give a disk image, a MACHINE.toml, --cd, --floppy, --kernel or --bios"
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
        _check_choice("boot", name, BOOT_DEVICES)
    if len(set(names)) != len(names):
        raise UsageError(f"boot order {text!r} names a device twice")
    return tuple(names)  # type: ignore[arg-type]  # each was checked above


def check_file(path: str, what: str, most_bytes: int | None = None) -> int:
    """Return the size of a readable, non-empty file; raise ConfigError saying what is wrong with it."""
    try:
        found = Path(path).stat()
        if stat.S_ISBLK(found.st_mode):
            return 0
        if stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{what} {path}: it is a directory, expected a file")
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{what} {path}: expected a regular file or a block device")
        with Path(path).open("rb"):
            pass
    except FileNotFoundError:
        raise ConfigError(f"{what} {path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} {path!r}: {getattr(error, 'strerror', None) or error}") from None
    if not found.st_size:
        raise ConfigError(f"{what} {path}: the file is empty")
    if most_bytes is not None and found.st_size > most_bytes:
        raise ConfigError(f"{what} {path}: {found.st_size} bytes, expected at most {most_bytes}")
    return found.st_size


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


def _check_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(f"{option} {value!r}: expected one of {', '.join(allowed)}")


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
    writable = [Path(drive.path).resolve() for drive in (*config.hd, *config.floppy) if not drive.read_only]
    for path in writable:
        if writable.count(path) > 1:
            raise ConfigError(f"{path}: one image cannot be two writable disks")


def _check_undo(config: MachineConfig) -> None:
    if config.undo is None:
        return
    if config.snapshot:
        raise UsageError("undo and snapshot exclude each other: a snapshot leaves nothing to settle")
    if not any(map(config.has_undo_disk, config.hd)):
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
