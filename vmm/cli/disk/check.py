"""`trapline disk check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from disks.words import printable
from vmm.cli.disk.options import AllowRoot, AsJson, DryRun, IgnoreParentId, parent_rules
from vmm.cli.disk.progress import progress
from vmm.errors import UsageError

if TYPE_CHECKING:
    from disks.vhd.check import Level
    from disks.vhd.check_repair import Fix

CHECK_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk check disk.vhd\n\ntrapline disk check --repair --dry-run disk.vhd\n\n"
    "trapline disk check --json child.vhd"
)
WARNINGS: Final = 3  # as qemu-img check: odd, but nothing is wrong with the contents
ERRORS: Final = 4  # as fsck: errors are left
REPAIRED: Final = "repaired"
PLANNED: Final = "would repair"


def check(
    path: Annotated[Path, typer.Argument(help="A VHD.")],
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Mend what needs no decision; what a guest sees never changes."),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Check a VHD, and the images it stands on, against every rule of the format.

    The status is 0 when nothing or only notes are found, 3 when there are warnings, 4 when there are errors,
    1 when the check could not be made. With --repair it tells what is left.
    """
    from disks.vhd.check import check_chain, worst
    from disks.vhd.check_rules import Severity

    if dry_run and not repair:
        raise UsageError("--dry-run goes with --repair; a check alone changes nothing")
    fixes, refused = _repair(path, dry_run) if repair else ([], None)
    rules = parent_rules(allow_root, ignore_parent_id)
    levels = check_chain(path, rules, lambda image, size: progress(f"checking {image.name}", size))
    if as_json:
        typer.echo(json.dumps(_facts(levels, fixes, refused, dry_run), indent=2))
    else:
        _print(levels, fixes, refused, dry_run)
    status = {Severity.ERROR: ERRORS, Severity.WARNING: WARNINGS}.get(worst(levels) or Severity.INFO, 0)
    if status:
        raise typer.Exit(status)


def _repair(path: Path, dry_run: bool) -> tuple[list[Fix], str | None]:
    """Mend the image itself; return what was or would be done, and the rule that forbids it."""
    from disks.hostfile import HostFile
    from disks.vhd.check import check_data, dissect
    from disks.vhd.check_repair import apply, hindrance, plan

    file = HostFile.open(path, read_only=dry_run)
    try:
        level, status = dissect(file), file.status
        with progress(f"looking for repairs of {path.name}", status.st_size) as done:
            check_data(file, level, None, done)
        fixes = plan(level)
        if fixes and not dry_run:
            apply(file, fixes)
            file.set_times(status)  # what stands on the image notes its time, and a guest sees no change
        return fixes, hindrance(level)
    finally:
        file.close()


def _facts(levels: list[Level], fixes: list[Fix], refused: str | None, dry_run: bool) -> dict[str, Any]:
    """Return what `--json` prints."""
    from disks.vhd.check_rules import Severity

    done = PLANNED if dry_run else REPAIRED
    return {
        "images": [
            {
                "path": str(level.path),
                **{f"{severity}s": level.findings.number(severity) for severity in Severity},
                "findings": [
                    {
                        "severity": str(finding.severity),
                        "rule": finding.rule.name,
                        "offset": finding.offset,
                        "field": finding.field,
                        "expected": finding.expected,
                        "found": finding.found,
                        "meaning": finding.rule.meaning,
                        "repairable": bool(finding.rule.repair),
                    }
                    for finding in level.findings.listed
                ],
                "not_listed": level.findings.unlisted,
            }
            for level in levels
        ],
        "repairs": [{"state": done, "rules": fix.rules, "what": fix.text} for fix in fixes],
        "repair_refused_by": refused,
    }


def _print(levels: list[Level], fixes: list[Fix], refused: str | None, dry_run: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    styles = {"error": "bold red", "warning": "yellow", "info": "cyan"}
    if refused is not None:
        console.print(Text(f"not repaired: {refused} needs a decision", "bold red"))
    for fix in fixes:
        console.print(Text(f"{PLANNED if dry_run else REPAIRED}: {fix.text}", "green"))
    for level in levels:
        console.print(Text(f"{printable(level.path)}: {summary(level)}", "bold"))
        for finding in level.findings.listed:
            line = Text("  ")
            line.append(f"{finding.severity:8}", styles[finding.severity])
            line.append(f"{finding.rule.name}, at {finding.offset:#x}: {printable(finding.field)}: ")
            line.append(printable(f"expected {finding.expected}, found {finding.found}"))
            console.print(line)
            console.print(Text(f"          {finding.rule.meaning}", "dim"))
        for rule, count in level.findings.unlisted.items():
            console.print(Text(f"  and {count} more of {rule}"))
    mends = {f.rule.name for f in levels[0].findings.listed if f.rule.repair}
    if mends and refused is None and (dry_run or not fixes):
        console.print(f"--repair mends: {', '.join(sorted(mends))}")


def summary(level: Level) -> str:
    """Return how much was found in one image, in words."""
    from disks.vhd.check_rules import Severity

    words = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
    counts = {word: level.findings.number(severity) for severity, word in words.items()}
    parts = [f"{count} {word}{'s' * (count != 1)}" for word, count in counts.items() if count]
    return ", ".join(parts) or "clean"
