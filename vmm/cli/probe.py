"""`trapline probe`: what each privileged and sensitive instruction does, by level and technique."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import msgspec
import typer

from vmm.cli import status
from vmm.cli.compare_run import chosen
from vmm.cli.errors import print_error
from vmm.cli.progress import Progress
from vmm.cli.run import EngineName
from vmm.cli.work_child import ask
from vmm.config import FULL_TECHNIQUES, MachineConfig
from vmm.errors import VmmError

if TYPE_CHECKING:
    from vmm.probe.matrix import Matrix
    from vmm.probe.prober import Probe

CHILD: Final = "vmm.cli.probe_child"
TIMEOUT_S: Final = 600.0
EPILOG: Final = "\n".join(
    [
        "[bold]In the table[/bold]",
        "  [cyan]runs[/cyan]            without the monitor, and right",
        "  [cyan]#GP, #UD ...[/cyan]    an exception, which the guest's own handler gets",
        "  [cyan]..., emulated[/cyan]   it came to the monitor, in that way, and the guest saw no difference",
        "  [cyan]WRONG, silent[/cyan]   it ran without the monitor and the guest saw a difference",
        "",
        "[bold]Exit status[/bold]",
        "  [cyan]0[/cyan]  probed, whatever it showed",
        "  [cyan]1[/cyan]  an error, or a technique that could not be probed",
        "",
        "[bold]Examples[/bold]",
        "  trapline probe",
        "  trapline probe --technique trap",
        "  trapline probe --technique hardware --json",
    ]
)


def probe(
    technique: Annotated[
        list[str] | None,
        typer.Option(
            "--technique",
            metavar="NAME",
            help="Only these beside bare; repeatable. Default all.",
            autocompletion=lambda: list(FULL_TECHNIQUES),
        ),
    ] = None,
    engine: Annotated[EngineName | None, typer.Option(help="How code is run. Default auto.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Execute every privileged and sensitive instruction at CPL 0, 1, 3 and in VM86, under each technique.

    A table a technique says which trap, which reach the guest's own handler, which run without the
    monitor, and which of those go wrong.
    """
    from vmm.probe.matrix import matrices

    progress = Progress()
    probes = []
    names = chosen(technique or ())
    for number, name in enumerate(names, 1):
        progress.tell(f"probing under {name} ({number} of {len(names)})")
        probes.append(_probe(name, engine.value if engine else "auto"))
    progress.clear()
    if probes[0].fault:
        raise VmmError(f"bare: {probes[0].fault}")
    found = matrices(probes)
    if as_json:
        typer.echo(json.dumps({"techniques": [matrix.facts() for matrix in found]}, indent=1))
    else:
        for matrix in found:
            _print(matrix, sys.stdout)
    failed = [matrix for matrix in found if matrix.fault]
    for matrix in failed:
        print_error(f"{matrix.technique}: {matrix.fault}")
    if failed:
        raise typer.Exit(status.ERROR)


def _probe(name: str, engine: str) -> Probe:
    from vmm.probe.prober import Probe, find_rom

    config = MachineConfig(bios=str(find_rom()), engine=engine, **FULL_TECHNIQUES[name])  # type: ignore[arg-type]
    answer = ask(CHILD, json.dumps(msgspec.to_builtins(config)).encode(), TIMEOUT_S)
    return Probe(name, fault=answer.fault) if answer.fault else msgspec.json.decode(answer.data, type=Probe)


def _print(matrix: Matrix, stream: TextIO) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from vmm.probe.layout import LEVELS
    from vmm.probe.matrix import class_of
    from vmm.trace.table import open_console

    console = open_console(stream)
    if matrix.fault:
        return
    utf8 = console.encoding.startswith("utf")
    wrong = [cell for cell in matrix.cells if not cell.right]
    silent = sum(not cell.how for cell in wrong)
    summary = f"{len(matrix.cells)} probed, {len(wrong)} wrong, {silent} of them silent"
    console.print(Text(f"{matrix.technique}: {summary}", "bold"))
    table = Table(box=box.SIMPLE_HEAD if utf8 else box.ASCII2, pad_edge=False)
    for head in ("instruction", "class", *LEVELS):
        table.add_column(head, overflow="fold")
    for instruction, texts in matrix.rows().items():
        cells = [Text(text, "bold red" if text.startswith("WRONG") else "") for text in texts]
        table.add_row(Text(instruction, "cyan"), class_of(instruction), *cells)
    console.print(table)
    for cell in wrong:
        console.print(Text(f"  {cell.instruction}, {cell.level}: {cell.difference}"), soft_wrap=True)
    if wrong:
        console.print()
