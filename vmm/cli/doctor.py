"""`trapline doctor`: what this installation can do here, and what it would need for more."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from vmm import __version__
from vmm.cli import status
from vmm.errors import ConfigError, EngineError

COMPILERS: Final = ("cc", "gcc", "clang")
LIBRARIES: Final = ("capstone", "msgspec", "numpy", "construct", "rich", "typer")
TOOLS: Final = {
    "nasm": "rebuilds our own guests",
    "qemu-system-i386": "the peer that tests and benchmarks compare with",
    "qemu-img": "checks disk images",
    "7zz": "checks disk images",
    "xorriso": "makes CD images",
    "mcopy": "fills FAT file systems",
    "mkfs.fat": "makes FAT file systems",
    "extlinux": "makes Linux disks that boot",
}
GUESTS: Final = {
    "SeaBIOS": "/usr/share/seabios/bios-256k.bin",
    "SeaBIOS's VGA BIOS": "/usr/share/seabios/vgabios-stdvga.bin",
    "memtest86+": "/boot/memtest86+ia32.bin",
}
SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"
GOOD: Final = "ok"
MISSING: Final = "-"
BAD: Final = "FAIL"


class Finding(NamedTuple):
    """One line: what was looked at, how it stands, and what was found."""

    topic: str
    state: str
    text: str


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which engine is used and why, and what else was found.

    The status is 0 when guests can run, 1 when they cannot.
    """
    findings = [*_host(), *_engine(), *_libraries(), *_tools()]
    if as_json:
        rows = {finding.topic: {"state": finding.state, "found": finding.text} for finding in findings}
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print(findings)
    raise typer.Exit(status.ERROR if any(finding.state == BAD for finding in findings) else status.OK)


def _host() -> list[Finding]:
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    return [
        Finding("trapline", GOOD, __version__),
        Finding("Python", GOOD, f"{platform.python_version()} ({sys.executable})"),
        Finding("host", GOOD, f"{platform.system()} {platform.machine()}"),
        Finding("C compiler", GOOD, compiler)
        if compiler
        else Finding("C compiler", MISSING, "none; with one, another install builds the accelerator"),
    ]


def _engine() -> list[Finding]:
    from importlib import metadata

    try:
        from vmm.cpu import layout
        from vmm.cpu.processor import choose_engine
    except (ImportError, OSError, AttributeError) as error:
        return [Finding("unicorn", BAD, f"does not load: {error}")]
    findings = []
    try:
        layout.prove_version()
        findings.append(Finding("unicorn", GOOD, metadata.version("unicorn")))
        layout.prove_state()
        findings.append(Finding("state layout", GOOD, "proved: known values were found where they must be"))
    except EngineError as error:
        findings.append(Finding("state layout", BAD, str(error)))
    try:
        name, why = choose_engine("auto")
        findings.append(Finding("engine", GOOD, f"{name}: {why}"))
    except (ConfigError, EngineError) as error:
        findings.append(Finding("engine", BAD, str(error)))
    return findings


def _libraries() -> list[Finding]:
    from importlib import metadata  # late: every command loads this module

    findings = []
    for name in LIBRARIES:
        try:
            findings.append(Finding(name, GOOD, metadata.version(name)))
        except metadata.PackageNotFoundError:
            findings.append(Finding(name, BAD, "not installed"))
    return findings


def _tools() -> list[Finding]:
    findings = []
    for name, use in TOOLS.items():
        found = shutil.which(name) or shutil.which(name, path=SBIN)
        findings.append(Finding(name, GOOD if found else MISSING, found or f"not found; it {use}"))
    for name, path in GUESTS.items():
        there = Path(path).is_file()
        findings.append(Finding(name, GOOD if there else MISSING, path if there else f"no {path}"))
    return findings


def _print(findings: list[Finding]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    styles = {GOOD: "green", MISSING: "yellow", BAD: "bold red"}
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(finding.topic, f"[{styles[finding.state]}]{finding.state}[/]", finding.text)
    Console(highlight=False).print(table)
