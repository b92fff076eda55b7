"""The mouse: commands, the identities with a wheel, and movement packets."""

from __future__ import annotations

import pytest

from devices import mouse as m
from vmm.clock import MachineClock, ManualTime


class Rig:
    """A mouse whose wire is read to the end whenever a byte is ready, as long as `reading`."""

    def __init__(self) -> None:
        self.time = ManualTime()
        self.clock = MachineClock(self.time)
        self.mouse = m.Mouse(self.clock)
        self.heard = bytearray()
        self.reading = True
        self.mouse.connect(self.drain)

    def drain(self) -> None:
        while self.reading and (byte := self.mouse.next_byte()) is not None:
            self.heard.append(byte)

    def command(self, *data: int) -> bytes:
        self.heard.clear()
        for byte in data:
            self.mouse.command(byte)
        return bytes(self.heard)

    def run(self, time_ns: int) -> bytes:
        self.heard.clear()
        end = self.time.value_ns + time_ns
        while (deadline := self.clock.next_deadline_ns()) <= end:
            self.time.value_ns = max(deadline, self.time.value_ns)
            self.clock.run_due()
        self.time.value_ns = end
        return bytes(self.heard)

    def rates(self, *rates: int) -> None:
        for rate in rates:
            self.command(m.SET_RATE, rate)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ((m.RESET,), b"\xfa\xaa\x00"),
        ((m.READ_ID,), b"\xfa\x00"),
        ((m.STATUS,), b"\xfa\x00\x02\x64"),
        ((m.SET_RATE, 40, m.STATUS), b"\xfa\xfa\xfa\x00\x02\x28"),
        ((m.SET_RESOLUTION, 3, m.STATUS), b"\xfa\xfa\xfa\x00\x03\x64"),
        ((m.SET_SCALING_2, m.STATUS), b"\xfa\xfa\x10\x02\x64"),
        ((m.SET_SCALING_2, m.SET_SCALING_1, m.STATUS), b"\xfa\xfa\xfa\x00\x02\x64"),
        ((m.ENABLE, m.STATUS), b"\xfa\xfa\x20\x02\x64"),
        ((m.ENABLE, m.DISABLE, m.STATUS), b"\xfa\xfa\xfa\x00\x02\x64"),
        ((m.SET_REMOTE, m.STATUS), b"\xfa\xfa\x40\x02\x64"),
        ((m.SET_REMOTE, m.SET_STREAM, m.STATUS), b"\xfa\xfa\xfa\x00\x02\x64"),
        ((m.SET_REMOTE, m.READ_DATA), b"\xfa\xfa\x08\x00\x00"),
        ((m.SET_REMOTE, m.SET_DEFAULT, m.STATUS), b"\xfa\xfa\xfa\x00\x02\x64"),
        ((m.SET_WRAP, 0xF4, m.END_WRAP, m.READ_ID), b"\xfa\xf4\xfa\xfa\x00"),
        ((m.SET_WRAP, m.RESET), b"\xfa\xfa\xaa\x00"),
        ((m.STATUS, m.RESEND_LAST), b"\xfa\x00\x02\x64\xfa\x00\x02\x64"),
        ((0x12,), b"\xfe"),
        ((0x12, 0x12), b"\xfe\xfc"),
        ((0x12, m.READ_ID, 0x12), b"\xfe\xfa\x00\xfe"),
        ((m.SET_RATE, 99), b"\xfa\xfe"),
        ((m.SET_RESOLUTION, 4), b"\xfa\xfe"),
    ],
)
def test_commands_are_answered(rig: Rig, data: tuple[int, ...], answer: bytes) -> None:
    assert rig.command(*data) == answer


def test_three_rates_in_a_row_turn_on_the_wheel(rig: Rig) -> None:
    rig.rates(*m.TO_WHEEL)
    assert rig.command(m.READ_ID) == b"\xfa\x03"


def test_a_wheel_mouse_becomes_one_with_five_buttons(rig: Rig) -> None:
    rig.rates(*m.TO_WHEEL, *m.TO_FIVE)
    assert rig.command(m.READ_ID) == b"\xfa\x04"
    assert rig.command(m.RESET, m.READ_ID) == b"\xfa\xaa\x00\xfa\x00"


def test_five_buttons_need_the_wheel_first(rig: Rig) -> None:
    rig.rates(*m.TO_FIVE)
    assert rig.command(m.READ_ID) == b"\xfa\x00"


def test_nothing_is_reported_until_enabled(rig: Rig) -> None:
    rig.mouse.move(3, 4)
    assert rig.run(m.NS_PER_S) == b""
    rig.command(m.ENABLE)
    assert rig.run(m.NS_PER_S) == b""  # enabling forgets what moved before


