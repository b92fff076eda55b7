"""Event channels: what the chips are told, and what the shared page says."""

from __future__ import annotations

import pytest

from tests.vmm.techniques.para_rig import SHARED, UPCALL, Rig
from vmm.techniques.para import abi

TIMER = abi.PIRQS + abi.VIRQ_TIMER
CONSOLE = abi.PIRQS + abi.VIRQ_CONSOLE


def rig() -> Rig:
    return Rig().with_upcalls()


def test_set_callbacks_masks_every_line_but_the_cascade() -> None:
    made = rig()
    assert made.ports.last(0x21) == 0xFB
    assert made.ports.last(0xA1) == 0xFF


def test_nothing_can_be_bound_before_set_callbacks() -> None:
    assert Rig().call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 1) == abi.EPERM


def test_a_bound_line_is_unmasked_and_its_port_has_its_number() -> None:
    made = rig()
    assert made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 14) == 14
    assert made.ports.last(0xA1) == 0xBF


def test_the_monitor_s_own_lines_cannot_be_bound() -> None:
    made = rig()
    for line in (0, 2, 4):
        assert made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, line) == abi.EBUSY


def test_a_level_sensitive_line_cannot_be_bound() -> None:
    made = rig()
    made.ports.level[1] = 1 << 11 - 8
    assert made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 11) == abi.EINVAL
    assert made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 16) == abi.EINVAL


def test_an_interrupt_sets_the_bit_of_its_port_and_is_ended_at_the_8259() -> None:
    made = rig()
    made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_VIRQ, abi.VIRQ_TIMER)
    made.events.interrupt(0x20)
    assert made.pending() == 1 << TIMER
    assert made.ports.log[-1] == (0x20, 0x60)


def test_an_interrupt_of_the_second_8259_is_ended_at_both() -> None:
    made = rig()
    made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 14)
    made.events.interrupt(0x2E)
    assert made.pending() == 1 << 14
    assert made.ports.log[-2:] == [(0xA0, 0x66), (0x20, 0x62)]


def test_the_time_of_the_event_is_in_the_page() -> None:
    made = rig()
    made.now = 0x1_2345_6789
    made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 1)
    made.events.interrupt(0x21)
    assert made.ram.u64(SHARED + abi.SHARED_TIME) == 0x1_2345_6789


def test_a_spurious_interrupt_is_no_event() -> None:
    made = rig()
    made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 7)
    made.events.interrupt(0x27)  # ISR reads 0
    assert made.pending() == 0
    made.ports.reads[0x20] = [0x80]
    made.events.interrupt(0x27)
    assert made.pending() == 1 << 7


def test_a_vector_that_the_guest_gave_the_8259_goes_nowhere() -> None:
    made = rig()
    made.events.interrupt(0x70)
    made.events.interrupt(0xFF)
    assert made.pending() == 0


def test_a_closed_port_has_no_events() -> None:
    made = rig()
    made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 1)
    assert made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_CLOSE, 1) == 0
    assert made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_CLOSE, 1) == abi.EINVAL
    made.events.interrupt(0x21)
    assert made.pending() == 0


def test_send_raises_a_port_that_is_bound() -> None:
    made = rig()
    assert made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_SEND, CONSOLE) == abi.EINVAL
    made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_VIRQ, abi.VIRQ_CONSOLE)
    assert made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_SEND, CONSOLE) == 0
    assert made.pending() == 1 << CONSOLE


def test_an_event_waits_while_its_own_mask_is_set_and_the_page_says_so() -> None:
    made = rig()
    made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 1)
    made.ram.write(SHARED + abi.EVENTS_MASK, (2).to_bytes(4, "little"))
    made.events.interrupt(0x21)
    assert not made.page.waiting()
    assert made.ram.read(SHARED + abi.UPCALL_PENDING, 1) == b"\0"
    made.ram.write(SHARED + abi.EVENTS_MASK, bytes(4))
    assert made.page.waiting()
    assert made.ram.read(SHARED + abi.UPCALL_PENDING, 1) == b"\1"


def test_bits_beyond_the_ports_are_no_events() -> None:
    made = rig()
    made.ram.write(SHARED + abi.EVENTS_PENDING, (0xFFF8_0000).to_bytes(4, "little"))
    assert not made.page.waiting()


@pytest.mark.parametrize(
    ("period_ns", "count"), [(10_000_000, 11931), (1_000_000, 1193), (54_925_400, 65535)]
)
def test_the_timer_is_the_8254_in_mode_2(period_ns: int, count: int) -> None:
    made = rig()
    assert made.call(abi.SET_TIMER, period_ns) == 0
    assert made.ports.log[-3:] == [(0x43, 0x34), (0x40, count & 0xFF), (0x40, count >> 8)]


@pytest.mark.parametrize("period_ns", [1, 100_000, 55_000_000, 0xFFFF_FFFF])
def test_a_period_that_the_timer_has_not_is_refused(period_ns: int) -> None:
    assert rig().call(abi.SET_TIMER, period_ns) == abi.EINVAL


def test_block_takes_the_mask_away_and_sleeps() -> None:
    made = rig()
    made.page.masked = True
    assert made.call(abi.SCHED_OP, abi.SCHED_BLOCK) == 0
    assert made.services.halts == 1
    assert not made.page.masked


def test_block_does_not_sleep_when_an_event_waits() -> None:
    made = rig()
    made.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_PIRQ, 1)
    made.events.interrupt(0x21)
    made.call(abi.SCHED_OP, abi.SCHED_BLOCK)
    assert made.services.halts == 0


@pytest.mark.parametrize("vector", [0, 31, 0x82, 256])
def test_the_upcall_has_a_vector_of_its_own(vector: int) -> None:
    assert Rig().call(abi.SET_CALLBACKS, vector, SHARED) == abi.EINVAL


@pytest.mark.parametrize("page", [SHARED + 4, 0x10_0000, 0xFFFF_F000])
def test_the_shared_page_is_a_page_of_ram(page: int) -> None:
    assert Rig().call(abi.SET_CALLBACKS, UPCALL, page) == abi.EINVAL
