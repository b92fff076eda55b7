"""8237A pair with page registers, one data-sheet sentence per test."""

from __future__ import annotations

import pytest

from devices import dma8237 as d
from vmm.clock import MachineClock

SINGLE = 0x40


class Memory:
    """A mebibyte of guest memory."""

    def __init__(self) -> None:
        self.bytes = bytearray(1 << 20)

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.bytes[address : address + length])

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self.bytes[address : address + len(data)] = data


class Rig:
    """The pair as firmware leaves it: channel 4 cascades, all others masked."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.dma = d.Dma8237Pair(self.memory)
        self.dma.reset()
        self.word(d.MODE, 0xC0)
        self.word(d.SINGLE_MASK, 0)

    def byte(self, register: int, value: int) -> None:
        self.dma.byte_ports.write(register, 1, value)

    def word(self, register: int, value: int) -> None:
        self.dma.word_ports.write(2 * register, 1, value)

    def program(self, channel: int, mode: int, address: int, count: int, page: int = 0) -> d.DmaChannel:
        """Set up a channel for `count` transfers and open it."""
        write = self.byte if channel < 4 else self.word
        write(d.CLEAR_FLIP_FLOP, 0)
        index = channel & 3
        for register, value in ((2 * index, address), (2 * index + 1, count - 1)):
            write(register, value & 0xFF)
            write(register, value >> 8)
        self.dma.page_ports.write(d.PAGE_OFFSETS[channel], 1, page)
        write(d.MODE, mode | index)
        write(d.SINGLE_MASK, index)
        return self.dma.channel(channel)

    def status(self) -> int:
        return self.dma.byte_ports.read(d.COMMAND, 1)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_device_writes_memory_at_page_and_address(rig: Rig) -> None:
    channel = rig.program(2, SINGLE | d.TO_MEMORY, 0x1234, 4, page=0x05)

    assert channel.give(b"abcd") == (4, True)
    assert rig.memory.read(0x51234, 4) == b"abcd"


def test_a_device_reads_memory(rig: Rig) -> None:
    rig.memory.write(0x2000, b"wxyz")
    channel = rig.program(2, SINGLE | d.FROM_MEMORY, 0x2000, 4)

    assert channel.take(2) == (b"wx", False)
    assert channel.take(10) == (b"yz", True)


def test_the_count_holds_one_less_than_the_transfers(rig: Rig) -> None:
    channel = rig.program(2, SINGLE | d.TO_MEMORY, 0, 1)

    assert channel.give(b"ab") == (1, True)


def test_terminal_count_masks_the_channel_and_is_told_once(rig: Rig) -> None:
    channel = rig.program(2, SINGLE | d.TO_MEMORY, 0, 2)
    channel.give(b"ab")

    assert channel.give(b"c") == (0, False)
    assert rig.dma.byte_ports.read(d.ALL_MASK, 1) & 0x04
    assert rig.status() & 0x0F == 0x04
    assert rig.status() & 0x0F == 0


def test_autoinitialize_begins_anew(rig: Rig) -> None:
    channel = rig.program(2, SINGLE | d.TO_MEMORY | d.MODE_AUTOINIT, 0x100, 2)

    assert channel.give(b"ab") == (2, True)
    assert channel.give(b"cd") == (2, True)
    assert rig.memory.read(0x100, 4) == b"cd\0\0"


def test_addresses_may_fall(rig: Rig) -> None:
    channel = rig.program(2, SINGLE | d.TO_MEMORY | d.MODE_DECREMENT, 0x103, 4)
    channel.give(b"abcd")

    assert rig.memory.read(0x100, 4) == b"dcba"


def test_a_transfer_wraps_at_64_kib(rig: Rig) -> None:
    channel = rig.program(2, SINGLE | d.TO_MEMORY, 0xFFFE, 4, page=0x03)
    channel.give(b"abcd")

    assert rig.memory.read(0x3FFFE, 2) == b"ab"
    assert rig.memory.read(0x30000, 2) == b"cd"
    assert rig.memory.read(0x40000, 2) == b"\0\0"


def test_the_second_controller_moves_words_in_pages_of_128_kib(rig: Rig) -> None:
    channel = rig.program(5, SINGLE | d.TO_MEMORY, 0xFFFF, 2, page=0x03)

    assert channel.give(b"abcde") == (4, True)
    assert rig.memory.read(0x3FFFE, 2) == b"ab"
    assert rig.memory.read(0x20000, 2) == b"cd"


def test_a_verify_transfer_counts_and_touches_nothing(rig: Rig) -> None:
    channel = rig.program(2, SINGLE | d.VERIFY, 0x100, 4)

    assert channel.give(b"abcd") == (4, True)
    assert rig.memory.read(0x100, 4) == bytes(4)


@pytest.mark.parametrize("obstacle", ["mask", "disabled", "direction", "cascade"])
def test_a_request_that_is_not_acknowledged_moves_nothing(rig: Rig, obstacle: str) -> None:
    channel = rig.program(2, SINGLE | d.TO_MEMORY, 0, 4)
    if obstacle == "mask":
        rig.byte(d.SINGLE_MASK, 2 | d.SET_BIT)
    elif obstacle == "disabled":
        rig.byte(d.COMMAND, d.COMMAND_DISABLE)
    elif obstacle == "direction":
        rig.byte(d.MODE, SINGLE | d.FROM_MEMORY | 2)
    else:
        rig.word(d.SINGLE_MASK, d.SET_BIT)

    assert channel.give(b"abcd") == (0, False)


def test_address_and_count_are_read_low_byte_first(rig: Rig) -> None:
    rig.program(2, SINGLE | d.TO_MEMORY, 0x1234, 0x0568).give(b"ab")
    rig.byte(d.CLEAR_FLIP_FLOP, 0)

    assert [rig.dma.byte_ports.read(4, 1) for _ in range(2)] == [0x36, 0x12]
    assert [rig.dma.byte_ports.read(5, 1) for _ in range(2)] == [0x65, 0x05]


def test_master_clear_masks_all_channels(rig: Rig) -> None:
    channel = rig.program(2, SINGLE | d.TO_MEMORY, 0, 4)
    rig.byte(d.MASTER_CLEAR, 0)

    assert channel.give(b"a") == (0, False)
    rig.byte(d.CLEAR_MASK, 0)
    assert channel.give(b"a") == (1, False)


def test_a_software_request_shows_in_the_status(rig: Rig) -> None:
    rig.byte(d.REQUEST, 2 | d.SET_BIT)

    assert rig.status() >> 4 == 0x04


def test_spare_page_registers_keep_what_is_written(rig: Rig) -> None:
    rig.dma.page_ports.write(4, 1, 0x5A)

    assert rig.dma.page_ports.read(4, 1) == 0x5A


def make_for_contract(_clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig()
    banks = [(rig.dma.byte_ports, 16), (rig.dma.word_ports, 32), (rig.dma.page_ports, 15)]
    exercises = [
        lambda: rig.program(2, SINGLE | d.TO_MEMORY, 0x1000, 0x200, page=3),
        lambda: rig.dma.channel(2).give(bytes(100)),
        lambda: rig.byte(0, 0x12),  # the flip-flop half way
        lambda: rig.dma.channel(2).give(bytes(1000)),
        lambda: rig.byte(d.REQUEST, 5),
    ]
    return rig.dma, banks, exercises


CONTRACT = [("dma", make_for_contract)]