@pytest.mark.parametrize(
    ("moved", "packet"),
    [
        ((5, 3), b"\x08\x05\x03"),
        ((-5, 3), b"\x18\xfb\x03"),
        ((5, -3), b"\x28\x05\xfd"),
        ((-256, 255), b"\x18\x00\xff"),
    ],
)
def test_a_movement_is_one_packet(rig: Rig, moved: tuple[int, int], packet: bytes) -> None:
    rig.command(m.ENABLE)
    rig.mouse.move(*moved)
    assert rig.run(m.NS_PER_S) == packet


def test_a_long_movement_goes_on_in_the_next_packet(rig: Rig) -> None:
    rig.command(m.ENABLE)
    rig.mouse.move(300, 0)
    assert rig.run(m.NS_PER_S) == b"\x08\xff\x00\x08\x2d\x00"


def test_buttons_are_reported_down_and_up(rig: Rig) -> None:
    rig.command(m.ENABLE)
    rig.mouse.set_buttons(m.LEFT | m.MIDDLE)
    assert rig.run(m.NS_PER_S) == b"\x0d\x00\x00"
    rig.mouse.set_buttons(m.RIGHT)
    assert rig.run(m.NS_PER_S) == b"\x0a\x00\x00"
    rig.mouse.set_buttons(0)
    assert rig.run(m.NS_PER_S) == b"\x08\x00\x00"


def test_the_status_shows_the_buttons(rig: Rig) -> None:
    for down, bits in ((m.LEFT, 4), (m.MIDDLE, 2), (m.RIGHT, 1)):
        rig.mouse.set_buttons(down)
        assert rig.command(m.STATUS)[1] == bits


def test_the_wheel_is_a_fourth_byte(rig: Rig) -> None:
    rig.rates(*m.TO_WHEEL)
    rig.command(m.ENABLE)
    rig.mouse.move(0, 0, 2)
    assert rig.run(m.NS_PER_S) == b"\x08\x00\x00\x02"
    rig.mouse.move(1, 0, -1)
    assert rig.run(m.NS_PER_S) == b"\x08\x01\x00\xff"


def test_the_fifth_button_shares_the_wheels_byte(rig: Rig) -> None:
    rig.rates(*m.TO_WHEEL, *m.TO_FIVE)
    rig.command(m.ENABLE)
    rig.mouse.set_buttons(m.FIFTH)
    rig.mouse.move(0, 0, -1)
    assert rig.run(m.NS_PER_S) == b"\x08\x00\x00\x2f"


def test_reports_keep_to_the_sample_rate(rig: Rig) -> None:
    rig.rates(10)
    rig.command(m.ENABLE)
    rig.mouse.move(1, 0)
    assert rig.run(1) == b"\x08\x01\x00"
    rig.mouse.move(1, 0)
    rig.mouse.move(1, 0)
    assert rig.run(99_000_000) == b""
    assert rig.run(1_000_000) == b"\x08\x02\x00"


def test_movement_adds_up_while_nobody_reads(rig: Rig) -> None:
    rig.command(m.ENABLE)
    rig.reading = False
    for _ in range(10):
        rig.mouse.move(1, 1)
        rig.run(20_000_000)
    rig.reading = True
    rig.heard.clear()
    rig.drain()
    assert rig.heard == b"\x08\x01\x01"
    assert rig.run(20_000_000) == b"\x08\x09\x09"


def test_in_remote_mode_the_guest_asks(rig: Rig) -> None:
    rig.command(m.SET_REMOTE, m.ENABLE)
    rig.mouse.move(7, 0)
    assert rig.run(m.NS_PER_S) == b""
    assert rig.command(m.READ_DATA) == b"\xfa\x08\x07\x00"


def test_movement_nobody_reads_is_bounded(rig: Rig) -> None:
    for _ in range(100):
        rig.mouse.move(1 << 20, -(1 << 20), 1 << 20)
    assert rig.mouse.save().moved == (m.MOST_COUNTS, -m.MOST_COUNTS, m.MOST_COUNTS)


class Wire:
    """What the controller would be to the mouse, for the contract: one port."""

    name = "wire"

    def __init__(self, mouse: m.Mouse) -> None:
        self.mouse = mouse

    def read(self, offset: int, size: int) -> int:
        byte = self.mouse.next_byte()
        return 0 if byte is None else byte

    def write(self, offset: int, size: int, value: int) -> None:
        self.mouse.command(value & 0xFF)
        self.mouse.move(value >> 8 & 0xFF, offset)


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    mouse = m.Mouse(clock)
    exercises = [
        lambda: mouse.command(m.ENABLE),
        lambda: mouse.move(400, -2),
        lambda: mouse.set_buttons(m.LEFT),
        lambda: mouse.command(m.SET_RATE),
    ]
    return mouse, [(Wire(mouse), 1)], exercises


CONTRACT = [("mouse", make_for_contract)]
