"""Hostile arguments: no register and no ring content raises, hangs, or reaches what the guest could not."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vmm.techniques.para_rig import BUFFER, RING, SHARED, TABLE, UPCALL, FakeDisk, Rig
from vmm.cpu.paging import GuestFault
from vmm.techniques.para import abi

EDGES = st.sampled_from(
    [0, 1, 2, 3, 5, 7, 8, 0xFF8, 0xFFC, 0xFFF, 0x1000, SHARED, RING, BUFFER, TABLE, UPCALL, 0xF_FFFC,
     0x10_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_F000, 0xFFFF_FFFC, 0xFFFF_FFFF]
)  # fmt: skip
WORDS = st.one_of(EDGES, st.integers(0, 0xFFFF_FFFF))
NUMBERS = st.one_of(st.sampled_from(sorted(abi.NAMES)), st.integers(0, 0xFFFF_FFFF))
CALLS = st.lists(st.tuples(NUMBERS, WORDS, WORDS, WORDS), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(CALLS, st.integers(0, 1 << 32), st.booleans())
def test_any_calls_end_in_results(calls: list[tuple[int, ...]], seed: int, with_disk: bool) -> None:
    rig = Rig(FakeDisk() if with_disk else None).with_upcalls()
    rig.ram.write(BUFFER, Random(seed).randbytes(0x2000))
    for number, *arguments in calls:
        try:
            rig.call(number, *arguments)
        except GuestFault:
            assert number == abi.IRET
    assert len(rig.ram.ram) == 0x10_0000
    last = 0x10_0000  # beyond it nothing is, for the guest too
    assert all(address >= last or address + len(data) <= last for address, data in rig.ram.writes)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 40), st.booleans())
def test_any_ring_is_served_within_its_slots(seed: int, made: int, broken: bool) -> None:
    disk = FakeDisk()
    size = len(disk.data)
    rig = Rig(disk).with_upcalls()
    rig.call(abi.BLOCK_OP, abi.BLOCK_ATTACH, RING)
    disk.broken = broken
    rig.ram.write(RING, made.to_bytes(4, "little") + Random(seed).randbytes(4092))
    served = rig.call(abi.BLOCK_OP, abi.BLOCK_KICK)
    assert served == (made if made <= abi.RING_SLOTS else abi.E2BIG)
    assert len(disk.data) == size


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), EDGES, st.integers(0, 300), EDGES), max_size=32))
def test_plausible_requests_never_leave_the_disk_or_the_ram(requests: list[tuple[int, ...]]) -> None:
    disk = FakeDisk()
    size = len(disk.data)
    rig = Rig(disk).with_upcalls()
    rig.call(abi.BLOCK_OP, abi.BLOCK_ATTACH, RING)
    for number, (operation, sector, count, buffer) in enumerate(requests):
        slot = RING + abi.RING_SLOTS_AT + number * abi.RING_SLOT.size
        rig.ram.write(slot, abi.RING_SLOT.pack(operation, number, sector, 0, count, buffer, 0, 0))
    rig.ram.write(RING, len(requests).to_bytes(4, "little"))
    rig.ram.writes.clear()
    assert rig.call(abi.BLOCK_OP, abi.BLOCK_KICK) == len(requests)
    assert len(disk.data) == size
    assert all(address + len(data) <= 0x10_0000 for address, data in rig.ram.writes)
