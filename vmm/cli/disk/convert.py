"""`trapline disk convert`."""

from __future__ import annotations

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vmm.cli.disk.create import FORMAT_OF_SUFFIX, TypeName
from vmm.cli.disk.options import (
    AllowRoot,
    AsJson,
    BlockSize,
    DryRun,
    Force,
    IgnoreParentId,
    human,
    parent_rules,
    parse_size,
)
from vmm.cli.disk.progress import progress
from vmm.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from disks.convert import Target
    from disks.translate import Source

CONVERT_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk convert disk.img disk.vhd\n\n"
    "trapline disk convert --type fixed disk.img disk.vhd\n\n"
    "trapline disk convert child.vhd flat.vhd    (the chain becomes one image)\n\n"
    "trapline disk convert appliance.vmdk disk.vhd    (needs qemu-img)"
)


class FormatName(StrEnum):
    """Values of `--to`."""

    VHD = "vhd"
    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VDI = "vdi"
    VHDX = "vhdx"


class SourceFormatName(StrEnum):
    """Values of `--from-format`."""

    VHD = "vhd"
    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VDI = "vdi"
    VHDX = "vhdx"
    QED = "qed"
    PARALLELS = "parallels"


_FOREIGN_OF_SUFFIX: Final = {f".{name}": name for name in ("qcow2", "vmdk", "vdi", "vhdx")}


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="An image; of a differencing one, the top.")],
    path: Annotated[
        Path, typer.Argument(metavar="OUT", help="The new image; its suffix decides the format.")
    ],
    to: Annotated[
        FormatName | None,
        typer.Option("--to", "--format", help="Format of OUT. All but raw and vhd need qemu-img."),
    ] = None,
    disk_type: Annotated[
        TypeName | None,
        typer.Option("--type", help="VHD: dynamic leaves zeros out (default), fixed does not."),
    ] = None,
    block_size: BlockSize = None,
    sparse: Annotated[
        bool, typer.Option("--sparse", help="Fixed VHD: take room on the host only for what is not zeros.")
    ] = False,
    from_format: Annotated[
        SourceFormatName | None,
        typer.Option("--from-format", help="Format of IN, if it is not what it looks like."),
    ] = None,
    force: Force = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Copy an image to a new one of another kind; a chain becomes one image.

    Holes are skipped, zeros take no room. OUT appears when it is complete. Images of other formats go through
    qemu-img where it is installed, and the commands are shown.
    """
    from disks.copying import held_bytes
    from disks.newfile import refuse_existing
    from disks.translate import Watcher, commands, open_source, translate

    kind = to.value if to else _format_for(path)
    target = _target(kind, disk_type, block_size, sparse)
    rules = parent_rules(allow_root, ignore_parent_id)
    with open_source(source, from_format.value if from_format else None, rules) as opened:
        held = held_bytes(opened.image) if opened.image is not None else 0
        facts = _facts(opened, path, kind, held)
        if dry_run:
            if not force:
                refuse_existing(path)
            facts["commands"] = [shlex.join(words) for words in commands(opened, path, target)]
        else:
            with progress(f"converting {source.name}", held) as done:
                run: list[str] = []
                watcher = Watcher(lambda words: _say(words, run), done)
                written = translate(opened, path, target, watcher, replace=force)
            facts |= {"commands": run, "written_bytes": written, **_identity(target)}
    _print(facts, as_json, dry_run)


def _format_for(path: Path) -> str:
    """Return the format the suffix of `path` stands for."""
    suffix = path.suffix.lower()
    kind = _FOREIGN_OF_SUFFIX.get(suffix) or FORMAT_OF_SUFFIX.get(suffix)
    if kind is None:
        raise ConfigError(f"{path}: no format goes with {path.suffix}; say --to vhd or --to raw")
    return kind


def _target(kind: str, disk_type: TypeName | None, block_size: str | None, sparse: bool) -> Target | str:
    """Return what is to be made; raise UsageError for options that do not go together."""
    from disks.convert import DynamicTarget, FixedTarget, RawTarget

    if disk_type is not None and kind != "vhd":
        raise UsageError(f"--type is for VHD images; OUT is {kind}")
    fixed = disk_type is TypeName.FIXED
    if sparse and not fixed:
        raise UsageError("--sparse is for fixed VHD images; others take room only for what is not zeros")
    if block_size is not None and (fixed or kind != "vhd"):
        raise UsageError("--block-size is for dynamic VHD images")
    if kind == "raw":
        return RawTarget()
    if kind != "vhd":
        return kind
    return FixedTarget(sparse=sparse) if fixed else DynamicTarget(block_bytes=parse_size(block_size or "2M"))


def _identity(target: Target | str) -> dict[str, object]:
    """Return what tells a new VHD from others."""
    from disks.convert import RawTarget

    return {} if isinstance(target, str | RawTarget) else {"unique_id": str(target.identity.unique_id)}


def _facts(source: Source, path: Path, kind: str, held: int) -> dict[str, object]:
    """Return what `--json` prints, but for what is known only afterwards."""
    facts: dict[str, object] = {
        "input": str(source.path),
        "input_format": source.driver or "raw",
        "output": str(path),
        "output_format": kind,
        "virtual_bytes": source.size_bytes,
    }
    if source.image is not None:
        levels = [str(level.path) for level in getattr(source.image, "levels", ())]
        facts |= {"input_format": "vhd" if levels else "raw", "levels": levels or [str(source.path)]}
        facts["held_bytes"] = held
    return facts


def _say(words: list[str], run: list[str]) -> None:
    """Show a command that is about to be run, and note it."""
    run.append(shlex.join(words))
    typer.echo(f"running: {run[-1]}", err=True)


def _print(facts: dict[str, object], as_json: bool, dry_run: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    levels = facts.get("levels", [])
    depth = f", a chain of {len(levels)}" if isinstance(levels, list) and len(levels) > 1 else ""
    typer.echo(
        f"{facts['input']} ({facts['input_format']}{depth}) -> {facts['output']} ({facts['output_format']})"
    )
    for key, label in (("virtual_bytes", "size"), ("held_bytes", "to read"), ("written_bytes", "written")):
        if facts.get(key):
            typer.echo(f"{label + ':':10}{human(key, facts[key])}")
    if dry_run:
        for command in facts["commands"] if isinstance(facts["commands"], list) else ():
            typer.echo(f"{'run:':10}{command}")
        typer.echo("nothing was written (--dry-run)")
