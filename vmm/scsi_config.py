"""SCSI adapters and the drives on them: frozen values, placed and checked before anything is built.

A drive has an adapter, by its number from 0, and an id on that adapter's bus. Id 7 is the adapter's
own. Of the rules that no bus has, one is Virtual Server's: an adapter takes at most seven disks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, Self

import msgspec

from devices.aic7870.faults import DISCONNECT_POLICIES, NEVER, Fault, parse_fault
from vmm.config_checks import check_choice, check_file
from vmm.drive_config import IMAGE_OPTIONS, ImageConfig, image_fields, split_options
from vmm.errors import ConfigError

AdapterKind = Literal["aic7870", "virtio"]
DisconnectName = Literal["never", "before-data", "mid-data"]

ADAPTER_KINDS: Final = ("aic7870", "virtio")
ADAPTERS: Final = 4
DISKS: Final = 7  # of an adapter, as Virtual Server had it
ADAPTER_ID: Final = 7
IDS: Final = tuple(number for number in range(16) if number != ADAPTER_ID)
NARROW_IDS: Final = 8
PLACE_OPTIONS: Final = {
    "adapter": tuple(map(str, range(ADAPTERS))),
    "id": tuple(map(str, range(16))),
    "disconnect": DISCONNECT_POLICIES,
}
ADAPTER_OPTION: Final = "adapter="


class ScsiAdapter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An adapter; its number is its position."""

    kind: AdapterKind = "aic7870"


