"""Options of `trapline run` about SCSI: adapters, and the disks and CDs on them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from devices.aic7870.faults import KINDS
from vmm.cli.image_argument import complete_image
from vmm.config import MachineConfig
from vmm.scsi_config import ADAPTER_KINDS, ScsiDrive, parse_adapter

SCSI: Final = "SCSI"
PLACE: Final = "adapter=0-3 (default 0), id=0-6 or 8-15 (default the next free one)"


def complete_path(incomplete: str) -> list[str]:
    """Return the images and folders that the option's path may become."""
    return [word for word in complete_image(incomplete) if ":" not in word and not word.endswith(".toml")]


ScsiAdapterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scsi-adapter",
        metavar="KIND",
        help="An adapter: aic7870 (Adaptec, PCI) or virtio (fast); repeatable, the first is adapter 0. "
        "One that only a drive names is an aic7870.",
        rich_help_panel=SCSI,
        autocompletion=lambda: list(ADAPTER_KINDS),
    ),
]
ScsiHdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scsi-hd",
        metavar="PATH[,OPTION=...]",
        help=f"A SCSI disk, raw or VHD; repeatable, seven an adapter. Options: {PLACE}, "
        "disconnect=never, before-data or mid-data (when it lets go of the bus), and those of --hd.",
        rich_help_panel=SCSI,
        autocompletion=complete_path,
    ),
]
ScsiCdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scsi-cd",
        metavar="PATH[,OPTION=...]",
        help=f"A CD image in a SCSI drive; repeatable. Options: {PLACE}, and disconnect.",
        rich_help_panel=SCSI,
        autocompletion=complete_path,
    ),
]
ScsiFaultOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scsi-fault",
        metavar="KIND[,OPTION=...]",
        help="Have a target of an AIC-7870 misbehave, for its driver to recover: hang leaves a command "
        "unanswered, absent a selection. Options: adapter=0-3, id=N, times=N (default 1); of hang also "
        "op=HEX (first byte of the CDB) and lba=N (its first block); repeatable.",
        rich_help_panel=SCSI,
        autocompletion=lambda: list(KINDS),
    ),
]


def scsi_changes(
    base: MachineConfig,
    adapters: list[str] | None,
    disks: list[str] | None,
    cds: list[str] | None,
    faults: list[str] | None = None,
) -> dict[str, Any]:
    """Return what the options add to a machine, by the names of its fields."""
    return {
        "scsi_adapters": base.scsi_adapters + tuple(parse_adapter(text) for text in adapters or ()),
        "scsi_hd": base.scsi_hd + tuple(ScsiDrive.parse_disk(text) for text in disks or ()),
        "scsi_cd": base.scsi_cd + tuple(ScsiDrive.parse_cd(text) for text in cds or ()),
        "scsi_faults": base.scsi_faults + tuple(faults or ()),
    }
