"""8254 counters, one data-sheet sentence per test. Times are in input clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import pit8254 as p
from devices.backplane import IrqLine
from vmm.clock import MachineClock, ManualTime

CONTROL = 3
BOTH = 0x30
LATCH_0 = 0x00


class Rig:
    """The timer with its IRQ edges on record and a clock that counts input ticks."""

    def __init__(self, clock: MachineClock | None = None, time: ManualTime | None = None) -> None:
        self.time = time or ManualTime()
        self.clock = clock or MachineClock(self.time)
        self.edges: list[bool] = []
        self.pit = p.Pit8254(self.clock, IrqLine(self.edges.append))
        self.ports = self.pit.ports
        self.edges.clear()

    def program(self, counter: int, mode: int, count: int, flags: int = 0) -> None:
        """Write control word and count; `flags` may be BCD. The count is loaded one tick later."""
        self.ports.write(CONTROL, 1, counter << 6 | BOTH | mode << 1 | flags)
        self.write_count(counter, count)

    def write_count(self, counter: int, count: int) -> None:
        self.ports.write(counter, 1, count & 0xFF)
        self.ports.write(counter, 1, count >> 8)

    def count(self, counter: int) -> int:
        return self.ports.read(counter, 1) | self.ports.read(counter, 1) << 8

    def status(self, counter: int) -> int:
        self.ports.write(CONTROL, 1, 0xE0 | 2 << counter)
        return self.ports.read(counter, 1)

    def go_to(self, tick: int) -> None:
        """Let time pass to `tick`, one deadline after the other as an unhurried machine does."""
        while (deadline := self.clock.next_deadline_ns()) <= p.time_of(tick):
            self.time.value_ns = max(deadline, self.time.value_ns)
            self.clock.run_due()
        self.time.value_ns = p.time_of(tick)

    def jump_to(self, tick: int) -> None:
        """Let time pass unserved to `tick`, as behind a slow host."""
        self.time.value_ns = p.time_of(tick)
        self.clock.run_due()

    @property
    def rises(self) -> int:
        return self.edges.count(True)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(clock)
    exercises = [
        lambda: rig.program(0, 2, 1193),
        lambda: rig.write_count(0, 500),  # waits for the end of the period
        lambda: rig.ports.write(0, 1, 7),  # half a count
        lambda: rig.program(2, 3, 99, p.BCD),
        lambda: rig.pit.set_gate(2, True),
        lambda: rig.ports.write(CONTROL, 1, 0xC0 | 0x0E),  # latch everything
    ]
    return rig.pit, [(rig.ports, 4)], exercises


CONTRACT = [("pit8254", make_for_contract)]


@given(st.integers(0, 10**15))
def test_time_of_is_the_first_nanosecond_of_a_tick(tick: int) -> None:
    assert p.ticks_at(p.time_of(tick)) == tick
    assert tick == 0 or p.ticks_at(p.time_of(tick) - 1) == tick - 1


def test_mode_0_out_goes_high_n_plus_1_clocks_after_the_count(rig: Rig) -> None:
    rig.program(0, 0, 100)
    assert rig.edges == [False]
    rig.go_to(100)
    assert not rig.pit.output(0)
    rig.go_to(101)
    assert rig.pit.output(0)
    assert rig.edges == [False, True]


def test_mode_0_goes_on_counting_past_zero(rig: Rig) -> None:
    rig.program(0, 0, 100)
    rig.go_to(103)
    assert rig.count(0) == 0xFFFE


def test_mode_0_first_byte_of_a_new_count_lowers_out(rig: Rig) -> None:
    rig.program(0, 0, 100)
    rig.go_to(200)
    rig.ports.write(0, 1, 50)
    assert not rig.pit.output(0)
    rig.ports.write(0, 1, 0)
    rig.go_to(251)
    assert rig.edges == [False, True, False, True]


def test_mode_1_starts_on_a_trigger_and_is_retriggerable(rig: Rig) -> None:
    rig.program(2, 1, 10)
    rig.go_to(50)
    assert rig.pit.output(2)
    rig.pit.set_gate(2, True)
    rig.go_to(52)
    assert not rig.pit.output(2)
    rig.pit.set_gate(2, False)
    rig.pit.set_gate(2, True)
    rig.go_to(62)
    assert not rig.pit.output(2)
    rig.go_to(63)
    assert rig.pit.output(2)


def test_mode_2_gives_one_rising_edge_a_period_without_drift(rig: Rig) -> None:
    rig.program(0, 2, 1193)
    rig.go_to(1 + 1193 * 1000 - 1)
    assert rig.rises == 999
    rig.go_to(1 + 1193 * 1000)
    assert rig.rises == 1000


def test_mode_2_out_is_low_for_the_last_clock(rig: Rig) -> None:
    rig.program(0, 2, 4)
    levels = []
    for tick in range(1, 9):
        rig.time.value_ns = p.time_of(tick)
        levels.append(rig.pit.output(0))
    assert levels == [True, True, True, False] * 2


def test_mode_2_takes_a_new_count_at_the_end_of_the_period(rig: Rig) -> None:
    rig.program(0, 2, 1000)
    rig.go_to(501)
    rig.write_count(0, 300)
    assert rig.status(0) & p.STATUS_NULL
    rig.go_to(1001)
    assert rig.rises == 1
    assert not rig.status(0) & p.STATUS_NULL
    rig.go_to(1301)
    assert rig.rises == 2


@pytest.mark.parametrize(("count", "high", "low"), [(6, 3, 3), (5, 3, 2)])
def test_mode_3_is_high_for_the_larger_half(rig: Rig, count: int, high: int, low: int) -> None:
    rig.program(0, 3, count)
    levels = []
    for tick in range(1, 1 + count):
        rig.time.value_ns = p.time_of(tick)
        levels.append(rig.pit.output(0))
    assert levels == [True] * high + [False] * low


@pytest.mark.parametrize(("count", "values"), [(6, [6, 4, 2, 6, 4, 2]), (5, [4, 2, 0, 4, 2])])
def test_mode_3_counts_by_two(rig: Rig, count: int, values: list[int]) -> None:
    rig.program(0, 3, count)
    seen = []
    for tick in range(1, 1 + count):
        rig.time.value_ns = p.time_of(tick)
        seen.append(rig.count(0))
    assert seen == values


def test_mode_3_takes_a_new_count_at_the_half_cycle(rig: Rig) -> None:
    rig.program(2, 3, 1000)
    rig.pit.set_gate(2, True)
    rig.go_to(1 + 100)
    rig.write_count(2, 100)
    rig.go_to(1 + 500 + 49)
    assert not rig.pit.output(2)
    rig.go_to(1 + 500 + 50)
    assert rig.pit.output(2)


@pytest.mark.parametrize("mode", [4, 5])
def test_strobe_modes_are_low_for_one_clock(rig: Rig, mode: int) -> None:
    rig.program(2, mode, 10)
    rig.pit.set_gate(2, True)  # enables mode 4, triggers mode 5
    levels = []
    for tick in range(1, 15):
        rig.time.value_ns = p.time_of(tick)
        levels.append(rig.pit.output(2))
    assert levels.count(False) == 1


def test_mode_4_interrupts_at_the_end_of_the_strobe(rig: Rig) -> None:
    rig.program(0, 4, 100)
    rig.go_to(101)
    assert rig.rises == 0
    rig.go_to(102)
    assert rig.rises == 1


def test_gate_low_suspends_mode_0(rig: Rig) -> None:
    rig.program(2, 0, 1000)
    rig.pit.set_gate(2, True)
    rig.go_to(100)
    rig.pit.set_gate(2, False)
    held = rig.count(2)
    rig.go_to(700)
    assert rig.count(2) == held
    rig.pit.set_gate(2, True)
    rig.go_to(710)
    assert rig.count(2) == held - 10


def test_gate_low_forces_out_high_in_mode_3_and_its_rise_starts_anew(rig: Rig) -> None:
    rig.program(2, 3, 100)
    rig.pit.set_gate(2, True)
    rig.go_to(60)
    rig.pit.set_gate(2, False)
    assert rig.pit.output(2)
    rig.pit.set_gate(2, True)
    rig.go_to(61)
    assert rig.count(2) == 100


def test_latched_count_stands_until_read(rig: Rig) -> None:
    rig.program(0, 2, 1000)
    rig.go_to(101)
    rig.ports.write(CONTROL, 1, LATCH_0)
    rig.go_to(301)
    rig.ports.write(CONTROL, 1, LATCH_0)  # ignored: the first is not read yet
    assert rig.count(0) == 900
    assert rig.count(0) == 700


def test_read_back_latches_status_before_count(rig: Rig) -> None:
    rig.program(0, 2, 1000)
    rig.go_to(101)
    rig.ports.write(CONTROL, 1, 0xC2)
    assert rig.ports.read(0, 1) == p.STATUS_OUT | 0x34
    assert rig.count(0) == 900


def test_null_count_is_set_until_the_count_is_loaded(rig: Rig) -> None:
    rig.program(0, 2, 1000)
    assert rig.status(0) & p.STATUS_NULL
    rig.go_to(1)
    assert not rig.status(0) & p.STATUS_NULL


def test_bcd_counts_in_four_decades(rig: Rig) -> None:
    rig.program(0, 0, 0x1000, p.BCD)
    rig.go_to(2)
    assert rig.count(0) == 0x0999


@pytest.mark.parametrize(("flags", "period"), [(0, 65536), (p.BCD, 10_000)])
def test_count_0_is_the_largest(rig: Rig, flags: int, period: int) -> None:
    rig.program(0, 2, 0, flags)
    rig.go_to(period)
    assert rig.rises == 0
    rig.go_to(period + 1)
    assert rig.rises == 1


@pytest.mark.parametrize(("access", "count"), [(0x10, 0x0034), (0x20, 0x3400)])
def test_single_byte_access(rig: Rig, access: int, count: int) -> None:
    rig.ports.write(CONTROL, 1, access | 0x04)
    rig.ports.write(0, 1, 0x34)
    rig.go_to(1)
    assert rig.ports.read(0, 1) == 0x34
    rig.go_to(1 + count)
    assert rig.rises == 1


def test_periods_missed_by_a_slow_host_make_one_edge_and_keep_the_grid(rig: Rig) -> None:
    rig.program(0, 2, 1000)
    rig.jump_to(1 + 7500)
    assert rig.rises == 1
    rig.go_to(1 + 8000)
    assert rig.rises == 2


def test_the_fastest_rate_leaves_the_host_some_air(rig: Rig) -> None:
    rig.program(0, 2, 2)
    rig.go_to(p.INPUT_HZ // 100)
    assert rig.rises <= 10_000_000 // p.MIN_EDGE_NS


def test_control_word_for_a_periodic_mode_stops_the_edges_until_a_count_comes(rig: Rig) -> None:
    rig.program(0, 2, 100)
    rig.ports.write(CONTROL, 1, BOTH | 0x04)
    rig.go_to(1000)
    assert rig.edges == []


class SlowHost(ManualTime):
    """Time that runs on by a millisecond each time it is looked at, as on a host that is busy elsewhere."""

    def __call__(self) -> int:
        self.value_ns += 1_000_000
        return self.value_ns


@pytest.mark.parametrize("mode", [0, 4])
def test_the_edge_of_a_short_count_is_not_lost_while_the_host_is_busy(mode: int) -> None:
    time = SlowHost()
    rig = Rig(MachineClock(time), time)
    rig.program(0, mode, 20)
    rig.clock.run_due()
    assert rig.rises == 1
