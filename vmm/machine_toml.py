"""MACHINE.toml: a machine written down, read with errors that name file, key and what is allowed.

The schema is documented in docs/machine-toml.md. Relative paths are relative to the file.
"""

from __future__ import annotations

import calendar
import datetime
import re
import tomllib
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from vmm import config as c
from vmm.drive_config import ImageFormatName, SyncName
from vmm.errors import ConfigError
from vmm.scsi_config import ADAPTERS, IDS, AdapterKind, DisconnectName, ScsiAdapter, ScsiDrive

MAX_FILE_BYTES: Final = 1 << 20

_IMAGE: Final = {
    "path": "the path of a raw or VHD image",
    "read_only": "true or false",
    "format": '"raw" or "vhd"; left out, what the contents look like',
    "snapshot": "true or false; true drops what the guest writes at the end",
    "sync": '"always", "on-flush" or "never"',
    "parent_writable": "true or false; true writes a VHD though others stand on it",
}
ALLOWED: Final = {
    "name": "a string",
    "memory": 'a size from 1 MiB to 3.5 GiB such as "64M" or "1.5G", or a number of MiB',
    "cpu": " or ".join(f'"{model}"' for model in c.CPU_MODELS),
    "apic": "true or false; true adds a local APIC, an I/O APIC and an MP table",
    "boot": 'a list of "floppy", "cd" and "hd", each at most once',
    "bios": "the path of a BIOS image; left out, our own firmware",
    "vgabios": "the path of a VGA BIOS image",
    "kernel.image": "the path of a bzImage, a Multiboot kernel or a flat binary",
    "kernel.initrd": 'the path of a RAM disk, or a list of "PATH ARGUMENTS" for Multiboot modules',
    "kernel.append": "the kernel's command line",
    "kernel.entry": '"auto", "16", "32" or "64"',
    "kernel.load_address": 'a string such as "0x7c00", "1M" or "1000:0100"',
    **{f"hd.{key}": allowed for key, allowed in _IMAGE.items()},
    "hd.index": "0 to 3: primary master and slave, secondary master and slave",
    "cd.path": "the path of a CD image",
    "cd.index": "0 to 3: primary master and slave, secondary master and slave",
    **{f"scsi_hd.{key}": allowed for key, allowed in _IMAGE.items()},
    "scsi_adapter.kind": '"aic7870" or "virtio"',
    "scsi_fault": 'a list of strings such as "hang,adapter=0,id=0,op=28"',
    "scsi_hd.adapter": "0 to 3",
    "scsi_hd.id": "0 to 6 and 8 to 15; 7 is the adapter's own",
    "scsi_hd.disconnect": '"never", "before-data" or "mid-data"',
    "scsi_cd.disconnect": '"never", "before-data" or "mid-data"',
    "scsi_cd.path": "the path of a CD image",
    "scsi_cd.adapter": "0 to 3",
    "scsi_cd.id": "0 to 6 and 8 to 15; 7 is the adapter's own",
    "floppy.path": "the path of a floppy image, such as one of 1440 KiB",
    "floppy.read_only": "true or false",
    "floppy.snapshot": "true or false; true drops what the guest writes at the end",
    "parallel": '"file:PATH", where a printer prints',
    "serial": 'a list of at most two of "stdio", "pty", "null", "file:PATH"',
    "clock": '"host" or "virtual"',
    "engine": '"auto", "portable" or "accelerated"',
    "technique": " or ".join(f'"{name}"' for name in c.TECHNIQUES),
    "translation": '"patch" or "cache", with technique "translation"',
    "paging": '"shadow" or "nested", with technique "hardware"',
    "exit_leaf": "the first of four CPUID leaves, 0x40000004 to 0x4ffffffc",
    "msr": '"fault" or "ignore"',
    "rtc": "a date and time without zone such as 2005-10-17T08:00:00; left out, the host's",
    "snapshot": "true or false",
    "undo": '"ask", "commit", "keep" or "discard"',
    "allow_roots": "a list of directories where parents of differencing VHDs may lie",
    "ignore_parent_id": "true or false; true takes a parent whose identity is not the one expected",
}
"""What each key may hold, by its path without list positions."""


class KernelTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[kernel]`."""

    image: str
    initrd: str | list[str] = []
    append: str = ""
    entry: c.EntryMode = "auto"
    load_address: str | None = None


class ImageTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The image of a disk."""

    path: str
    read_only: bool = False
    snapshot: bool = False
    format: ImageFormatName | None = None
    sync: SyncName = "on-flush"
    parent_writable: bool = False


class HdTable(ImageTable, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[hd]]`."""

    index: int | None = None


class ScsiHdTable(ImageTable, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[scsi_hd]]`."""

    adapter: int = 0
    id: int | None = None
    disconnect: DisconnectName = "never"


class ScsiCdTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[[scsi_cd]]`."""

    path: str
    adapter: int = 0
    id: int | None = None
    disconnect: DisconnectName = "never"


class ScsiAdapterTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[scsi_adapter]]`: the first is adapter 0."""

    kind: AdapterKind


class CdTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[cd]]`."""

    path: str
    index: int | None = None


class FloppyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[floppy]]`: the first is drive A."""

    path: str
    read_only: bool = False
    snapshot: bool = False


class MachineTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The top level of the file."""

    name: str = ""
    memory: str | int = "128M"
    cpu: str = "core2duo"
    apic: bool = False
    boot: tuple[c.BootDevice, ...] = ("floppy", "cd", "hd")
    bios: str | None = None
    vgabios: str | None = None
    kernel: dict[str, Any] | None = None
    hd: list[dict[str, Any]] = []
    cd: list[dict[str, Any]] = []
    floppy: list[dict[str, Any]] = []
    scsi_adapter: list[dict[str, Any]] = []
    scsi_hd: list[dict[str, Any]] = []
    scsi_cd: list[dict[str, Any]] = []
    scsi_fault: list[str] = []
    parallel: str | None = None
    serial: list[str] = []
    clock: c.ClockSource = "host"
    engine: c.Engine = "auto"
    technique: c.TechniqueName = "bare"
    translation: c.TranslationMode = "cache"
    paging: c.PagingMode = "nested"
    exit_leaf: int = 0x4FFF_FFFC
    msr: c.MsrPolicy = "fault"
    rtc: datetime.datetime | None = None
    snapshot: bool = False
    undo: c.UndoAction | None = None
    allow_roots: list[str] = []
    ignore_parent_id: bool = False


Table = TypeVar("Table", bound=msgspec.Struct)


def load_machine(path: Path) -> c.MachineConfig:
    """Read a MACHINE.toml; the files it names are looked at later, by `MachineConfig.check`."""
    c.check_file(str(path), "machine file", MAX_FILE_BYTES)
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    return _Reader(path).machine(document)


class _Reader:
    """Turns the document of one file into a MachineConfig."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def machine(self, document: dict[str, Any]) -> c.MachineConfig:
        top = self._convert(document, MachineTable, "")
        kernel = None if top.kernel is None else self._convert(top.kernel, KernelTable, "kernel")
        return c.MachineConfig(
            name=top.name,
            memory_bytes=self._memory(top.memory),
            cpu=top.cpu if top.cpu in c.CPU_MODELS else self._fail("cpu", f"found {top.cpu!r}"),
            apic=top.apic,
            hd=tuple(self._disk(entry, number) for number, entry in enumerate(top.hd)),
            cd=tuple(self._cd(entry, number) for number, entry in enumerate(top.cd)),
            floppy=tuple(self._floppy(entry, number) for number, entry in enumerate(top.floppy)),
            scsi_adapters=tuple(
                self._adapter(entry, number) for number, entry in enumerate(top.scsi_adapter)
            ),
            scsi_hd=tuple(self._scsi_disk(entry, number) for number, entry in enumerate(top.scsi_hd)),
            scsi_cd=tuple(self._scsi_cd(entry, number) for number, entry in enumerate(top.scsi_cd)),
            scsi_faults=tuple(top.scsi_fault),
            parallel=self._parallel(top.parallel),
            boot=self._boot(top.boot),
            bios=self._file(top.bios),
            vgabios=self._file(top.vgabios),
            kernel=self._file(kernel.image) if kernel else None,
            initrd=self._paths(kernel.initrd) if kernel else (),
            append=kernel.append if kernel else "",
            entry=kernel.entry if kernel else "auto",
            load_address=kernel.load_address if kernel else None,
            serial=tuple(self._serial(entry, number) for number, entry in enumerate(top.serial)),
            clock=top.clock,
            engine=top.engine,
            technique=top.technique,
            translation=top.translation,
            paging=top.paging,
            exit_leaf=top.exit_leaf,
            msr=top.msr,
            rtc_base_s=self._rtc(top.rtc),
            snapshot=top.snapshot,
            undo=top.undo,
            allow_roots=self._paths(top.allow_roots),
            ignore_parent_id=top.ignore_parent_id,
        )

    def _convert(self, values: dict[str, Any], table: type[Table], prefix: str) -> Table:
        known = table.__struct_fields__
        for key in values:
            if key not in known:
                where = f"{prefix}.{key}" if prefix else key
                raise ConfigError(f"{self._path}: {where}: unknown key; allowed: {', '.join(known)}")
        try:
            return msgspec.convert(values, table)
        except msgspec.ValidationError as error:
            problem, _, where = str(error).partition(" - at `$.")
            missing = re.match(r"Object missing required field `(\w+)`", problem)
            key = missing[1] if missing else where.rstrip("`")
            problem = "is missing" if missing else problem[0].lower() + problem[1:].replace("`", "")
            self._fail(f"{prefix}.{key}" if prefix else key, problem)

    def _fail(self, key: str, problem: str) -> NoReturn:
        allowed = ALLOWED.get(re.sub(r"\[[^]]*\]", "", key))
        hint = f"; allowed: {allowed}" if allowed else ""
        raise ConfigError(f"{self._path}: {key}: {problem}{hint}")

    def _file(self, name: str | None) -> str | None:
        return None if name is None else str(self._path.parent / name)

    def _paths(self, names: str | list[str]) -> tuple[str, ...]:
        return tuple(str(self._path.parent / name) for name in ([names] if isinstance(names, str) else names))

    def _memory(self, size: str | int) -> int:
        try:
            return c.parse_memory(size)
        except ConfigError:
            self._fail("memory", f"found {size!r}")

    def _boot(self, order: tuple[c.BootDevice, ...]) -> tuple[c.BootDevice, ...]:
        if not order or len(set(order)) != len(order):
            self._fail("boot", f"found {list(order)}")
        return order

    def _disk(self, entry: dict[str, Any], number: int) -> c.DriveConfig:
        table = self._convert(entry, HdTable, f"hd[{number}]")
        self._index(table.index, f"hd[{number}].index")
        return c.DriveConfig(**self._fields(table))

    def _adapter(self, entry: dict[str, Any], number: int) -> ScsiAdapter:
        return ScsiAdapter(self._convert(entry, ScsiAdapterTable, f"scsi_adapter[{number}]").kind)

    def _scsi_disk(self, entry: dict[str, Any], number: int) -> ScsiDrive:
        table = self._convert(entry, ScsiHdTable, f"scsi_hd[{number}]")
        self._place(table, f"scsi_hd[{number}]")
        return ScsiDrive(**self._fields(table))

    def _scsi_cd(self, entry: dict[str, Any], number: int) -> ScsiDrive:
        table = self._convert(entry, ScsiCdTable, f"scsi_cd[{number}]")
        self._place(table, f"scsi_cd[{number}]")
        return ScsiDrive(**self._fields(table), read_only=True)

    def _fields(self, table: HdTable | ScsiHdTable | ScsiCdTable) -> dict[str, Any]:
        """Return what a drive's table says, which a drive's configuration calls the same."""
        return msgspec.structs.asdict(table) | {"path": str(self._path.parent / table.path)}

    def _place(self, table: ScsiHdTable | ScsiCdTable, key: str) -> None:
        if table.adapter not in range(ADAPTERS):
            self._fail(f"{key}.adapter", f"found {table.adapter}")
        if table.id is not None and table.id not in IDS:
            self._fail(f"{key}.id", f"found {table.id}")

    def _cd(self, entry: dict[str, Any], number: int) -> c.DriveConfig:
        table = self._convert(entry, CdTable, f"cd[{number}]")
        index = self._index(table.index, f"cd[{number}].index")
        return c.DriveConfig(path=str(self._path.parent / table.path), index=index, read_only=True)

    def _floppy(self, entry: dict[str, Any], number: int) -> c.DriveConfig:
        table = self._convert(entry, FloppyTable, f"floppy[{number}]")
        path = str(self._path.parent / table.path)
        return c.DriveConfig(path=path, read_only=table.read_only, snapshot=table.snapshot)

    def _parallel(self, text: str | None) -> str | None:
        kind, _, path = (text or "").partition(":")
        if text is not None and (kind != "file" or not path):
            self._fail("parallel", f"found {text!r}")
        return self._file(path) if text is not None else None

    def _index(self, index: int | None, key: str) -> int | None:
        if index is not None and not 0 <= index < c.ATA_DRIVES:
            self._fail(key, f"found {index}")
        return index

    def _serial(self, text: str, number: int) -> c.SerialConfig:
        try:
            port = c.SerialConfig.parse(text)
        except ConfigError:
            self._fail(f"serial[{number}]", f"found {text!r}")
        return c.SerialConfig(port.kind, self._file(port.path))

    def _rtc(self, base: datetime.datetime | None) -> int | None:
        if base is None:
            return None
        if base.tzinfo is not None:
            self._fail("rtc", f"found {base.isoformat()}")
        return calendar.timegm(base.timetuple())
