"""`trapline disk merge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from vmm.cli.disk.options import AllowRoot, AsJson, DryRun, IgnoreParentId, human, parent_rules
from vmm.cli.disk.progress import progress
from vmm.errors import UsageError

if TYPE_CHECKING:
    from disks.vhd.mergejob import MergeInto, MergeNew, Outcome

MERGE_EXAMPLES: Final = (
    "Examples:\n\ntrapline disk merge --dry-run child.vhd\n\n"
    "trapline disk merge child.vhd\n\n"
    "trapline disk merge --delete --reparent-children child.vhd\n\n"
    "trapline disk merge child.vhd --into base.vhd\n\n"
    "trapline disk merge grandchild.vhd --from child.vhd --to both.vhd"
)

Child = Annotated[Path, typer.Argument(metavar="CHILD", help="A differencing image.")]
Into = Annotated[
    Path | None,
    typer.Option(
        "--into", metavar="ANCESTOR", help="Merge, with all between, into this image; default: the parent."
    ),
]
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="ANCESTOR", help="With --to: the last image of the chain to take."),
]
To = Annotated[
    Path | None,
    typer.Option(
        "--to",
        metavar="NEW",
        help="Leave the images alone; make a new one of CHILD and those behind it down to --from. "
        "It stands on what that one stands on; a base makes it dynamic.",
    ),
]
Search = Annotated[
    list[Path] | None,
    typer.Option(
        "--search",
        metavar="DIR",
        help="Look here too for images that stand on these; their own directories are always looked at.",
    ),
]
Delete = Annotated[
    bool, typer.Option("--delete", help="Remove the child, and images between, once they are merged.")
]
ReparentChildren = Annotated[
    bool, typer.Option("--reparent-children", help="Put the images that stand on CHILD onto the result.")
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Merge although other images stand on the parent and are spoilt; replace NEW."
    ),
]


def merge(
    child: Child,
    into: Into = None,
    first: From = None,
    new: To = None,
    search: Search = None,
    delete: Delete = False,
    reparent_children: ReparentChildren = False,
    force: Force = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    allow_root: AllowRoot = None,
    ignore_parent_id: IgnoreParentId = False,
) -> None:
    """Write what a child holds into its parent, or make a new image of a part of the chain.

    The child reads the same at every moment, and is kept unless --delete is given.

    A merge that was interrupted is finished by the same command.
    """
    from disks.vhd.mergejob import MergeInto, MergeNew, MergeOrder

    if (new is None) != (first is None):
        raise UsageError("--from and --to go together: the last image to take, and the new file")
    if new is not None and (into is not None or delete):
        raise UsageError("--to makes a new file and leaves the others alone: no --into, no --delete")
    rules = parent_rules(allow_root, ignore_parent_id)
    order = MergeOrder(child, rules, tuple(search or ()), force, reparent_children, delete, dry_run)
    job = MergeNew(order, first, new) if new and first else MergeInto(order, into)
    with job:
        _perform(job, dry_run)
    _report(job.outcome, dry_run, as_json)


def _perform(job: MergeInto | MergeNew, dry_run: bool) -> None:
    if dry_run:
        job.foretell()
        return
    outcome = job.outcome
    try:
        with progress(f"merging {outcome.child.name}", outcome.volume.held_bytes) as done:
            job.run(done)
    except KeyboardInterrupt:
        typer.echo(f"stopped: {job.when_stopped}", err=True)
        raise


def _report(outcome: Outcome, dry_run: bool, as_json: bool) -> None:
    """Print what was done, or would be."""
    facts: dict[str, object] = {
        "child": str(outcome.child),
        "into": str(outcome.target),
        "dry_run": dry_run,
        "merged_bytes": outcome.volume.held_bytes,
        "new_blocks": outcome.volume.new_blocks,
        "growth_bytes": outcome.volume.growth_bytes,
    }
    lists = {
        "spoilt": outcome.spoilt,
        "children": outcome.children,
        "reparented": outcome.reparented,
        "deleted": outcome.deleted,
    }
    facts |= {key: [str(path) for path in paths] for key, paths in lists.items()}
    facts["warnings"] = outcome.warnings
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            typer.echo(f"{key.replace('_', ' ') + ':':18}{human(key, line)}")
    if outcome.children and not outcome.reparented and not dry_run:
        typer.echo(f"Images stand on {outcome.child}: keep it, or merge again with --reparent-children")
