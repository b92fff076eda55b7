"""`trapline compare`: one guest under every technique, side by side."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from vmm.cli import status
from vmm.cli.compare_run import chosen, outcomes
from vmm.cli.errors import print_error
from vmm.cli.image_argument import GUEST_PREFIX, complete_image, machine_of
from vmm.cli.kernel_options import AppendOption, InitrdOption, KernelOption
from vmm.cli.progress import Progress
from vmm.cli.run import EngineName
from vmm.config import FULL_TECHNIQUES, MachineConfig, parse_memory
from vmm.errors import UsageError

DEFAULT_TIMEOUT_S: Final = 120.0
EPILOG: Final = "\n".join(
    [
        "[bold]Exit status[/bold]",
        "  [cyan]0[/cyan]  compared, whatever it showed",
        "  [cyan]1[/cyan]  an error, told in one line on stderr; also: bare itself did not end well",
        "  [cyan]2[/cyan]  wrong usage",
        "",
        "[bold]Examples[/bold]",
        "  trapline compare guest:snare",
        "  trapline compare guest:snare --technique trap --technique translation",
        "  trapline compare guest:selftest --all",
        "  trapline compare disk.vhd --expect 'login:' --timeout 300 --json",
        "  trapline compare --disk-paths",
        "  trapline compare --disk-paths --kernel vmlinuz --initrd paths.gz --append console=ttyS0",
        "  trapline compare --kernel vmlinuz --initrd initrd.gz --append console=ttyS0 --expect reboot:",
    ]
)


def compare(
    image: Annotated[
        Path | None,
        typer.Argument(
            metavar="[IMAGE|MACHINE.toml|guest:NAME]",
            help="What `trapline run` takes. Disks are not written.",
            autocompletion=complete_image,
        ),
    ] = None,
    technique: Annotated[
        list[str] | None,
        typer.Option(
            "--technique",
            metavar="NAME",
            help="Only these beside bare; repeatable. Default all.",
            autocompletion=lambda: list(FULL_TECHNIQUES),
        ),
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Text on COM1 that ends a run. A guest of ours needs none."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long each technique may take.")
    ] = DEFAULT_TIMEOUT_S,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="1M to 3.5G; a plain number is MiB.")
    ] = None,
    engine: Annotated[EngineName | None, typer.Option(help="How code is run. Default auto.")] = None,
    kernel: KernelOption = None,
    initrd: InitrdOption = None,
    append: AppendOption = None,
    disk_paths: Annotated[
        bool,
        typer.Option(
            "--disk-paths",
            help="Instead of techniques, ways to a disk: exits and time a sector. Default guest:snare.",
        ),
    ] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="Show entries that are equal everywhere and rare exits too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a guest under every technique and show where each differs from the bare machine.

    The guest prints an array on COM1, as guest:snare does. Entries that differ are starred, and the
    instruction behind each is named. Then come exits by reason, what they cost, and the slowdown.
    """
    if not 0 < timeout < 1e6:
        raise UsageError(f"--timeout {timeout:g}: expected seconds above 0 and below 1e6")
    changes = {
        "memory_bytes": parse_memory(memory) if memory is not None else None,
        "engine": engine.value if engine else None,
        "kernel": kernel,
        "initrd": tuple(initrd) if initrd else None,
        "append": append,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    if disk_paths:
        if technique or expect is not None or whole:
            raise UsageError("--disk-paths: --technique, --expect and --all say nothing of disks")
        _compare_disk_paths(image, given, timeout, as_json)
        return
    names = chosen(technique or ())

    def machine_for(name: str, cleanup: ExitStack) -> MachineConfig:
        base = machine_of(image, cleanup, paravirtual=name == "para")
        return msgspec.structs.replace(base, **given, snapshot=True, undo=None)

    from vmm.techniques import compare as logic

    progress = Progress()
    until = _ends_with(image) if expect is None else expect
    columns = logic.compare(list(outcomes(names, machine_for, until, timeout, progress.tell)))
    progress.clear()
    if as_json:
        facts = {"guest": str(image or kernel), "techniques": [column.facts() for column in columns]}
        typer.echo(json.dumps(facts, indent=1))
    else:
        from vmm.cli.compare_table import print_comparison

        print_comparison(columns, sys.stdout, whole=whole)
    bare = columns[0].outcome
    if bare.fault:
        print_error(f"bare: {bare.fault}")
        raise typer.Exit(status.ERROR)


def _compare_disk_paths(image: Path | None, given: dict[str, Any], timeout: float, as_json: bool) -> None:
    from vmm.cli.disk_paths import SNARE, measured

    progress = Progress()
    paths = list(measured(image, given, timeout, progress.tell))
    progress.clear()
    if as_json:
        guest = given.get("kernel", SNARE)
        typer.echo(json.dumps({"guest": guest, "paths": [path.facts() for path in paths]}, indent=1))
    else:
        from vmm.cli.disk_paths_table import print_paths

        print_paths(paths, sys.stdout)
    if not any(path.outcome.work for path in paths):
        print_error(f"no path was measured: {paths[0].path.title}: {paths[0].outcome.fault}")
        raise typer.Exit(status.ERROR)


def _ends_with(image: Path | None) -> str:
    """Return what a guest of ours prints last."""
    from vmm.guests import find_guest

    name = str(image or "").partition("/")[0]
    return find_guest(name.removeprefix(GUEST_PREFIX)).done if name.startswith(GUEST_PREFIX) else ""
