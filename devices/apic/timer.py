"""The local APIC's timer: a counter that is computed, never ticked.

The count is a function of the present time and of the count at the last change of the registers.
Its clock has the rate that CPUID leaf 15h names for it, here 1 GHz, so that a tick is a nanosecond
of virtual time. A periodic timer whose host is late by whole periods loses those, as the 8254 does: the
next expiry is the first of its grid that lies ahead. Periods shorter than MIN_PERIOD_NS give fewer
interrupts than periods.

Not modelled: the TSC-deadline mode, which CPUID does not offer.

Sources:
    [SDM3] Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3A, §10.5.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from devices.backplane import Clock, Timer

MIN_PERIOD_NS: Final = 20_000  # spares the host the interrupts a nanosecond that a guest could ask for
DIVIDE_BITS: Final = 0b1011  # of the divide configuration register, [SDM3] figure 10-10
DIVISORS: Final = {0: 2, 1: 4, 2: 8, 3: 16, 8: 32, 9: 64, 10: 128, 11: 1}
NONE: Final = -1


class TimerState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The timer. Times are absolute; NONE stands for "there is none"."""

    initial: int
    divide: int
    periodic: bool
    start_ns: int
    start_count: int
    expiry_ns: int


class ApicTimer:
    """Initial count, current count and divide configuration; `on_expiry` is the LVT entry's business.

    It is started while nobody listens, too: whoever masks the timer lets it count on.
    """

    def __init__(self, clock: Clock, on_expiry: Callable[[], None], name: str) -> None:
        self._clock, self._on_expiry, self._name = clock, on_expiry, name
        self._timer: Timer | None = None
        self.reset()

    def reset(self) -> None:
        """Stop, one-shot, divide by 2, [SDM3] §10.4.7.1."""
        self.initial = self.divide = 0
        self.periodic = False
        self._start_ns = self._start_count = 0
        self._arm(NONE)

    def save(self) -> TimerState:
        """Return the state."""
        return TimerState(
            initial=self.initial,
            divide=self.divide,
            periodic=self.periodic,
            start_ns=self._start_ns,
            start_count=self._start_count,
            expiry_ns=self._expiry_ns,
        )

    def load(self, state: TimerState) -> None:
        """Become `state`."""
        self.initial, self.divide, self.periodic = state.initial, state.divide, state.periodic
        self._start_ns, self._start_count = state.start_ns, state.start_count
        self._arm(state.expiry_ns)

    def read_count(self) -> int:
        """Return the current count."""
        passed = (self._clock.now_ns() - self._start_ns) // DIVISORS[self.divide]
        left = self._start_count - passed
        if left > 0:
            return left
        return self.initial - -left % self.initial if self.periodic and self.initial else 0

    def write_initial(self, value: int) -> None:
        """Start from `value`; 0 stops, [SDM3] §10.5.4."""
        self.initial = value
        self._restart(value)

    def write_divide(self, value: int) -> None:
        """Change the rate; the count goes on from where it is."""
        count = self.read_count()
        self.divide = value & DIVIDE_BITS
        self._restart(count)

    def set_periodic(self, periodic: bool) -> None:
        """Choose one-shot or periodic; the count goes on from where it is."""
        if periodic != self.periodic:
            count = self.read_count()
            self.periodic = periodic
            self._restart(count)

    def _restart(self, count: int) -> None:
        self._start_ns, self._start_count = self._clock.now_ns(), count
        self._arm(self._start_ns + count * DIVISORS[self.divide] if count else NONE)

    def _arm(self, expiry_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._expiry_ns = expiry_ns
        self._timer = None if expiry_ns == NONE else self._clock.at(expiry_ns, self._expire, self._name)

    def _expire(self) -> None:
        self._timer = None
        self._arm(self._following() if self.periodic and self.initial else NONE)
        self._on_expiry()

    def _following(self) -> int:
        """Return the first expiry of the grid that is not too near."""
        period = self.initial * DIVISORS[self.divide]
        earliest = max(self._clock.now_ns() + 1, self._expiry_ns + MIN_PERIOD_NS)
        return self._expiry_ns + -(-(earliest - self._expiry_ns) // period) * period
