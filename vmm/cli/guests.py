"""`trapline guests`: what there is to run, and images of it to keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vmm import guests as registry
from vmm.errors import ConfigError, UsageError

app = typer.Typer(
    help="List guests to run, or copy one to an image of your own.", invoke_without_command=True
)
EPILOG: Final = "\n".join(
    [
        "[bold]Examples[/bold]",
        "  trapline guests",
        "  trapline run guest:snare",
        "  trapline run guest:snare/cd",
        "  trapline guests copy snare my.vhd",
    ]
)
MEDIA_BY_SUFFIX: Final = {
    ".vhd": "vhd",
    ".img": "raw",
    ".raw": "raw",
    ".iso": "cd",
    ".ima": "floppy",
    ".flp": "floppy",
}


@app.callback(epilog=EPILOG)
def guests(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List guests that Trapline ships and real ones that Debian's packages bring."""
    if context.invoked_subcommand is None:
        show_list(as_json)


@app.command("list", hidden=True)
def show_list(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False) -> None:
    """List them; the same as no verb."""
    rows = [*map(_shipped, registry.SHIPPED), *map(_packaged, registry.PACKAGED)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print(rows)


@app.command()
def copy(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A shipped guest.", autocompletion=lambda: [g.name for g in registry.SHIPPED]
        ),
    ],
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The image: .vhd, .img (raw), .iso, .flp (floppy).")
    ],
    medium: Annotated[
        str | None,
        typer.Option(
            metavar="MEDIUM",
            help="vhd, raw, cd or floppy. Default by the name's ending.",
            autocompletion=lambda: ["vhd", "raw", "cd", "floppy"],
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write an image of a shipped guest, to keep."""
    guest = registry.find_guest(name)
    chosen = medium or MEDIA_BY_SUFFIX.get(path.suffix.lower())
    if chosen is None:
        raise UsageError(f"{path}: which medium? Name it .vhd, .img, .iso or .flp, or give --medium")
    chosen = registry.find_medium(guest, chosen)
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: no such directory")
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; --force replaces it")
    registry.write_medium(guest, chosen, path)


def _shipped(guest: registry.ShippedGuest) -> dict[str, Any]:
    folder = registry.folder_of(guest)
    return {
        "name": guest.name,
        "what": guest.title,
        "from": "trapline",
        "media": list(guest.media),
        "installed": None if folder is None else str(folder),
        "run": registry.command_of(guest),
    }


def _packaged(guest: registry.PackagedGuest) -> dict[str, Any]:
    found = guest.found()
    return {
        "name": guest.name,
        "what": guest.title,
        "from": guest.package,
        "media": [],
        "installed": None if found is None else str(found),
        "run": registry.command_of(guest),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for row in rows:
        ours = row["from"] == "trapline"
        media = f" ({', '.join(row['media'])})" if row["media"] else ""
        console.print(Text.assemble((f"{row['name']:<17}", "bold cyan"), row["what"] + media))
        if ours:
            state = ("shipped", "green") if row["installed"] else ("its files are missing", "red")
        elif row["installed"]:
            state = (f"installed at {row['installed']}", "green")
        else:
            state = (f"not installed: apt-get install {row['from']}", "yellow")
        console.print(Text.assemble(" " * 17, state))
        console.print(Text.assemble(" " * 17, (row["run"], "bold")))
