"""Runs the children of a comparison, one after the other, each with a time-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final

import msgspec

from vmm.cli.work_child import ask
from vmm.config import FULL_TECHNIQUES, MachineConfig
from vmm.errors import UsageError, VmmError
from vmm.techniques.compare import Outcome

CHILD: Final = "vmm.cli.compare_child"


def chosen(names: Sequence[str]) -> list[str]:
    """Return full names, bare first: all of them, or those whose beginning was given."""
    found = ["bare"]
    for name in names or FULL_TECHNIQUES:
        full = [full for full in FULL_TECHNIQUES if full == name or full.startswith(f"{name}-")]
        if not full:
            raise UsageError(f"--technique {name!r}: expected one of {', '.join(FULL_TECHNIQUES)}")
        found += [entry for entry in full if entry not in found]
    return found


def outcomes(
    names: Sequence[str],
    machine_for: Callable[[str, ExitStack], MachineConfig],
    until: str,
    timeout_s: float,
    tell: Callable[[str], None],
) -> Iterator[Outcome]:
    """Run the guest under each technique; `machine_for` makes its machine, `tell` says what is going on."""
    for number, name in enumerate(names, 1):
        tell(f"running under {name} ({number} of {len(names)})")
        with ExitStack() as cleanup:
            try:
                base = machine_for(name, cleanup)
                config = msgspec.structs.replace(base, **FULL_TECHNIQUES[name]).check()
            except VmmError as error:
                if name == names[0]:
                    raise  # what does not even run bare is the user's to put right
                yield Outcome(technique=name, ended="not started", fault=str(error))
                continue
            yield _run(name, config, until, timeout_s)


def _run(name: str, config: MachineConfig, until: str, timeout_s: float) -> Outcome:
    from vmm.cli.compare_child import CompareJob

    answer = ask(CHILD, CompareJob(config, until, timeout_s).pack(), timeout_s)
    if answer.fault:
        return Outcome(technique=name, ended=answer.fault, fault=answer.fault)
    return msgspec.json.decode(answer.data, type=Outcome)
