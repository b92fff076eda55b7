"""The timer of the local APIC, one sentence of the manual per test ([SDM3] §10.5.4)."""

from __future__ import annotations

import pytest

from devices.apic import messages as m
from devices.apic import registers as r
from tests.devices.apic_rig import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_one_shot_interrupts_once_when_the_count_is_used_up(rig: Rig) -> None:
    rig.write(r.LVT_TIMER, 0x20)
    rig.write(r.DIVIDE, 0b1011)
    rig.write(r.INITIAL_COUNT, 1000)
    rig.wait(999)
    assert (rig.read(r.CURRENT_COUNT), rig.intr.level) == (1, False)
    rig.wait(1)
    assert rig.taken() == [0x20]
    rig.write(r.EOI, 0)
    rig.wait(10**9)
    assert (rig.read(r.CURRENT_COUNT), rig.taken()) == (0, [])


def test_periodic_starts_over_from_the_initial_count(rig: Rig) -> None:
    rig.write(r.LVT_TIMER, r.LVT_PERIODIC | 0x20)
    rig.write(r.INITIAL_COUNT, 50_000)  # divided by 2
    for _ in range(3):
        rig.wait(99_999)
        assert not rig.intr.level
        rig.wait(1)
        assert rig.taken() == [0x20]
        rig.write(r.EOI, 0)
        assert rig.read(r.CURRENT_COUNT) == 50_000


@pytest.mark.parametrize(
    ("bits", "divisor"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)]
)
def test_divide_configuration(rig: Rig, bits: int, divisor: int) -> None:
    """Figure 10-10."""
    rig.write(r.DIVIDE, bits | 0x4)  # bit 2 is none of it
    rig.write(r.INITIAL_COUNT, 100)
    rig.wait(divisor * 40)
    assert rig.read(r.CURRENT_COUNT) == 60
    assert rig.read(r.DIVIDE) == bits


def test_an_initial_count_of_0_stops_the_timer(rig: Rig) -> None:
    rig.write(r.LVT_TIMER, 0x20)
    rig.write(r.INITIAL_COUNT, 100)
    rig.write(r.INITIAL_COUNT, 0)
    rig.wait(10**6)
    assert rig.taken() == []


def test_a_masked_timer_counts_without_interrupting(rig: Rig) -> None:
    rig.write(r.LVT_TIMER, m.MASKED | 0x20)
    rig.write(r.INITIAL_COUNT, 100)
    rig.wait(100)
    assert rig.read(r.CURRENT_COUNT) == 50
    rig.wait(100)
    rig.write(r.LVT_TIMER, 0x20)
    assert rig.taken() == []


def test_the_count_goes_on_when_rate_or_mode_change(rig: Rig) -> None:
    rig.write(r.INITIAL_COUNT, 1000)
    rig.wait(200)
    rig.write(r.DIVIDE, 11)
    assert rig.read(r.CURRENT_COUNT) == 900
    rig.wait(100)
    rig.write(r.LVT_TIMER, r.LVT_PERIODIC | 0x20)
    assert rig.read(r.CURRENT_COUNT) == 800
    rig.wait(800)
    assert rig.taken() == [0x20]
    assert rig.read(r.CURRENT_COUNT) == 1000


def test_periods_the_host_slept_through_are_lost_and_the_grid_stays(rig: Rig) -> None:
    rig.write(r.LVT_TIMER, r.LVT_PERIODIC | 0x20)
    rig.write(r.INITIAL_COUNT, 50_000)
    rig.wait(1_030_000)
    assert rig.taken() == [0x20]
    rig.write(r.EOI, 0)
    rig.wait(69_999)
    assert rig.taken() == []
    rig.wait(1)
    assert rig.taken() == [0x20]


def test_a_period_of_two_nanoseconds_does_not_ask_that_often(rig: Rig) -> None:
    rig.write(r.LVT_TIMER, r.LVT_PERIODIC | 0x20)
    rig.write(r.INITIAL_COUNT, 1)
    taken = 0
    for _ in range(1000):
        rig.wait(100)
        taken += len(rig.taken())
        rig.write(r.EOI, 0)
    assert 1 <= taken <= 6
