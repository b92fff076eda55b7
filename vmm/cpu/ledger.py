"""What the portable engine counts and reports of each exit, and the virtual time exits take."""

from __future__ import annotations

from typing import Final

from vmm.clock import host_ns
from vmm.cpu.engine import Count, Kind, TraceCall

CYCLE_NS: Final = {  # as in the accelerator
    Kind.IN: 1000,
    Kind.OUT: 1000,
    Kind.MMIO_READ: 100,
    Kind.MMIO_WRITE: 100,
    Kind.EXCEPTION: 100,
    Kind.SOFTWARE_INT: 100,
    Kind.INTERCEPT: 100,
}


class ExitLedger:
    """Counts by kind and detail, the trace, and virtual time, which an exit moves on."""

    def __init__(self) -> None:
        self.counts: dict[tuple[Kind, int], Count] = {}
        self.trace: TraceCall | None = None
        self.virtual_ns = 0

    def account(self, kind: Kind, a: int, b: int, c: int, began: int) -> None:
        """Book an exit that began at host time `began`, and report it."""
        took = host_ns() - began
        self.count(kind, took)
        if self.trace is not None:
            self.trace(kind, a, b, c, took)

    def count(self, kind: Kind, took: int, detail: int = 0) -> None:
        """Book an exit that was or will be reported elsewhere."""
        self.virtual_ns += CYCLE_NS.get(kind, 0)
        count = self.counts.get((kind, detail))
        if count is None:
            count = self.counts[kind, detail] = Count()
        count.count += 1
        count.host_ns += took
