"""One line of the benchmark's table: what we take, what a floor or a peer takes, and the goal.

Both numbers of a row come from the same run, measured in turns, so that a busy host slows both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

COLUMNS: Final = {"what": 46, "ours": 16, "against": 33, "theirs": 16, "ratio": 7, "goal": 7, "met": 3}
RIGHT: Final = frozenset({"ours", "theirs", "ratio", "goal"})


@dataclass(frozen=True)
class Goal:
    """A limit on the ratio, or, in the row's unit, on our own number or on what it adds to theirs."""

    of: Literal["ratio", "ours", "added"]
    most: float

    def text(self) -> str:
        """Return how the table shows it."""
        return {"ratio": "{:g}x", "ours": "<= {:g}", "added": "<= +{:g}"}[self.of].format(self.most)


class Missing(NamedTuple):
    """A benchmark, or a row of one, that could not run here."""

    name: str
    why: str


@dataclass(frozen=True)
class Row:
    """Smaller is better, in both numbers."""

    what: str
    ours: float
    against: str
    theirs: float
    unit: str
    goal: Goal | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Our number in units of theirs."""
        return self.ours / self.theirs if self.theirs else math.inf

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        reached = {"ratio": self.ratio, "ours": self.ours, "added": self.ours - self.theirs}[self.goal.of]
        return reached <= self.goal.most

    def facts(self) -> dict[str, Any]:
        """Return the row for JSON."""
        goal = None if self.goal is None else {"of": self.goal.of, "at_most": self.goal.most}
        return {
            "what": self.what, "ours": self.ours, "against": self.against, "theirs": self.theirs,
            "unit": self.unit, "ratio": self.ratio, "goal": goal, "met": self.met, "note": self.note,
        }  # fmt: skip

    def line(self) -> str:
        """Return the row for the table."""
        return _line(
            {
                "what": self.what,
                "ours": f"{number(self.ours)} {self.unit}",
                "against": self.against,
                "theirs": f"{number(self.theirs)} {self.unit}",
                "ratio": number(self.ratio),
                "goal": "" if self.goal is None else self.goal.text(),
                "met": {None: "", True: "yes", False: "NO"}[self.met],
            },
            self.note,
        )


def heading() -> str:
    """Return the table's first line."""
    return _line({name: name for name in COLUMNS}, "")


def number(value: float) -> str:
    """Return three significant digits, never in powers of ten."""
    if not math.isfinite(value) or value == 0:
        return str(value)
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, min(digits, 4))}f}"


def _line(cells: dict[str, str], note: str) -> str:
    texts = [
        cells[name].rjust(width) if name in RIGHT else cells[name].ljust(width)
        for name, width in COLUMNS.items()
    ]
    return "  ".join([*texts, note]).rstrip()
