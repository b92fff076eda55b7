"""`--trace` and its filters, read into values."""

from __future__ import annotations

from typing import Final

from vmm.cli.job import TraceKind, TraceOptions
from vmm.errors import UsageError

_KINDS: Final[dict[str, TraceKind]] = {"exits": "exits", "instructions": "instructions", "scsi": "scsi"}


def complete_trace() -> list[str]:
    """Return the beginnings of what `--trace` takes."""
    return [word for kind in _KINDS for word in (kind, f"{kind}=")]


def read_traces(
    asked: list[str], reasons: list[str], ranges: list[str], cpl: list[int], limit: int | None
) -> tuple[TraceOptions, ...]:
    """Return the traces asked for, all with the same filters; raise UsageError."""
    from vmm.trace.instructions import parse_range

    traces: list[TraceOptions] = []
    for text in asked:
        name, equals, path = text.partition("=")
        kind = _KINDS.get(name)
        if kind is None or bool(equals) != bool(path):
            raise UsageError(
                f"--trace {text!r}: expected exits, instructions or scsi, each with =FILE if wanted"
            )
        if any(trace.kind == kind for trace in traces):
            raise UsageError(f"--trace {kind} is given twice")
        if path and any(trace.path == path for trace in traces):
            raise UsageError(f"--trace: two traces cannot both go to {path}")
        traces.append(
            TraceOptions(
                kind=kind,
                path=path or None,
                reasons=tuple(reasons),
                cpl=frozenset(cpl),
                ranges=tuple(parse_range(text) for text in ranges),
                limit=limit,
            )
        )
    _check_filters({trace.kind for trace in traces}, reasons, ranges, cpl, limit)
    return tuple(traces)


def _check_filters(
    kinds: set[TraceKind], reasons: list[str], ranges: list[str], cpl: list[int], limit: int | None
) -> None:
    if not kinds and (reasons or ranges or cpl or limit):
        raise UsageError("--trace-reason, --trace-range, --trace-cpl and --trace-count need --trace")
    if cpl and kinds == {"scsi"}:
        raise UsageError("--trace-cpl is about the guest's code: it needs --trace exits or instructions")
    if reasons and "exits" not in kinds:
        raise UsageError("--trace-reason is about exits: it needs --trace exits")
    if ranges and "instructions" not in kinds:
        raise UsageError("--trace-range is about instructions: it needs --trace instructions")
    if reasons:
        from vmm.trace.reasons import CATALOGUE

        for reason in reasons:
            if not any(key.startswith(reason) for key in CATALOGUE):
                groups = ", ".join(sorted({key.partition(".")[0] for key in CATALOGUE}))
                raise UsageError(f"--trace-reason {reason!r}: no reason begins so; there are {groups}")
