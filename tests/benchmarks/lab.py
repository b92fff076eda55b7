"""Where a benchmark works and how hard, and measuring in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Lab:
    """A folder of one's own, how many `rounds` a median is of, and the `scale` of every loop count."""

    folder: Path
    rounds: int = 5
    scale: float = 1.0

    def loops(self, full: int) -> int:
        """Return how often a loop runs that runs `full` times at full scale."""
        return max(2, int(full * self.scale))

    def runs(self, full: int, least: int = 1) -> int:
        """Return how often a thing is run that takes seconds: `full` times at full scale, else `least`."""
        return full if self.scale >= 1 else least

    def turns(self, *sides: Callable[[], T], rounds: int | None = None) -> list[list[T]]:
        """Run all sides `rounds` times in turns; return what each gave."""
        results: list[list[T]] = [[] for _ in sides]
        for _ in range(rounds or self.rounds):
            for found, side in zip(results, sides, strict=True):
                found.append(side())
        return results

    def medians(self, *sides: Callable[[], float], rounds: int | None = None) -> list[float]:
        """Measure all sides in turns; return the median of each."""
        return [statistics.median(times) for times in self.turns(*sides, rounds=rounds)]

    def medians_each(
        self, *sides: Callable[[], Sequence[float]], rounds: int | None = None
    ) -> list[list[float]]:
        """Do as `medians`, for sides that measure several things at once."""
        return [
            [statistics.median(times) for times in zip(*lists, strict=True)]
            for lists in self.turns(*sides, rounds=rounds)
        ]