class ScsiDrive(ImageConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A disk or CD on a SCSI adapter. `id` None lets `place` choose.

    `disconnect` says when it lets go of a parallel bus in the course of a command.
    """

    adapter: int = 0
    id: int | None = None
    disconnect: DisconnectName = "never"

    @property
    def target(self) -> int:
        """The id, of a drive that has been placed."""
        assert self.id is not None
        return self.id

    @classmethod
    def parse_disk(cls, text: str) -> Self:
        """Read `PATH` and what may follow it in any order, such as `,adapter=1,id=0,sync=never`."""
        path, given = split_options(text, PLACE_OPTIONS | IMAGE_OPTIONS)
        return cls(path=path, **_place_fields(given), **image_fields(given))

    @classmethod
    def parse_cd(cls, text: str) -> Self:
        """Read `PATH` and where the drive is."""
        path, given = split_options(text, PLACE_OPTIONS)
        return cls(path=path, read_only=True, **_place_fields(given))


class ScsiConfig(NamedTuple):
    """The SCSI side of a machine; `faults` as `read_fault` takes them."""

    adapters: tuple[ScsiAdapter, ...]
    disks: tuple[ScsiDrive, ...]
    cds: tuple[ScsiDrive, ...]
    faults: tuple[str, ...] = ()


def _place_fields(given: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: int(given[name]) for name in ("adapter", "id") if name in given}
    return fields | {"disconnect": given.get("disconnect", NEVER)}


def read_fault(text: str) -> tuple[int, Fault]:
    """Read a fault that targets are to have, such as `hang,adapter=0,id=0,op=28`; return its adapter too."""
    kind, *options = text.split(",")
    adapter = 0
    for option in [option for option in options if option.startswith(ADAPTER_OPTION)]:
        check_choice("adapter", option.removeprefix(ADAPTER_OPTION), PLACE_OPTIONS["adapter"])
        adapter = int(option.removeprefix(ADAPTER_OPTION))
        options.remove(option)
    try:
        return adapter, parse_fault(",".join((kind, *options)))
    except ValueError as error:
        raise ConfigError(f"SCSI fault {text}: {error}") from None


def parse_adapter(text: str) -> ScsiAdapter:
    """Read the kind of an adapter."""
    check_choice("SCSI adapter", text, ADAPTER_KINDS)
    return ScsiAdapter(text)  # type: ignore[arg-type]  # checked above


def place(scsi: ScsiConfig) -> ScsiConfig:
    """Return the same with an id for every drive, disks before CDs, and every adapter that one names."""
    drives = (*scsi.disks, *scsi.cds)
    named = [drive.adapter + 1 for drive in drives if drive.adapter in range(ADAPTERS)]
    missing = max(named, default=0) - len(scsi.adapters)
    taken = {(drive.adapter, drive.id) for drive in drives if drive.id is not None}
    return ScsiConfig(
        scsi.adapters + (ScsiAdapter(),) * missing,
        _with_ids(scsi.disks, taken),
        _with_ids(scsi.cds, taken),
        scsi.faults,
    )


def _with_ids(drives: Sequence[ScsiDrive], taken: set[tuple[int, int]]) -> tuple[ScsiDrive, ...]:
    placed = []
    for drive in drives:
        if drive.id is None:
            free = next((number for number in IDS if (drive.adapter, number) not in taken), None)
            if free is None:
                raise ConfigError(f"{drive.path}: SCSI adapter {drive.adapter} has no free id")
            taken.add((drive.adapter, free))
            placed.append(msgspec.structs.replace(drive, id=free))
        else:
            placed.append(drive)
    return tuple(placed)


def check(scsi: ScsiConfig) -> None:
    """Raise ConfigError for adapters and drives that no machine can have."""
    if len(scsi.adapters) > ADAPTERS:
        raise ConfigError(f"{len(scsi.adapters)} SCSI adapters: a machine has at most {ADAPTERS}")
    for adapter in scsi.adapters:
        check_choice("SCSI adapter", adapter.kind, ADAPTER_KINDS)
    owners: dict[tuple[int, int], str] = {}
    for what, drives in (("disk image", scsi.disks), ("CD image", scsi.cds)):
        for drive in drives:
            check_file(drive.path, what)
            _check_place(drive)
            _check_parallel(scsi, drive.adapter, drive.disconnect != NEVER, f"{drive.path}: disconnect")
            if drive.id is None:
                continue
            spot = (drive.adapter, drive.id)
            if spot in owners:
                raise ConfigError(
                    f"{drive.path}: id {drive.id} of SCSI adapter {drive.adapter} is taken by {owners[spot]}"
                )
            owners[spot] = drive.path
    for number, disks in Counter(drive.adapter for drive in scsi.disks).items():
        if disks > DISKS:
            raise ConfigError(
                f"{disks} disks on SCSI adapter {number}: it takes {DISKS}; "
                f"put others on another, adapter=0 to adapter={ADAPTERS - 1}"
            )

    for text in scsi.faults:
        _check_fault(place(scsi), text)


def _check_parallel(scsi: ScsiConfig, number: int, needed: bool, what: str) -> None:
    """Raise where what only a parallel bus has is asked of another."""
    kinds = [adapter.kind for adapter in scsi.adapters]
    if needed and number < len(kinds) and kinds[number] != "aic7870":
        raise ConfigError(f"{what}: adapter {number} is a {kinds[number]} adapter, which has no parallel bus")


def _check_fault(placed: ScsiConfig, text: str) -> None:
    """Raise for a fault that no drive could ever have."""
    number, fault = read_fault(text)
    _check_parallel(placed, number, True, f"SCSI fault {text}")
    ids = sorted(drive.target for drive in (*placed.disks, *placed.cds) if drive.adapter == number)
    if not ids or (fault.target is not None and fault.target not in ids):
        which = "no drive" if fault.target is None or not ids else f"no drive with id {fault.target}"
        has = f"; its drives have {', '.join(map(str, ids))}" if ids else ""
        raise ConfigError(f"SCSI fault {text}: adapter {number} has {which}{has}")


def _check_place(drive: ScsiDrive) -> None:
    if drive.adapter not in range(ADAPTERS):
        raise ConfigError(f"{drive.path}: SCSI adapter {drive.adapter}, expected 0 to {ADAPTERS - 1}")
    if drive.id == ADAPTER_ID:
        raise ConfigError(
            f"{drive.path}: id {ADAPTER_ID} is the adapter's own on the bus; expected 0 to 6 or 8 to 15"
        )
    if drive.id is not None and drive.id not in IDS:
        raise ConfigError(f"{drive.path}: id {drive.id}, expected 0 to 6 or 8 to 15")
