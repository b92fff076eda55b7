"""MC146818 with CMOS RAM, one data-sheet sentence per test."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices import rtc146818 as r
from devices.rtc_calendar import BINARY, HOURS_24, Alarm, decode_date, encode_date
from tests.devices.timed_rig import TimedRig
from vmm.clock import MachineClock

SECOND = 1_000_000_000
BASE = int(datetime.datetime(2026, 11, 22, 23, 59, 50, tzinfo=datetime.UTC).timestamp())
NAMES = {"s": 0, "m": 2, "h": 4, "weekday": 6, "day": 7, "month": 8, "year": 9, "century": 0x32}
RATE_1024_HZ = 0x26


class Rig(TimedRig):
    """The clock ten seconds before midnight, with a probe on its interrupt."""

    def __init__(self, clock: MachineClock | None = None, cmos: dict[int, int] | None = None) -> None:
        super().__init__(clock)
        self.rtc = r.Rtc146818(self.clock, self.line, BASE, cmos)

    def read(self, register: int) -> int:
        self.rtc.ports.write(0, 1, register)
        return self.rtc.ports.read(1, 1)

    def write(self, register: int, value: int) -> None:
        self.rtc.ports.write(0, 1, register)
        self.rtc.ports.write(1, 1, value)

    def date(self, *names: str) -> list[int]:
        return [self.read(NAMES[name]) for name in names]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(clock, {0x40: 0x5A})
    exercises = [
        lambda: rig.write(r.REGISTER_B, r.B_PIE | r.B_AIE | r.B_UIE),
        lambda: rig.write(r.REGISTER_B, r.B_SET | r.B_BINARY),
        lambda: rig.write(NAMES["year"], 99),
        lambda: rig.rtc.ports.write(0, 1, 0x8F),
    ]
    return rig.rtc, [(rig.rtc.ports, 2)], exercises


CONTRACT = [("rtc146818", make_for_contract)]


def test_the_date_is_bcd_and_24_hours(rig: Rig) -> None:
    assert rig.date("century", "year", "month", "day") == [0x20, 0x26, 0x11, 0x22]
    assert rig.date("h", "m", "s") == [0x23, 0x59, 0x50]
    assert rig.date("weekday") == [1]  # a Sunday


def test_the_date_carries_over_midnight(rig: Rig) -> None:
    rig.advance(10 * SECOND)
    assert rig.date("day", "h", "m", "s", "weekday") == [0x23, 0, 0, 0, 2]


def test_dm_chooses_binary(rig: Rig) -> None:
    rig.write(r.REGISTER_B, r.B_BINARY | r.B_24H)
    assert rig.date("year", "h", "s") == [26, 23, 50]


@pytest.mark.parametrize(
    ("wait_s", "hour"), [(0, 0x91), (10, 0x12), (10 + 3600, 0x01), (10 + 12 * 3600, 0x92)]
)
def test_twelve_hour_mode_has_a_pm_bit(rig: Rig, wait_s: int, hour: int) -> None:
    rig.write(r.REGISTER_B, 0)
    rig.advance(wait_s * SECOND)
    assert rig.date("h") == [hour]


def test_set_halts_the_date_and_takes_a_new_one(rig: Rig) -> None:
    rig.write(r.REGISTER_B, r.B_SET | r.B_24H)
    for name, value in zip(NAMES, (0x30, 0x15, 0x08, 0x07, 0x29, 0x02, 0x96, 0x19), strict=True):
        rig.write(NAMES[name], value)
    rig.advance(60 * SECOND)
    assert rig.date("s") == [0x30]
    rig.write(r.REGISTER_B, r.B_24H)
    rig.advance(30 * SECOND)
    assert rig.date("century", "year", "month", "day", "h", "m", "s") == [0x19, 0x96, 2, 0x29, 8, 0x16, 0]


def test_a_date_register_can_be_written_while_the_clock_runs(rig: Rig) -> None:
    rig.write(NAMES["m"], 0x10)
    rig.advance(SECOND)
    assert rig.date("h", "m", "s") == [0x23, 0x10, 0x51]


def test_uip_warns_before_the_update(rig: Rig) -> None:
    rig.advance(SECOND - r.UIP_NS - 1)
    assert not rig.read(r.REGISTER_A) & r.A_UIP
    rig.advance(1)
    assert rig.read(r.REGISTER_A) & r.A_UIP
    rig.advance(r.UIP_NS)
    assert not rig.read(r.REGISTER_A) & r.A_UIP


def test_uip_stays_low_while_set(rig: Rig) -> None:
    rig.advance(SECOND - 1)
    rig.write(r.REGISTER_B, r.B_SET)
    assert not rig.read(r.REGISTER_A) & r.A_UIP


def test_update_interrupt_comes_every_second_until_c_is_read(rig: Rig) -> None:
    rig.write(r.REGISTER_B, r.B_24H | r.B_UIE)
    rig.read(r.REGISTER_C)
    rig.advance(SECOND)
    assert rig.irq
    rig.advance(5 * SECOND)
    assert rig.edges.count(True) == 1
    assert rig.read(r.REGISTER_C) & (r.C_IRQF | r.C_UF) == r.C_IRQF | r.C_UF
    assert not rig.irq
    rig.advance(SECOND)
    assert rig.irq


def test_flags_are_set_without_their_interrupts(rig: Rig) -> None:
    rig.advance(SECOND)
    assert rig.read(r.REGISTER_C) == r.C_UF | r.C_PF
    assert rig.read(r.REGISTER_C) == 0


@pytest.mark.parametrize(("rate", "per_second"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)])
def test_periodic_interrupt_rates(rig: Rig, rate: int, per_second: int) -> None:
    rig.write(r.REGISTER_A, r.A_DIVIDER_32KHZ | rate)
    rig.write(r.REGISTER_B, r.B_PIE)
    served = 0
    while (deadline := rig.clock.next_deadline_ns()) <= SECOND:
        rig.time.value_ns = deadline
        rig.clock.run_due()
        served += bool(rig.read(r.REGISTER_C) & r.C_PF)
    assert served == per_second


def test_alarm_interrupts_at_its_time(rig: Rig) -> None:
    for register, value in ((1, 0x05), (3, 0x00), (5, 0x00)):
        rig.write(register, value)
    rig.write(r.REGISTER_B, r.B_24H | r.B_AIE)
    rig.advance(15 * SECOND - 1)
    assert not rig.irq
    rig.advance(1)
    assert rig.read(r.REGISTER_C) & r.C_AF


def test_alarm_bytes_from_c0h_match_any_value(rig: Rig) -> None:
    for register in (1, 3, 5):
        rig.write(register, 0xFF)
    rig.write(r.REGISTER_B, r.B_24H | r.B_AIE)
    rig.advance(SECOND)
    assert rig.irq


def test_after_divider_reset_the_first_update_takes_half_a_second(rig: Rig) -> None:
    rig.write(r.REGISTER_A, 0x70)
    rig.advance(100 * SECOND)
    assert rig.date("s") == [0x50]
    rig.write(r.REGISTER_A, RATE_1024_HZ)
    rig.advance(SECOND // 2 - 1)
    assert rig.date("s") == [0x50]
    rig.advance(1)
    assert rig.date("s") == [0x51]


def test_d_says_that_the_battery_is_good(rig: Rig) -> None:
    rig.write(r.REGISTER_D, 0)
    assert rig.read(r.REGISTER_D) == r.D_VRT


def test_ram_holds_what_was_given_and_written() -> None:
    rig = Rig(cmos={0x34: 0x80, 0x0A: 0xFF})
    assert rig.read(0x34) == 0x80
    assert rig.read(r.REGISTER_A) == RATE_1024_HZ
    rig.write(0x7F, 0xA5)
    assert rig.read(0x7F) == 0xA5


def test_index_bit_7_masks_nmi(rig: Rig) -> None:
    rig.rtc.ports.write(0, 1, 0x8F)
    assert rig.rtc.nmi_masked
    rig.rtc.ports.write(0, 1, 0x0F)
    assert not rig.rtc.nmi_masked


def test_a_word_write_sets_index_and_data_at_once(rig: Rig) -> None:
    rig.rtc.ports.write(0, 2, 0x5A50)
    assert rig.read(0x50) == 0x5A


def test_reset_disables_interrupts_and_keeps_date_and_ram(rig: Rig) -> None:
    rig.write(0x50, 0x77)
    rig.write(r.REGISTER_B, r.B_24H | r.B_UIE)
    rig.advance(2 * SECOND)
    rig.rtc.reset()
    assert not rig.irq
    assert rig.read(r.REGISTER_B) == r.B_24H
    assert rig.date("s") == [0x52]
    assert rig.read(0x50) == 0x77


@given(st.binary(min_size=128, max_size=128), st.integers(0, 255))
def test_any_registers_mean_a_date_that_reads_back(registers: bytes, mode: int) -> None:
    date = decode_date(bytearray(registers), mode)
    written = bytearray(128)
    encode_date(date, written, mode)
    assert decode_date(written, mode) == date


FIELD = st.one_of(st.integers(0, 59), st.integers(0, 255))


@settings(deadline=None)  # a busy host is no failure
@given(st.integers(0, 2**32), FIELD, FIELD, FIELD)
def test_an_alarm_is_the_next_matching_time_of_day(start: int, second: int, minute: int, hour: int) -> None:
    seconds, minutes, hours = (
        range(limit) if field >= 0xC0 else [field] if field < limit else []
        for field, limit in ((second, 60), (minute, 60), (hour, 24))
    )
    waits = [(h * 3600 + m * 60 + s - start - 1) % 86_400 for h in hours for m in minutes for s in seconds]
    found = Alarm.decode(second, minute, hour, BINARY | HOURS_24).after(start)
    assert found == (start + 1 + min(waits) if waits else None)
