"""Virtual time: deadlines in order, cancelled, set from within, and announced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmm.clock import NEVER_NS, HostTime, MachineClock, ManualTime


class Rig:
    """A clock that moves when told, and what ran."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.clock = MachineClock(self.time)
        self.ran: list[str] = []

    def set(self, deadline_ns: int, name: str) -> None:
        self.clock.at(deadline_ns, lambda: self.ran.append(name), name)

    def run_at(self, now_ns: int) -> list[str]:
        self.time.value_ns = now_ns
        self.ran.clear()
        self.clock.run_due()
        return list(self.ran)


def test_callbacks_run_in_order_of_time_and_of_setting() -> None:
    rig = Rig()
    for deadline, name in ((30, "late"), (10, "a"), (20, "b"), (10, "c")):
        rig.set(deadline, name)
    assert rig.run_at(9) == []
    assert rig.run_at(20) == ["a", "c", "b"]
    assert rig.run_at(30) == ["late"]
    assert rig.run_at(1000) == []


def test_a_cancelled_deadline_neither_runs_nor_counts() -> None:
    rig = Rig()
    timer = rig.clock.at(10, lambda: rig.ran.append("cancelled"), "t")
    rig.set(20, "kept")
    timer.cancel()
    timer.cancel()
    assert rig.clock.next_deadline_ns() == 20
    assert rig.run_at(50) == ["kept"]


def test_without_deadlines_the_next_is_never() -> None:
    rig = Rig()
    assert rig.clock.next_deadline_ns() == NEVER_NS
    rig.clock.at(5, lambda: None, "t").cancel()
    assert rig.clock.next_deadline_ns() == NEVER_NS


def test_a_deadline_set_by_a_callback_runs_if_it_is_due() -> None:
    rig = Rig()
    rig.clock.at(10, lambda: rig.set(15, "second"), "first")
    assert rig.run_at(20) == ["second"]


def test_a_periodic_callback_stops_at_now() -> None:
    rig = Rig()

    def tick() -> None:
        rig.ran.append("tick")
        rig.clock.at(rig.clock.now_ns() + 10, tick, "tick")

    rig.clock.at(10, tick, "tick")
    assert rig.run_at(10) == ["tick"]
    assert rig.run_at(35) == ["tick"]
    assert rig.clock.next_deadline_ns() == 45


def test_only_an_earlier_deadline_is_announced() -> None:
    """So that a running processor can be told to come back sooner."""
    rig = Rig()
    heard: list[int] = []
    rig.clock.on_earlier = heard.append
    for deadline in (50, 60, 40, 40, 30):
        rig.set(deadline, "t")
    assert heard == [50, 40, 30]


def test_run_due_counts_what_ran() -> None:
    rig = Rig()
    rig.set(1, "a")
    rig.set(2, "b")
    rig.clock.at(2, lambda: None, "c").cancel()
    rig.time.value_ns = 5
    assert rig.clock.run_due() == 2


def test_the_host_s_time_starts_at_zero_and_never_goes_back() -> None:
    time = HostTime()
    values = [time() for _ in range(100)]
    assert 0 <= values[0] < 10**9
    assert values == sorted(values)


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=40))
def test_all_that_is_due_and_not_cancelled_runs_once(deadlines: list[tuple[int, bool]]) -> None:
    rig = Rig()
    timers = []
    for number, (deadline, cancelled) in enumerate(deadlines):
        timer = rig.clock.at(deadline, lambda number=number: rig.ran.append(str(number)), "t")  # type: ignore[misc]
        timers.append((timer, cancelled))
    for timer, cancelled in timers:
        if cancelled:
            timer.cancel()
    kept = [(deadline, number) for number, (deadline, cancelled) in enumerate(deadlines) if not cancelled]
    assert rig.run_at(50) == [str(number) for deadline, number in sorted(kept) if deadline <= 50]
    assert rig.run_at(100) == [str(number) for deadline, number in sorted(kept) if deadline > 50]


def test_deadlines_set_and_cancelled_for_ever_do_not_pile_up() -> None:
    rig = Rig()
    rig.set(1, "near")
    for _ in range(100_000):
        rig.clock.at(10**9, lambda: None, "far").cancel()
    assert len(rig.clock._queue) < 1_000
    assert rig.run_at(1) == ["near"]
