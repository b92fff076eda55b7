"""INT 11h, 12h, 15h, 1Ah, the interrupt lines, and what power-on leaves."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.firmware.rig import Rig, hard_disk, numbered_disk
from vmm.firmware.e820 import memory_map

SMAP = 0x534D4150
KIB_4M = 3 * 1024


def test_power_on_fills_vectors_and_data_area() -> None:
    rig = Rig([hard_disk(numbered_disk(64))])
    assert rig.memory.read(0x13 * 4 + 2, 2) == b"\x00\xf0"
    assert rig.bda.word(0x13) == 639
    assert rig.bda.word(0x0E) == 0x9FC0
    assert rig.bda.byte(0x75) == 1
    assert rig.line(0) == "Trapline BIOS, 4096 KiB of memory"


def test_power_on_programs_the_interrupt_controllers() -> None:
    rig = Rig()
    assert rig.pics[0].writes == [(0x20, 0x11), (0x21, 0x08), (0x21, 4), (0x21, 1), (0x21, 0xB8)]
    assert rig.pics[1].writes == [(0xA0, 0x11), (0xA1, 0x70), (0xA1, 2), (0xA1, 1), (0xA1, 0x3E)]


def test_lower_memory_ends_at_the_ebda() -> None:
    rig = Rig()
    rig.call(0x12, ax=0)
    assert rig.reg("ax") == 639


def test_e820_gives_every_region_once_and_then_ends() -> None:
    rig = Rig()
    found = []
    rig.call(0x15, eax=0xE820, ebx=0, ecx=20, edx=SMAP, di=0x500, es=0)
    while not rig.carry:
        assert rig.reg("eax") == SMAP
        found.append(struct.unpack("<QQI", rig.memory.read(0x500, 20)))
        if not rig.reg("ebx"):
            break
        rig.call(0x15, eax=0xE820, ecx=20, edx=SMAP)
    assert found == [tuple(region) for region in memory_map(4 << 20)]
    assert found[0] == (0, 0x9FC00, 1)
    assert found[-1] == (0x100000, 3 << 20, 1)


@pytest.mark.parametrize(("ebx", "ecx", "edx"), [(99, 20, SMAP), (0, 19, SMAP), (0, 20, 0)])
def test_e820_refuses_what_it_was_not_asked_rightly(ebx: int, ecx: int, edx: int) -> None:
    rig = Rig()
    rig.call(0x15, eax=0xE820, ebx=ebx, ecx=ecx, edx=edx)
    assert rig.carry
    assert rig.reg("ah") == 0x86


def test_88h_and_e801h_agree_on_memory_above_1_mib() -> None:
    rig = Rig()
    rig.call(0x15, ax=0x8800)
    assert rig.reg("ax") == KIB_4M
    rig.call(0x15, ax=0xE801)
    assert [rig.reg(name) for name in ("ax", "bx", "cx", "dx")] == [KIB_4M, 0, KIB_4M, 0]


def test_block_move_copies_between_descriptors() -> None:
    rig = Rig()
    rig.memory.write(0x150000, b"far away")
    table = bytearray(48)
    table[0x12:0x15], table[0x17] = (0x150000).to_bytes(3, "little"), 0
    table[0x1A:0x1D], table[0x1F] = (0x30000).to_bytes(3, "little"), 0
    rig.memory.write(0x800, table)
    rig.call(0x15, ax=0x8700, cx=4, si=0x800, es=0)
    assert not rig.carry
    assert rig.memory.read(0x30000, 8) == b"far away"


def test_a20_functions_drive_port_92h_and_never_its_reset_bit() -> None:
    rig = Rig()
    rig.control.values[0] = 0x03
    rig.call(0x15, ax=0x2400)
    assert rig.control.writes[-1] == (0x92, 0x00)
    rig.call(0x15, ax=0x2402)
    assert rig.reg("ax") == 0
    rig.call(0x15, ax=0x2401)
    assert rig.control.writes[-1] == (0x92, 0x02)


def test_unknown_function_is_86h_with_carry() -> None:
    rig = Rig()
    rig.call(0x15, ax=0x5300)
    assert (rig.reg("ah"), rig.carry) == (0x86, True)


def test_wait_returns_when_its_time_has_come() -> None:
    rig = Rig()
    rig.call(0x15, ax=0x8600, cx=0, dx=2000)
    assert rig.verdict == 2
    rig.time.value_ns = 1_999_000
    rig.call(0x15, verdict=2)
    assert rig.verdict == 2
    rig.time.value_ns = 2_000_000
    rig.call(0x15, verdict=2)
    assert (rig.verdict, rig.carry) == (0, False)


def test_long_waits_halt() -> None:
    rig = Rig()
    rig.call(0x15, ax=0x8600, cx=0x0010, dx=0)
    assert rig.verdict == 1


def test_ticks_count_and_pass_midnight_once() -> None:
    rig = Rig()
    rig.call(0x1A, ax=0x0100, cx=0x0018, dx=0x00AF)
    rig.call(0x08)
    rig.call(0x1A, ax=0)
    assert (rig.reg("al"), rig.reg("cx"), rig.reg("dx")) == (1, 0, 0)
    rig.call(0x1A, ax=0)
    assert rig.reg("al") == 0


def test_ticks_start_at_the_time_of_day() -> None:
    rig = Rig(power_on=False)
    rig.rtc.registers[0:5] = bytes((0x30, 0, 0x15, 0, 0x12))
    rig.call(0xF0)
    assert rig.bda.dword(0x6C) == (12 * 3600 + 15 * 60 + 30) * 0x1800B0 // 86400


def test_clock_is_read_in_bcd_and_written() -> None:
    rig = Rig()
    rig.call(0x1A, ax=0x0300, cx=0x2359, dx=0x5800)
    rig.call(0x1A, ax=0x0200, cx=0, dx=0)
    assert (rig.reg("cx"), rig.reg("dh"), rig.carry) == (0x2359, 0x58, False)
    rig.call(0x1A, ax=0x0500, cx=0x2026, dx=0x1122)
    rig.call(0x1A, ax=0x0400, cx=0, dx=0)
    assert (rig.reg("cx"), rig.reg("dx")) == (0x2026, 0x1122)


def test_clock_being_updated_is_asked_again() -> None:
    rig = Rig()
    rig.rtc.registers[0x0A] = 0x80
    rig.call(0x1A, ax=0x0200)
    assert rig.verdict == 2


@pytest.mark.parametrize(("vector", "chips"), [(0x0D, [0x20]), (0x75, [0x20, 0xA0])])
def test_interrupt_in_service_is_ended(vector: int, chips: list[int]) -> None:
    rig = Rig()
    rig.pics[0].in_service = rig.pics[1].in_service = 0x20
    rig.call(vector)
    assert rig.ends_of_interrupt() == chips


def test_spurious_interrupt_is_not_ended_where_it_was_not_in_service() -> None:
    rig = Rig()
    rig.call(0x0F)
    assert rig.ends_of_interrupt() == []
    rig.call(0x77)
    assert rig.ends_of_interrupt() == [0x20]
