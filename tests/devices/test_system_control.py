"""Ports 61h, 92h and CF9h, one sentence of the data sheet per test."""

import pytest

from devices import system_control as s
from vmm.clock import MachineClock, ManualTime


class Rig:
    """The ports with probes on the timer's gate, A20 and the reset line."""

    def __init__(self, clock: MachineClock | None = None) -> None:
        self.time = ManualTime()
        self.gates: list[bool] = []
        self.a20: list[bool] = []
        self.resets: list[str] = []
        self.out2 = False
        self.control = s.SystemControl(
            clock or MachineClock(self.time),
            self.gates.append,
            lambda: self.out2,
            self.a20.append,
            self.resets.append,
        )
        self.port61, self.port92 = self.control.port61, self.control.port92
        self.reset_port = self.control.reset_port


@pytest.fixture
def rig() -> Rig:
    return Rig()


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(clock)
    exercises = [
        lambda: rig.port61.write(0, 1, 0x03),
        lambda: rig.port92.write(0, 1, 0x00),
        lambda: rig.reset_port.write(0, 1, 0x06),
    ]
    return rig.control, [(rig.port61, 1), (rig.port92, 1), (rig.reset_port, 1)], exercises


CONTRACT = [("system_control", make_for_contract)]


def test_port_61h_bit_0_drives_the_gate_of_counter_2(rig: Rig) -> None:
    rig.port61.write(0, 1, 0x01)
    rig.port61.write(0, 1, 0x00)
    assert rig.gates[-2:] == [True, False]


def test_port_61h_bit_1_lets_the_speaker_sound(rig: Rig) -> None:
    rig.port61.write(0, 1, 0x02)
    assert rig.control.speaker


def test_port_61h_bit_5_is_out_of_counter_2(rig: Rig) -> None:
    assert rig.port61.read(0, 1) == 0
    rig.out2 = True
    assert rig.port61.read(0, 1) == s.TIMER2_OUT


def test_port_61h_bit_4_toggles_with_every_refresh(rig: Rig) -> None:
    levels = []
    for refresh in range(4):
        rig.time.value_ns = refresh * s.REFRESH_NS
        levels.append(rig.port61.read(0, 1) & s.REFRESH)
    assert levels == [0, s.REFRESH, 0, s.REFRESH]


def test_only_the_low_nibble_of_port_61h_is_writable(rig: Rig) -> None:
    rig.port61.write(0, 1, 0xFF)
    assert rig.port61.read(0, 1) == 0x0F


def test_a20_is_open_after_reset(rig: Rig) -> None:
    assert rig.a20 == [True]
    assert rig.port92.read(0, 1) == s.A20


def test_port_92h_bit_1_drives_a20(rig: Rig) -> None:
    rig.port92.write(0, 1, 0x00)
    rig.port92.write(0, 1, s.A20)
    assert rig.a20[-2:] == [False, True]


def test_port_92h_shows_what_the_keyboard_controller_did(rig: Rig) -> None:
    rig.control.set_a20(False)
    assert rig.port92.read(0, 1) == 0
    assert rig.a20[-1] is False


def test_port_92h_bit_0_resets_when_it_rises(rig: Rig) -> None:
    rig.port92.write(0, 1, s.FAST_RESET)
    rig.port92.write(0, 1, s.FAST_RESET)
    assert rig.resets == ["port 92h"]


@pytest.mark.parametrize("kind", [0, s.HARD_RESET])
def test_port_cf9h_bit_2_resets_when_it_rises(rig: Rig, kind: int) -> None:
    rig.reset_port.write(0, 1, kind)
    assert rig.resets == []
    rig.reset_port.write(0, 1, kind | s.RESET_CPU)
    assert rig.resets == ["port CF9h"]


def test_load_drives_gate_and_a20(rig: Rig) -> None:
    rig.port61.write(0, 1, 0x01)
    rig.port92.write(0, 1, 0x00)
    twin = Rig()
    twin.control.load(rig.control.save())
    assert twin.gates[-1] is True
    assert twin.a20[-1] is False
