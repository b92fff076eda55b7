"""What the monitor tells about a running guest, as values: exits, instructions, counts.

An *exit* is a point where the guest's own execution ended and the monitor acted: a port access, an
exception, an intercept. Renderers in this package turn events into text, JSON lines and tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from devices.backplane import Clock, TraceEvent, Tracer

Mode = Literal["real", "prot16", "prot32", "vm86", "long", "compat"]


class Exit(TraceEvent, frozen=True, kw_only=True):
    """One exit. `reason` is a key of `vmm.trace.reasons`; `detail` is what the monitor did.

    `code` holds the bytes at CS:IP, possibly more than the instruction, or nothing where no
    instruction caused the exit (an interrupt, a slice). `host_ns` is what handling it cost.
    """

    time_ns: int
    cs: int
    ip: int
    cpl: int
    mode: Mode
    reason: str
    detail: str = ""
    code: bytes = b""
    host_ns: int = 0


class Instruction(TraceEvent, frozen=True, kw_only=True):
    """One executed instruction and the registers it changed, with their new values."""

    time_ns: int
    cs: int
    ip: int
    cpl: int
    mode: Mode
    code: bytes
    changed: dict[str, int] = {}


class Violation(TraceEvent, frozen=True, kw_only=True):
    """Popek and Goldberg's condition violated at a place for the first time: a technique's `Finding`."""

    time_ns: int
    linear: int
    instruction: str
    name: str
    text: str


class TimedEvent(TraceEvent, frozen=True):
    """What a device told, and when."""

    time_ns: int
    event: TraceEvent


class TimingTracer:
    """Gives another tracer each event with the virtual time."""

    def __init__(self, sink: Tracer, clock: Clock) -> None:
        self._emit, self._now_ns = sink.emit, clock.now_ns

    def emit(self, event: TraceEvent) -> None:
        """Take one event."""
        self._emit(TimedEvent(self._now_ns(), event))


class ExitCount(msgspec.Struct):
    """How often a reason occurred, what the host spent on it, and what the cost model says of a monitor.

    The bare machine's exits have no cycles: a processor does by itself what the engine leaves to us.
    """

    count: int = 0
    host_ns: int = 0
    cycles: int = 0


class ExitFilter(msgspec.Struct, frozen=True):
    """Which exits a trace shows: reasons by prefix, privilege levels, and at most how many."""

    reasons: tuple[str, ...] = ()
    cpl: frozenset[int] = frozenset()
    limit: int | None = None

    def wants(self, event: Exit) -> bool:
        """Whether `event` passes, its position in the trace apart."""
        if self.cpl and event.cpl not in self.cpl:
            return False
        return not self.reasons or event.reason.startswith(self.reasons)


class FilteredTracer:
    """Passes the exits a filter wants to another tracer, until its limit is reached."""

    def __init__(self, sink: Tracer, wanted: ExitFilter) -> None:
        self._emit: Callable[[TraceEvent], None] = sink.emit
        self._wanted = wanted
        self._left = wanted.limit if wanted.limit is not None else -1

    def emit(self, event: TraceEvent) -> None:
        """Pass one event; what is not an exit always passes."""
        if isinstance(event, Exit):
            if self._left == 0 or not self._wanted.wants(event):
                return
            self._left -= 1
        self._emit(event)
