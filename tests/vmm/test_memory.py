"""Physical memory: the map of a PC, its borders, ROM, windows and shadow segments."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.dma import BusMasterMemory
from vmm.errors import BusConflictError, ConfigError
from vmm.memory import BIOS_SEGMENT, MIB, SHADOW_SEGMENT, Memory

RAM = 2 * MIB
ROM_AT = 0xFFFF_E000
WINDOW_AT, WINDOW_BYTES = 0xA0000, 0x20000


class Window:
    """A device of bytes."""

    name = "window"

    def __init__(self) -> None:
        self.bytes = bytearray(WINDOW_BYTES)

    def read(self, offset: int, size: int) -> int:
        assert size in (1, 2, 4)
        return int.from_bytes(self.bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        assert size in (1, 2, 4)
        self.bytes[offset : offset + size] = value.to_bytes(size, "little")


class Rig:
    """Two MiB of RAM, a window, a ROM; and the reports to the engine."""

    def __init__(self) -> None:
        self.memory = Memory(RAM)
        self.window = Window()
        self.rom = bytes(range(256)) * 32
        self.memory.add_rom(ROM_AT, self.rom)
        self.memory.add_window(WINDOW_AT, WINDOW_BYTES, self.window)
        self.written: list[tuple[int, int]] = []
        self.protected: list[tuple[int, int, bool]] = []
        self.memory.on_write = lambda address, length: self.written.append((address, length))
        self.memory.on_protect = lambda address, length, writable: self.protected.append(
            (address, length, writable)
        )


@pytest.mark.parametrize("size", [0, 4096, MIB - 4096, MIB + 1, 0xE000_1000])
def test_sizes_that_no_machine_has_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="allowed are 1M to 3584M"):
        Memory(size)


def test_ram_keeps_what_is_written_and_reports_it() -> None:
    rig = Rig()
    rig.memory.write(0x1000, b"abc")
    rig.memory.write(MIB, bytearray(b"def"))
    rig.memory.write(0x2000, memoryview(b"ghi"))
    assert [rig.memory.read(at, 3) for at in (0x1000, MIB, 0x2000)] == [b"abc", b"def", b"ghi"]
    assert rig.written == [(0x1000, 3), (MIB, 3), (0x2000, 3)]


def test_ram_is_zero_at_first() -> None:
    assert Rig().memory.read(0, 0x9_0000) == bytes(0x9_0000)


@pytest.mark.parametrize("address", [RAM, 0x1000_0000, 0xFFFF_0000, (1 << 32) + 5])
def test_nothing_reads_ones_and_drops_writes(address: int) -> None:
    rig = Rig()
    rig.memory.write(address, b"abc")
    assert rig.memory.read(address, 3) == b"\xff\xff\xff"
    assert rig.written == []


def test_rom_is_read_only() -> None:
    rig = Rig()
    rig.memory.write(ROM_AT + 4, b"\xaa\xaa")
    assert rig.memory.read(ROM_AT, 0x2000) == rig.rom
    assert rig.memory.read(ROM_AT + 0x1FFF, 3) == rig.rom[-1:] + b"\xff\xff"


def test_a_window_takes_its_bytes() -> None:
    rig = Rig()
    rig.memory.write(WINDOW_AT + 10, b"xyz")
    assert rig.window.bytes[10:13] == b"xyz"
    assert rig.memory.read(WINDOW_AT + 9, 5) == b"\0xyz\0"


def test_an_access_over_every_border_at_once() -> None:
    """RAM, window, shadow and the BIOS segment in one write."""
    rig = Rig()
    first, length = WINDOW_AT - 16, MIB - WINDOW_AT + 32
    data = bytes(i % 251 for i in range(length))
    rig.memory.write(first, data)
    assert rig.memory.read(first, length) == data
    assert rig.window.bytes == data[16 : 16 + WINDOW_BYTES]
    assert all(not WINDOW_AT <= at < WINDOW_AT + WINDOW_BYTES for at, _ in rig.written)


def test_long_access_to_a_window_takes_little_of_the_hosts_memory() -> None:
    rig = Rig()
    tracemalloc.start()
    try:
        rig.memory.write(WINDOW_AT, rig.memory.read(WINDOW_AT, WINDOW_BYTES))
        assert tracemalloc.get_traced_memory()[1] < 4 * WINDOW_BYTES
    finally:
        tracemalloc.stop()


def test_windows_may_not_overlap() -> None:
    rig = Rig()
    with pytest.raises(BusConflictError, match="window"):
        rig.memory.add_window(WINDOW_AT + WINDOW_BYTES - 1, 2, Window())


def test_a_protected_shadow_segment_keeps_its_bytes() -> None:
    rig = Rig()
    rig.memory.write(0xC8000, b"old")
    rig.memory.protect_shadow(0xC8000, SHADOW_SEGMENT, writable=False)
    rig.memory.write(0xC8000, b"new")
    rig.memory.write(0xC7FFE, b"12345")
    assert rig.memory.read(0xC7FFE, 5) == b"12old"
    rig.memory.protect_shadow(0xC8000, SHADOW_SEGMENT, writable=True)
    rig.memory.write(0xC8000, b"new")
    assert rig.memory.read(0xC8000, 3) == b"new"
    assert rig.protected == [(0xC8000, SHADOW_SEGMENT, False), (0xC8000, SHADOW_SEGMENT, True)]


def test_the_bios_segment_is_protected_as_one() -> None:
    rig = Rig()
    rig.memory.protect_shadow(BIOS_SEGMENT, 0x10000, writable=False)
    rig.memory.write(0xFFFFF, b"\x01\x02")
    assert rig.memory.read(0xFFFFF, 2) == b"\x00\x02"


@pytest.mark.parametrize(("address", "length", "ram"), [
    (0, 1, True), (0x9_FFFF, 1, True), (0x9_FFFF, 2, False), (WINDOW_AT, 1, False), (0xC0000, 1, False),
    (MIB - 1, 2, False), (MIB, RAM - MIB, True), (RAM - 1, 2, False), (ROM_AT, 4, False),
])  # fmt: skip
def test_is_ram_only_where_a_write_always_counts(address: int, length: int, ram: bool) -> None:
    assert Rig().memory.is_ram(address, length) is ram


def test_blocks_cover_ram_and_rom_without_overlap() -> None:
    """Unicorn maps them one by one; shadows apart, because protecting a part would split a block."""
    blocks = sorted(Rig().memory.blocks())
    assert all(a.address + a.length <= b.address for a, b in pairwise(blocks))
    assert sum(block.length for block in blocks if block.writable) == RAM - WINDOW_BYTES
    assert [(block.address, block.writable) for block in blocks][-1] == (ROM_AT, False)
    assert {block.length for block in blocks if 0xC0000 <= block.address < 0xF0000} == {SHADOW_SEGMENT}
    assert all(block.address % 4096 == block.length % 4096 == 0 for block in blocks)


def test_one_mebibyte_has_nothing_above() -> None:
    memory = Memory(MIB)
    assert max(block.address + block.length for block in memory.blocks()) == MIB
    assert memory.read(MIB, 1) == b"\xff"


ADDRESSES = st.one_of(
    st.integers(0, 0x3000),
    *(
        st.integers(border - 9, border + 9)
        for border in (0xA0000, 0xC0000, 0xC4000, 0xF0000, MIB, RAM, ROM_AT, ROM_AT + 0x2000)
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(ADDRESSES, st.binary(max_size=24)), max_size=12))
def test_memory_is_a_map_of_bytes(writes: list[tuple[int, bytes]]) -> None:
    """Any writes, then reads: the same as a dictionary of the bytes that can change."""
    rig = Rig()
    rig.memory.protect_shadow(0xC4000, SHADOW_SEGMENT, writable=False)
    model: dict[int, int] = {}

    def fixed(at: int) -> int | None:
        if ROM_AT <= at < ROM_AT + 0x2000:
            return rig.rom[at - ROM_AT]
        if at >= RAM:
            return 0xFF
        return 0 if 0xC4000 <= at < 0xC8000 else None

    for address, data in writes:
        rig.memory.write(address, data)
        model |= {address + i: byte for i, byte in enumerate(data)}
    for address, data in writes:
        first = max(0, address - 4)
        expected = []
        for at in range(first, first + len(data) + 8):
            constant = fixed(at)
            expected.append(model.get(at, 0) if constant is None else constant)
        assert rig.memory.read(first, len(data) + 8) == bytes(expected)


def test_a_bus_master_reaches_ram_and_rom_but_no_window() -> None:
    rig = Rig()
    master = BusMasterMemory(rig.memory)

    master.write(WINDOW_AT - 16, b"\x01" * (WINDOW_BYTES + 32))

    assert rig.memory.read(WINDOW_AT - 16, 16) == b"\x01" * 16
    assert rig.memory.read(WINDOW_AT + WINDOW_BYTES, 16) == b"\x01" * 16
    assert rig.window.bytes == bytes(WINDOW_BYTES)
    rig.window.bytes[:] = b"\x02" * WINDOW_BYTES
    assert master.read(WINDOW_AT - 8, 16) == b"\x01" * 8 + b"\xff" * 8
    assert master.read(ROM_AT, 4) == rig.rom[:4]


def test_a_bus_master_sees_ram_itself_where_all_runs_are_ram() -> None:
    rig = Rig()
    master = BusMasterMemory(rig.memory)
    runs = [(0x1F_F000, 4096), (0x10_0000, 16), (0x9_0000, 0x1_0000)]

    views = master.views(runs)

    assert views is not None
    assert [len(view) for view in views] == [4096, 16, 0x1_0000]
    views[1][:] = bytes(range(16))
    assert rig.memory.read(0x10_0000, 16) == bytes(range(16))
    rig.written.clear()
    master.written(runs)
    assert rig.written == runs


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (0x9_FFFF, 2), (WINDOW_AT, 1), (0xF_FFFF, 1), (0xF_FFFF, 2), (ROM_AT, 4), (1 << 63, 4096),
        (0x10_0000, 1 << 40),
    ],
)  # fmt: skip
def test_there_is_no_view_of_what_is_not_ram(address: int, length: int) -> None:
    rig = Rig()
    assert BusMasterMemory(rig.memory).views([(0x10_0000, 16), (address, length)]) is None
    top = rig.memory.ram_bytes
    assert BusMasterMemory(rig.memory).views([(top - 1, 2)]) is None
    assert BusMasterMemory(rig.memory).views([(top - 1, 1)]) is not None
