"""The ring of the disk: requests, answers, and what a request may not do."""

from __future__ import annotations

import pytest

from tests.vmm.techniques.para_rig import BUFFER, RING, SHARED, FakeDisk, Rig
from vmm.techniques.para import abi


class RingRig(Rig):
    def __init__(self, disk: FakeDisk | None = None) -> None:
        self.disk = disk or FakeDisk()
        super().__init__(self.disk)
        self.with_upcalls()
        self.made = 0
        assert self.call(abi.BLOCK_OP, abi.BLOCK_ATTACH, RING) == 0
        self.call(abi.EVENT_CHANNEL_OP, abi.EVENT_BIND_VIRQ, abi.VIRQ_DISK)

    def ask(self, operation: int, sector: int = 0, count: int = 1, buffer: int = BUFFER) -> None:
        slot = RING + abi.RING_SLOTS_AT + self.made % abi.RING_SLOTS * abi.RING_SLOT.size
        low, high = sector & 0xFFFF_FFFF, sector >> 32
        self.ram.write(slot, abi.RING_SLOT.pack(operation, self.made, low, high, count, buffer, 1, 0))
        self.made += 1
        self.ram.write(RING, (self.made & 0xFFFF_FFFF).to_bytes(4, "little"))

    def kick(self) -> int:
        return self.call(abi.BLOCK_OP, abi.BLOCK_KICK)

    def status(self, number: int) -> int:
        slot = RING + abi.RING_SLOTS_AT + number % abi.RING_SLOTS * abi.RING_SLOT.size
        return int.from_bytes(self.ram.read(slot + abi.RING_STATUS_AT, 4), "little", signed=True)

    def do(self, *request: int) -> int:
        self.ask(*request)
        assert self.kick() == 1
        return self.status(self.made - 1)


def test_a_read_brings_the_sectors_and_raises_the_event() -> None:
    rig = RingRig()
    assert rig.do(abi.BLOCK_READ, 3, 2) == 0
    assert rig.ram.read(BUFFER, 1024) == rig.disk.read(3, 2)
    assert rig.ram.u32(RING + 4) == 1
    assert rig.pending() == 1 << abi.PIRQS + abi.VIRQ_DISK


def test_a_write_reaches_the_image_and_a_flush_makes_it_durable() -> None:
    rig = RingRig()
    rig.ram.write(BUFFER, b"snare" * 100 + bytes(12))
    assert rig.do(abi.BLOCK_WRITE, 63) == 0
    assert rig.disk.read(63, 1).startswith(b"snaresnare")
    assert rig.do(abi.BLOCK_FLUSH, 0, 0) == 0
    assert rig.disk.flushes == 1


def test_several_requests_go_with_one_kick_and_slots_are_used_again() -> None:
    rig = RingRig()
    for turn in range(3):
        for number in range(abi.RING_SLOTS):
            rig.ask(abi.BLOCK_READ, number, 1, BUFFER + 512 * number)
        assert rig.kick() == abi.RING_SLOTS
        assert rig.ram.u32(RING + 4) == (turn + 1) * abi.RING_SLOTS
    assert rig.ram.read(BUFFER, 512 * 32) == rig.disk.read(0, 32)


def test_the_counters_go_on_after_four_thousand_million_requests() -> None:
    rig = RingRig()
    rig.calls.ring._answered = rig.made = 0xFFFF_FFFF
    assert rig.do(abi.BLOCK_READ) == 0
    assert rig.ram.u32(RING + 4) == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ((abi.BLOCK_READ, 64), abi.EINVAL),
        ((abi.BLOCK_READ, 63, 2), abi.EINVAL),
        ((abi.BLOCK_READ, 1 << 63, 1), abi.EINVAL),
        ((abi.BLOCK_READ, 0, 0), abi.EINVAL),
        ((abi.BLOCK_READ, 0, 257), abi.EINVAL),
        ((abi.BLOCK_READ, 0, 0xFFFF_FFFF), abi.EINVAL),
        ((abi.BLOCK_READ, 0, 1, 0xF_FE01), abi.EFAULT),
        ((abi.BLOCK_WRITE, 0, 1, 0xFFFF_FFFF), abi.EFAULT),
        ((2, 0, 1), abi.ENOSYS),
        ((0xFFFF_FFFF, 0, 1), abi.ENOSYS),
    ],
)
def test_a_request_that_cannot_be_ends_in_a_status(request_: tuple[int, ...], status: int) -> None:
    rig = RingRig()
    before = bytes(rig.disk.data)
    assert rig.do(*request_) == status
    assert bytes(rig.disk.data) == before


def test_a_failure_of_the_host_is_eio() -> None:
    rig = RingRig()
    rig.disk.broken = True
    assert [rig.do(kind, 0, 1) for kind in (abi.BLOCK_READ, abi.BLOCK_WRITE, abi.BLOCK_FLUSH)] == [
        abi.EIO
    ] * 3


def test_a_disk_that_is_read_only_says_so_and_is_not_written() -> None:
    rig = RingRig(FakeDisk(read_only=True))
    assert rig.do(abi.BLOCK_WRITE) == abi.EPERM
    assert rig.call(abi.BLOCK_OP, abi.BLOCK_INFO, BUFFER) == 0
    sectors, flags, model = abi.BLOCK_INFO_LAYOUT.unpack(rig.ram.read(BUFFER, abi.BLOCK_INFO_LAYOUT.size))
    assert (sectors, flags) == (64, abi.BLOCK_READ_ONLY)
    assert model.rstrip(b"\0").isascii()


def test_more_requests_than_slots_are_refused() -> None:
    rig = RingRig()
    rig.ram.write(RING, (abi.RING_SLOTS + 1).to_bytes(4, "little"))
    assert rig.kick() == abi.E2BIG
    assert rig.ram.u32(RING + 4) == 0


def test_without_a_disk_there_is_no_ring() -> None:
    rig = Rig()
    for operation in (abi.BLOCK_ATTACH, abi.BLOCK_INFO, abi.BLOCK_KICK):
        assert rig.call(abi.BLOCK_OP, operation, RING) == abi.ENODEV


@pytest.mark.parametrize("page", [RING + 512, 0x10_0000, 0xFFFF_F000])
def test_the_ring_is_a_page_of_ram(page: int) -> None:
    assert Rig(FakeDisk()).call(abi.BLOCK_OP, abi.BLOCK_ATTACH, page) == abi.EINVAL


def test_a_ring_over_the_shared_page_stays_bounded() -> None:
    rig = RingRig()
    assert rig.call(abi.BLOCK_OP, abi.BLOCK_ATTACH, SHARED) == 0
    assert rig.kick() in (0, abi.E2BIG, *range(abi.RING_SLOTS + 1))
