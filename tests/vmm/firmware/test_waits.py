"""INT 15h 83h, INT 70h and the alarm of INT 1Ah: [PTL] "Interrupt 15h", "Interrupt 1Ah"."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vmm.firmware.rig import Rig
from vmm.config import MachineConfig
from vmm.cpu.processor import choose_engine
from vmm.machine import Machine

PERIODIC, ALARM = 0x40, 0x20
# mov cx, 5A5Ah; AH = 02h, COM1; exit with AH if CX is the same, else with AL
RECEIVE = bytes.fromhex("b95a5a b402 31d2 cd14 81f95a5a 7502 88e0 e6f4 ebfe")
CALLS_MAX = 20_000  # each takes the host about 100 us


def clock_interrupt(rig: Rig, cause: int) -> None:
    rig.rtc.registers[0x0C] = cause
    rig.call(0x70)


def test_event_wait_posts_its_flag_after_as_many_periods() -> None:
    rig = Rig()
    rig.call(0x15, ax=0x8300, bx=0x0010, cx=0, dx=3000, es=0x2000)
    assert (rig.carry, rig.rtc.registers[0x0B] & PERIODIC, rig.bda.byte(0xA0)) == (False, PERIODIC, 1)
    for _ in range(3):  # 976 microseconds each
        clock_interrupt(rig, PERIODIC)
        assert rig.memory.read(0x20010, 1) == b"\x00"
    clock_interrupt(rig, PERIODIC)
    assert rig.memory.read(0x20010, 1) == b"\x80"
    assert (rig.rtc.registers[0x0B] & PERIODIC, rig.bda.byte(0xA0)) == (0, 0)


def test_event_wait_unmasks_the_clock() -> None:
    rig = Rig()
    rig.pics[1].writes.clear()
    rig.pics[1].values[1] = 0
    rig.call(0x15, ax=0x8300, bx=0, cx=0, dx=3000, es=0x2000)
    assert rig.pics[1].writes[-1][0] == 0xA1
    assert not rig.pics[1].writes[-1][1] & 1


def test_only_one_wait_at_a_time() -> None:
    rig = Rig()
    rig.call(0x15, ax=0x8300, bx=0, cx=1, dx=0, es=0x2000)
    rig.call(0x15, ax=0x8300, bx=0, cx=1, dx=0, es=0x2000)
    assert rig.carry
    rig.call(0x15, ax=0x8600, cx=0, dx=1000)
    assert (rig.carry, rig.reg("ah")) == (True, 0x83)
    rig.call(0x15, ax=0x8301)
    assert (rig.carry, rig.rtc.registers[0x0B] & PERIODIC) == (False, 0)
    rig.call(0x15, ax=0x8600, cx=0, dx=1000)
    assert not rig.carry


def test_periodic_interrupt_of_somebody_else_is_only_acknowledged() -> None:
    rig = Rig()
    rig.rtc.registers[0x0B] = PERIODIC
    clock_interrupt(rig, PERIODIC)
    assert (rig.verdict, rig.rtc.registers[0x0B]) == (0, PERIODIC)


def test_alarm_is_set_refused_while_set_and_ended() -> None:
    rig = Rig()
    rig.call(0x1A, ax=0x0600, cx=0x0730, dx=0x1500)
    assert [rig.rtc.registers[index] for index in (5, 3, 1)] == [0x07, 0x30, 0x15]
    assert (rig.carry, rig.rtc.registers[0x0B] & ALARM) == (False, ALARM)
    rig.call(0x1A, ax=0x0600, cx=0x0800, dx=0)
    assert (rig.carry, rig.rtc.registers[5]) == (True, 0x07)
    rig.call(0x1A, ax=0x0700)
    assert (rig.carry, rig.rtc.registers[0x0B] & ALARM) == (False, 0)


def test_alarm_asks_the_stub_for_int_4ah() -> None:
    rig = Rig()
    rig.rtc.registers[0x0B] = ALARM
    clock_interrupt(rig, ALARM | PERIODIC)
    assert rig.verdict == 1


def test_hooks_of_a_multitasker_succeed() -> None:
    rig = Rig()
    for function in (0x80, 0x81, 0x82, 0x85, 0x90, 0x91):
        rig.call(0x15, ax=function << 8)
        assert (rig.carry, rig.reg("ah")) == (False, 0), hex(function)


def test_scan_code_hook_leaves_the_code() -> None:
    rig = Rig()
    rig.call(0x15, ax=0x4F1E)
    assert (rig.carry, rig.reg("ax")) == (True, 0x4F1E)


def test_configuration_table_describes_the_machine() -> None:
    rig = Rig()
    rig.call(0x15, ax=0xC000)
    assert (rig.carry, rig.reg("ah"), rig.es, rig.reg("bx")) == (False, 0, 0xF000, 0xE6F5)
    length, model, submodel, _, features = rig.memory.read(0xFE6F5, 6)[0:1] + rig.memory.read(0xFE6F5, 6)[2:]
    assert (length, model, submodel, features) == (8, 0xFC, 1, 0x74)


def test_ebda_segment_is_that_of_the_data_area() -> None:
    rig = Rig()
    rig.call(0x15, ax=0xC100)
    assert (rig.carry, rig.es) == (False, 0x9FC0)


def test_e881h_gives_the_sizes_in_32_bits() -> None:
    rig = Rig()
    rig.call(0x15, eax=0xFFFF_E881)
    assert [rig.reg(name) for name in ("eax", "ebx", "ecx", "edx")] == [3072, 0, 3072, 0]


def test_wait_under_the_virtual_clock_ends_within_few_calls_of_the_firmware(tmp_path: Path) -> None:
    if choose_engine("auto")[0] != "accelerated":
        pytest.skip("NOT RUN: the accelerated engine is not built")
    kernel = tmp_path / "receive"
    kernel.write_bytes(RECEIVE)
    config = MachineConfig(kernel=str(kernel), clock="virtual", engine="accelerated")
    with Machine(config) as machine:

        def calls() -> int:
            return machine.exits["firmware"].count if "firmware" in machine.exits else 0

        result = machine.run(lambda: calls() > CALLS_MAX, timeout_s=120)
        assert calls() <= CALLS_MAX
        assert (result.reason, result.exit_code) == ("exit", 0xE0)  # timed out; the transmitter is empty
        assert machine.now_ns() >= 1_000_000_000
