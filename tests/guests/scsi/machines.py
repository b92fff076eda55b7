"""Machines of ours with Debian's kernel and a SCSI adapter, whose guest does the jobs of `scsi.sh`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.guests.assets.initramfs import LinuxGuest
from vmm.config import MachineConfig
from vmm.scsi_config import AdapterKind, ScsiAdapter, ScsiDrive

MEMORY_BYTES: Final = 256 << 20
RUN_S: Final = 3000  # a busy host gives a guest a tenth of a processor
DRIVERS: Final[dict[AdapterKind, str]] = {"aic7870": "aic7xxx", "virtio": "virtio_scsi"}


def config_of(
    guest: LinuxGuest,
    kind: AdapterKind,
    jobs: str,
    disks: Sequence[Path],
    cd: Path | None = None,
    *,
    words: str = "",
    **options: Any,  # noqa: ANN401 - fields of MachineConfig
) -> MachineConfig:
    """A machine with disks and a CD on an adapter, whose kernel does the jobs and gets `words` as well."""
    command_line = guest.command_line("scsi", apic=options.get("apic", False))
    asked = f"{command_line} trapline.jobs={jobs} trapline.driver={DRIVERS[kind]} {words}"
    return MachineConfig(
        kernel=str(guest.kernel),
        initrd=(str(guest.initramfs),),
        append=asked.rstrip(),
        memory_bytes=MEMORY_BYTES,
        engine="accelerated",
        scsi_adapters=(ScsiAdapter(kind),),
        scsi_hd=tuple(ScsiDrive(path=str(disk)) for disk in disks),
        scsi_cd=() if cd is None else (ScsiDrive(path=str(cd), read_only=True),),
        **options,
    )
