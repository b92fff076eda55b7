"""What left a guest under a technique, by reason; and where the technique failed to hide itself."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from vmm.techniques.cost import cycles_of
from vmm.trace.events import ExitCount


@dataclass(slots=True)
class ExitRow:
    """One reason: how often, what the host spent, and the mechanisms of `cost.py` each exit goes through.

    Counted in at every exit, which is why it is no msgspec struct: those are slower to write to.
    """

    reason: str
    mechanisms: tuple[str, ...]
    cycles_each: int
    count: int = 0
    host_ns: int = 0


class Finding(msgspec.Struct, frozen=True):
    """A violation of Popek and Goldberg's condition, where it happened.

    `name` is Robin and Irvine's for the instruction, `what` says what the guest saw or failed to do.
    """

    linear: int
    instruction: str
    name: str
    what: str

    @property
    def text(self) -> str:
        """One line for a reader."""
        return f"{self.name} at {self.linear:08x}h {self.what}"


class ExitBook:
    """Rows by reason."""

    def __init__(self) -> None:
        self._rows: dict[str, ExitRow] = {}

    def row(self, reason: str, mechanisms: tuple[str, ...]) -> ExitRow:
        """Return the row of `reason`, to be counted in; made at the first call."""
        row = self._rows.get(reason)
        if row is None:
            row = self._rows[reason] = ExitRow(reason, mechanisms, cycles_of(mechanisms))
        return row

    def rows(self) -> dict[str, ExitRow]:
        """Return the rows that have been counted in."""
        return {reason: row for reason, row in self._rows.items() if row.count}

    def table(self) -> dict[str, ExitCount]:
        """Return counts, host time and modelled cycles by reason."""
        return {
            reason: ExitCount(row.count, row.host_ns, row.count * row.cycles_each)
            for reason, row in self.rows().items()
        }
