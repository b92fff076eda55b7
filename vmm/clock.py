"""Virtual time: a queue of deadlines over a source of nanoseconds.

Two sources exist: the host's monotonic clock (free-running) and executed guest code
(`--clock virtual`, where the same run gives the same trace). Devices see only `now_ns` and `at`.
This is the only module of the machine that may read the host's clock.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final

NEVER_NS: Final = 1 << 62


host_ns = time.monotonic_ns  # for measuring what the host spends, never for the guest's time


def wall_clock_s() -> int:
    """Return the host's date and time in seconds since 1970, for a clock chip's first value."""
    return int(time.time())


class HostTime:
    """A source: nanoseconds of the host's monotonic clock since it was made, without what it was stopped."""

    __slots__ = ("_base_ns", "_stopped_ns")

    def __init__(self) -> None:
        self._base_ns = host_ns()
        self._stopped_ns: int | None = None

    def __call__(self) -> int:
        """Return the time."""
        return (host_ns() if self._stopped_ns is None else self._stopped_ns) - self._base_ns

    def stop(self) -> None:
        """Let the time stand still. Idempotent."""
        if self._stopped_ns is None:
            self._stopped_ns = host_ns()

    def go_on(self) -> None:
        """Let it run on from where it stands. Idempotent."""
        if self._stopped_ns is not None:
            self._base_ns += host_ns() - self._stopped_ns
            self._stopped_ns = None


class ManualTime:
    """A source that only moves when told: for tests, and under virtual time."""

    def __init__(self) -> None:
        self.value_ns = 0

    def __call__(self) -> int:
        """Return the value set."""
        return self.value_ns


_FIRST_SWEEP: Final = 256  # deadlines queued before the cancelled ones are looked for


class DeadlineTimer:
    """One pending deadline of a `MachineClock`."""

    __slots__ = ("callback", "deadline_ns", "name")

    def __init__(self, deadline_ns: int, callback: Callable[[], None], name: str) -> None:
        self.deadline_ns = deadline_ns
        self.callback: Callable[[], None] | None = callback
        self.name = name

    def cancel(self) -> None:
        """Forget the deadline."""
        self.callback = None


class MachineClock:
    """Deadlines in order of time; those of equal time run in the order they were set.

    `source` yields nanoseconds. `on_earlier(deadline_ns)` is called when a deadline is set that
    comes before all others, so that a running engine can be told to stop sooner.
    """

    def __init__(self, source: Callable[[], int]) -> None:
        self.now_ns = source
        self.on_earlier: Callable[[int], None] | None = None
        self._queue: list[tuple[int, int, DeadlineTimer]] = []
        self._sweep_at = _FIRST_SWEEP
        self._order = itertools.count()

    def at(self, deadline_ns: int, callback: Callable[[], None], name: str) -> DeadlineTimer:
        """Call `callback` once virtual time reaches `deadline_ns`."""
        timer = DeadlineTimer(deadline_ns, callback, name)
        earlier = deadline_ns < self.next_deadline_ns()
        heapq.heappush(self._queue, (deadline_ns, next(self._order), timer))
        if len(self._queue) >= self._sweep_at:
            self._sweep()
        if earlier and self.on_earlier is not None:
            self.on_earlier(deadline_ns)
        return timer

    def _sweep(self) -> None:
        """Drop what was cancelled: a guest may set and cancel far deadlines for ever."""
        self._queue[:] = [entry for entry in self._queue if entry[2].callback is not None]
        heapq.heapify(self._queue)
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._queue))

    def next_deadline_ns(self) -> int:
        """Return the nearest deadline, or NEVER_NS."""
        queue = self._queue
        while queue and queue[0][2].callback is None:
            heapq.heappop(queue)
        return queue[0][0] if queue else NEVER_NS

    def run_due(self) -> int:
        """Run every callback whose time has come; return how many ran."""
        ran = 0
        queue = self._queue
        while queue and queue[0][0] <= self.now_ns():
            timer = heapq.heappop(queue)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
                ran += 1
        return ran
