"""What a guest printed of itself under several techniques, laid side by side with the bare machine's.

A guest that can be compared prints an array on its first serial port, a line an entry: `name[012] what it is
= 34`, as Snare does, or `ok 3 - what it is` as the boot program does. An entry that differs from bare is
traced to an instruction: to a violation the technique named while that entry was being worked out, else to
one whose instruction the entry is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from vmm.techniques.exits import Finding
from vmm.trace.events import ExitCount

NS_PER_US: Final = 1000
_ENTRY: Final = re.compile(r"\w+\[(\d+)\] (.+?) = (\S+)(?: <- .*)?")
_CHECK: Final = re.compile(r"(ok|not ok) (\d+) - (.+)")
MNEMONIC_LETTERS: Final = 3


class Line(msgspec.Struct, frozen=True):
    """A line the guest printed, and how many violations had been named when it was complete."""

    text: str
    findings: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run under one technique. `ended` says why it is over; `fault` why it is not as it should be."""

    technique: str
    ended: str
    fault: str = ""
    wall_s: float = 0.0
    lines: tuple[Line, ...] = ()
    findings: tuple[Finding, ...] = ()
    exits: dict[str, ExitCount] = {}


class Entry(msgspec.Struct, frozen=True):
    """One entry of the array; `first` and `last` bound the violations named while it was worked out."""

    index: int
    name: str
    value: str
    first: int = 0
    last: int = 0


class Difference(msgspec.Struct, frozen=True):
    """An entry that is not bare's. `got` is None where the run ended before it."""

    index: int
    name: str
    bare: str
    got: str | None
    instruction: str | None
    reason: str | None


class Column(msgspec.Struct, frozen=True):
    """One technique of the comparison, ready to be shown."""

    outcome: Outcome
    array: tuple[Entry, ...]
    differences: tuple[Difference, ...]

    @property
    def host_us(self) -> float:
        """What the host spent on exits."""
        return sum(count.host_ns for count in self.outcome.exits.values()) / NS_PER_US

    @property
    def cycles(self) -> int:
        """What the cost model says of them."""
        return sum(count.cycles for count in self.outcome.exits.values())

    @property
    def count(self) -> int:
        """How many exits there were."""
        return sum(count.count for count in self.outcome.exits.values())

    def facts(self) -> dict[str, Any]:
        """Return what `--json` says of it."""
        return {
            "technique": self.outcome.technique,
            "array": [{"index": e.index, "name": e.name, "value": e.value} for e in self.array],
            "differences": [msgspec.structs.asdict(difference) for difference in self.differences],
            "exits": {
                reason: {
                    "count": exits.count,
                    "host_us": round(exits.host_ns / NS_PER_US, 3),
                    "cycles": exits.cycles,
                }
                for reason, exits in self.outcome.exits.items()
            },
            "wall_s": round(self.outcome.wall_s, 6),
        }


def read_array(lines: Sequence[Line]) -> tuple[Entry, ...]:
    """Return the array among the lines of a guest."""
    found: dict[int, Entry] = {}
    before = 0
    for line in lines:
        if match := _ENTRY.fullmatch(line.text.strip()):
            index, name, value = int(match[1]), match[2], match[3]
        elif match := _CHECK.fullmatch(line.text.strip()):
            index, name, value = int(match[2]), match[3], match[1]
        else:
            continue  # and what was named meanwhile belongs to the next entry
        found[index] = Entry(index, name, value, before, line.findings)
        before = line.findings
    return tuple(found[index] for index in sorted(found))


def compare(outcomes: Sequence[Outcome]) -> tuple[Column, ...]:
    """Return a column an outcome, each against the one called bare, which may come anywhere."""
    arrays = [read_array(outcome.lines) for outcome in outcomes]
    bare: tuple[Entry, ...] = ()
    for outcome, array in zip(outcomes, arrays, strict=True):
        if outcome.technique == "bare":
            bare = array
    return tuple(
        Column(outcome, array, _differences(bare, array, outcome))
        for outcome, array in zip(outcomes, arrays, strict=True)
    )


def slowdown(column: Column, columns: Sequence[Column]) -> float | None:
    """Return the wall time in units of bare's; None without one, or for a run that did not end well."""
    for other in columns:
        if other.outcome.technique == "bare" and other.outcome.wall_s and not column.outcome.fault:
            return column.outcome.wall_s / other.outcome.wall_s
    return None


def _differences(bare: Sequence[Entry], array: Sequence[Entry], outcome: Outcome) -> tuple[Difference, ...]:
    mine: Mapping[int, Entry] = {entry.index: entry for entry in array}
    found = []
    for entry in bare:
        got = mine.get(entry.index)
        if got is None:
            why = f"not reached: {outcome.fault or outcome.ended}"
            found.append(Difference(entry.index, entry.name, entry.value, None, None, why))
        elif (got.name, got.value) != (entry.name, entry.value):
            cause, likely = _cause(got, outcome.findings)
            found.append(
                Difference(
                    entry.index,
                    entry.name,
                    entry.value,
                    got.value,
                    cause.instruction if cause else None,
                    (f"perhaps: {cause.text}" if likely else cause.text) if cause else None,
                )
            )
    return tuple(found)


def _cause(entry: Entry, findings: Sequence[Finding]) -> tuple[Finding | None, bool]:
    """Return the violation behind a difference, and whether that is no more than likely.

    Certain is one whose instruction the entry is about, of its own time before any other; then any
    of its time; then the last one before, since a site is named only the first time it runs.
    """
    words = {word for word in re.findall(r"[A-Z]+", entry.name) if len(word) >= MNEMONIC_LETTERS}
    meanwhile = findings[entry.first : entry.last]
    for candidates in (meanwhile, findings):
        for finding in candidates:
            mnemonic = finding.instruction.partition(" ")[0].upper()
            if any(mnemonic.startswith(word) or mnemonic.endswith(word) for word in words):
                return finding, False
    before = findings[: entry.last]
    return (meanwhile[0] if meanwhile else before[-1] if before else None), True
