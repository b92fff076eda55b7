"""The images behind a machine's drives: how each is opened, and what is odd about it.

A VHD hard disk may be a chain. It is not written while other images stand on it, and with undo disks it
is not written at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from disks.image import BlockImage
from disks.open import ImageFormat, open_image
from disks.overlay import SnapshotImage
from disks.sync import SyncPolicy
from disks.vhd.family import ParentInUseError, refuse_to_write_a_parent
from disks.vhd.fixed import FixedVhd
from disks.vhd.parents import ParentRules
from disks.vhd.sparse import SparseVhd
from disks.vhd.undo import open_undo, refuse_half_committed, without_undo
from disks.vhd.undo_names import undo_path
from vmm.config import MachineConfig
from vmm.drive_config import ImageConfig
from vmm.errors import ConfigError
from vmm.scsi_config import ScsiDrive


class OpenDrive(NamedTuple):
    """The image of a drive; each of `warnings` begins with a path. `unique_id` is that of a VHD."""

    image: BlockImage
    warnings: tuple[str, ...]
    unique_id: UUID | None = None


def parent_rules(machine: MachineConfig) -> ParentRules:
    """Return where the parents of the machine's disks may lie, and who they may be."""
    return ParentRules(tuple(map(Path, machine.allow_roots)), machine.ignore_parent_id)


def open_drive(drive: ImageConfig, machine: MachineConfig, *, raw: bool = False) -> OpenDrive:
    """Open the image behind a drive, with a snapshot or an undo disk in front where one is wanted.

    Of floppies and CDs (`raw`) the sectors are taken as they are.
    """
    snapshot = (drive.snapshot or machine.snapshot) and not drive.read_only
    image_format = ImageFormat.RAW if raw else ImageFormat(drive.format) if drive.format else None
    sync, rules = SyncPolicy(drive.sync), parent_rules(machine)
    if not raw and machine.has_undo_disk(drive):
        return _with_undo_disk(drive, image_format, sync, rules)
    if not raw:
        refuse_half_committed(Path(drive.path))
    read_only = drive.read_only or snapshot
    image = open_image(drive.path, read_only=read_only, image_format=image_format, sync=sync, parents=rules)
    try:
        warnings = _warnings(image)
        if read_only and not raw and (undo := undo_path(Path(drive.path))).exists():
            warnings += (f"{drive.path}: what its undo disk {undo} holds is not seen without --undo",)
        if not read_only and not drive.parent_writable:
            _refuse_parent(image, drive)
    except BaseException:
        image.close()
        raise
    return OpenDrive(SnapshotImage(image) if snapshot else image, warnings, _unique_id(image))


def look_at(path: Path | str, drive: ImageConfig, machine: MachineConfig) -> None:
    """Open an image of the drive for reading and close it; raise OSError or DiskError for a damaged one."""
    image_format = ImageFormat(drive.format) if drive.format and str(path) == drive.path else None
    open_image(path, read_only=True, image_format=image_format, parents=parent_rules(machine)).close()


def _refuse_parent(image: BlockImage, drive: ImageConfig) -> None:
    path = drive.path
    option = "--scsi-hd" if isinstance(drive, ScsiDrive) else "--hd"
    try:
        refuse_to_write_a_parent(image)
    except ParentInUseError as error:
        undo = undo_path(Path(path))
        if undo in error.children:
            raise ConfigError(
                f"{path}: has an undo disk from an earlier run. Go on with it (--undo), or settle it: "
                f"trapline disk merge --delete {undo} writes it into the disk, rm {undo} discards it"
            ) from None
        raise ConfigError(
            f"{error}. Give the machine a child of its own (trapline disk create NEW.vhd --parent {path}), "
            f"or run with --undo or --snapshot; {option} {path},parent-writable=yes writes it all the same"
        ) from None


def _with_undo_disk(
    drive: ImageConfig, image_format: ImageFormat | None, sync: SyncPolicy, rules: ParentRules
) -> OpenDrive:
    if image_format is ImageFormat.RAW:
        raise without_undo(Path(drive.path))
    image = open_undo(Path(drive.path), sync, rules)
    return OpenDrive(image, _warnings(image), _unique_id(image.parent))


def _unique_id(image: BlockImage | None) -> UUID | None:
    return image.footer.unique_id if isinstance(image, FixedVhd | SparseVhd) else None


def _warnings(image: BlockImage) -> tuple[str, ...]:
    if not isinstance(image, FixedVhd | SparseVhd):
        return ()
    return tuple(f"{level.path}: {text}" for level in image.levels for text in level.own_warnings)
