"""A bench with a clock that stands still until told otherwise, and a probe on an interrupt line."""

from __future__ import annotations

from devices.backplane import IrqLine
from vmm.clock import MachineClock, ManualTime


class TimedRig:
    """What the rigs of timed chips share; give `clock` to run on somebody else's."""

    def __init__(self, clock: MachineClock | None = None) -> None:
        self.time = ManualTime()
        self.clock = clock or MachineClock(self.time)
        self.edges: list[bool] = []
        self.line = IrqLine(self.edges.append)

    def advance(self, time_ns: int) -> None:
        """Let time pass in one go."""
        self.time.value_ns += time_ns
        self.clock.run_due()

    @property
    def irq(self) -> bool:
        """Whether the interrupt is asserted."""
        return bool(self.edges) and self.edges[-1]
