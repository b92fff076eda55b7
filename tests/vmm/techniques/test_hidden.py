"""The monitor's own pages: out of a 32-bit guest's reach, with address line 20 low, and zero when new."""

from __future__ import annotations

import pytest

from vmm.memory import MONITOR_BASE, Memory
from vmm.techniques.hidden import BYTES, HiddenMemory, OutOfPagesError


def hidden() -> HiddenMemory:
    machine = Memory(1 << 20)
    machine.add_monitor(BYTES)
    return HiddenMemory(machine)


def test_pages_lie_above_4_gib_where_the_a20_gate_does_not_matter() -> None:
    memory = hidden()
    pages = [memory.allocate() for _ in range(600)]
    assert len(set(pages)) == 600
    assert all(MONITOR_BASE <= page < 1 << 40 and not page & 0xFFF and not page & 1 << 20 for page in pages)


def test_a_page_given_back_comes_again_as_zeros() -> None:
    memory = hidden()
    page = memory.allocate()
    memory.words[page - MONITOR_BASE >> 3] = 5
    memory.free(page)
    assert memory.allocate() == page
    assert memory.words[page - MONITOR_BASE >> 3] == 0


def test_a_run_of_pages_is_in_one_piece() -> None:
    memory = hidden()
    for _ in range(200):
        memory.allocate()
    first = memory.allocate_run(100)
    assert first & 1 << 20 == 0
    assert first + 99 * 4096 & 1 << 20 == 0
    assert memory.allocate() == (
        first + 100 * 4096 if not first + 100 * 4096 & 1 << 20 else first + 356 * 4096
    )


def test_there_is_an_end_to_them() -> None:
    memory = hidden()
    for _ in range(BYTES // 4096 // 2):
        memory.allocate()
    with pytest.raises(OutOfPagesError):
        memory.allocate()


def test_the_guests_memory_does_not_reach_them() -> None:
    machine = Memory(1 << 20)
    machine.add_monitor(BYTES)
    memory = HiddenMemory(machine)
    page = memory.allocate()
    machine.write(page, b"guest")
    assert bytes(memory.bytes[page - MONITOR_BASE : page - MONITOR_BASE + 5]) == bytes(5)
    assert machine.read(page, 2) == b"\xff\xff"
