"""Split virtqueues: a sentence of the specification a test, and rings that no driver should make."""

from __future__ import annotations

import struct

import msgspec
import pytest

from devices.virtio import registers as r
from devices.virtio.events import VirtioBroken
from devices.virtio.ring import RingError
from tests.devices.virtio_rig import BLOCK, BUFFERS_AT, INDIRECT, NEXT, REQUEST, WRITE, DriverQueue, Rig

TEST_UNIT_READY = bytes(6)
READ_ONE = bytes((0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0))
INDIRECT_OK = r.VIRTIO_F_VERSION_1 | r.VIRTIO_F_INDIRECT_DESC
EVENTS_OK = r.VIRTIO_F_VERSION_1 | r.VIRTIO_F_EVENT_IDX


def put(rig: Rig, buffers: int = 1) -> DriverQueue:
    """Make TEST UNIT READY available, several times, without a notification."""
    rig.memory.data[BUFFERS_AT : BUFFERS_AT + 51] = bytes((1, 0, 0x40)).ljust(51, b"\0")
    queue = rig.queues[REQUEST]
    for _ in range(buffers):
        queue.add([(BUFFERS_AT, 51)], [(BUFFERS_AT + 0x1000, 108)])
    return queue


def broken_by(rig: Rig) -> str:
    """Notify, and return why the device needs a reset."""
    rig.kick()
    assert rig.broken
    assert rig.irq.level
    assert rig.isr() & r.ISR_CONFIG
    event = rig.events[-1]
    assert isinstance(event, VirtioBroken)
    assert (event.device, event.queue) == ("virtio", REQUEST)
    return event.reason


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("features", [0, r.VIRTIO_F_EVENT_IDX, r.VIRTIO_F_INDIRECT_DESC])
def test_the_ring_wraps(modern: bool, features: int) -> None:
    """[VIRTIO-1.1] §2.6.6: idx increments freely, modulo the queue size."""
    rig = Rig().start(features | r.VIRTIO_F_VERSION_1) if modern else Rig().start_legacy(features)
    indirect = bool(features & r.VIRTIO_F_INDIRECT_DESC)
    for _ in range(3 * rig.queues[REQUEST].size):
        rig.unit.medium[9 * BLOCK] ^= 0xFF
        response = rig.run(READ_ONE, room=BLOCK, indirect=indirect)
        assert response.data == rig.unit.medium[9 * BLOCK : 10 * BLOCK]
        assert response.written == 108 + BLOCK
    assert not rig.broken


def test_the_index_wraps_at_65536() -> None:
    rig = Rig().start(EVENTS_OK)
    queue = rig.queues[REQUEST]
    state = rig.host.save()
    queues = list(state.transport.queues)
    fields = {name: getattr(queues[REQUEST], name) for name in queues[REQUEST].__struct_fields__}
    queues[REQUEST] = type(queues[REQUEST])(**{**fields, "next_avail": 0xFFFE, "next_used": 0xFFFE})
    transport = {name: getattr(state.transport, name) for name in state.transport.__struct_fields__}
    moved = type(state.transport)(**{**transport, "queues": tuple(queues)})
    rig.host.load(msgspec.structs.replace(state, transport=moved))
    queue.word(queue.avail + 2, 0xFFFE)
    queue.word(queue.used + 2, 0xFFFE)
    queue.seen = 0xFFFE
    for _ in range(4):
        assert rig.run(TEST_UNIT_READY).response == 0
    assert queue.word(queue.used + 2) == 2


def test_an_indirect_table_follows_normal_descriptors() -> None:
    """[VIRTIO-1.1] §2.6.5.3.2: zero or more normal chained descriptors followed by a single indirect one."""
    rig = Rig().start(INDIRECT_OK)
    response = rig.run(READ_ONE, room=BLOCK, indirect=True, mixed=True)
    assert response.data == rig.unit.medium[9 * BLOCK : 10 * BLOCK]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("readable", "writable"), [(1, 40), (40, 1), (20, 20), (0, 41)])
def test_a_long_indirect_table_is_followed_in_order_or_not(
    readable: int, writable: int, swapped: bool
) -> None:
    """[VIRTIO-1.1] §2.6.5.3.1: descriptors of an indirect table are chained by next."""
    rig = Rig().start(INDIRECT_OK)
    queue = rig.queues[REQUEST]
    runs = [(0x5000 + 0x1000 * at, 0x1000 - at) for at in range(readable + writable)]
    head = queue.add(runs[:readable], runs[readable:], indirect=True)
    if swapped:  # what lies at 5 and 7 changes places, and the links with it
        table = [queue.indirect + 16 * at for at in range(len(runs))]
        data = rig.memory.data
        five, seven = bytes(data[table[5] : table[5] + 16]), bytes(data[table[7] : table[7] + 16])
        data[table[5] : table[5] + 16], data[table[7] : table[7] + 16] = seven, five
        data[table[4] + 14], data[table[6] + 14] = 7, 5
    chain = rig.host.transport.queues[REQUEST].chain(head, INDIRECT_OK)
    assert chain == (head, runs[:readable], runs[readable:])


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (12, INDIRECT | NEXT, "indirect"),
        (14, 200, "outside"),
        (14, 3, "without end"),
        (7, 1, ""),
        (13, 1, ""),
    ],
)
def test_a_long_indirect_table_with_something_unusual(at: int, value: int, reason: str) -> None:
    """Of what the short way does not take the long way judges, descriptor by descriptor."""
    rig = Rig().start(INDIRECT_OK)
    queue = rig.queues[REQUEST]
    runs = [(0x5000 + 0x1000 * at, 0x1000) for at in range(30)]
    head = queue.add(runs[:20], runs[20:], indirect=True)
    rig.memory.data[queue.indirect + 16 * 10 + at] = value
    ring = rig.host.transport.queues[REQUEST]
    if reason:
        with pytest.raises(RingError, match=reason):
            ring.chain(head, INDIRECT_OK)
        return
    if at == 7:
        runs[10] = (runs[10][0] | 1 << 56, 0x1000)
    assert ring.chain(head, INDIRECT_OK) == (head, runs[:20], runs[20:])


def test_a_long_chain_of_more_than_4_gib_is_refused() -> None:
    """[VIRTIO-1.1] §2.6.5: in total no more than 2^32 bytes."""
    rig = Rig().start(INDIRECT_OK)
    queue = rig.queues[REQUEST]
    head = queue.add([(0, 51)], [(0, 0xFFFF_FFFF)] * 30, indirect=True)
    with pytest.raises(RingError, match="4 GiB"):
        rig.host.transport.queues[REQUEST].chain(head, INDIRECT_OK)


def test_the_write_flag_of_the_descriptor_of_an_indirect_table_is_ignored() -> None:
    """[VIRTIO-1.1] §2.6.5.3.2."""
    rig = Rig().start(INDIRECT_OK)
    put(rig)
    queue = rig.queues[REQUEST]
    table = struct.pack("<QIHHQIHH", BUFFERS_AT, 51, NEXT, 1, BUFFERS_AT + 0x1000, 108, WRITE, 0)
    rig.memory.data[queue.indirect : queue.indirect + 32] = table
    queue.descriptor(0, queue.indirect, 32, INDIRECT | WRITE)
    rig.kick()
    assert queue.take_used() == [(0, 108)]


def test_avail_event_asks_for_the_next_notification() -> None:
    """[VIRTIO-1.1] §2.6.10: the device writes how far the driver can progress without one."""
    rig = Rig().start(EVENTS_OK)
    queue = rig.queues[REQUEST]
    for done in range(1, 4):
        rig.run(TEST_UNIT_READY)
        assert queue.word(queue.used + 4 + 8 * queue.size) == done


@pytest.mark.parametrize(("event", "interrupts"), [(0, True), (2, True), (3, False), (0xFFFF, False)])
def test_used_event_says_which_buffer_interrupts(event: int, interrupts: bool) -> None:
    """[VIRTIO-1.1] §2.6.7.2: send one if the index written to used_event has just been passed."""
    rig = Rig().start(EVENTS_OK)
    queue = put(rig, 3)
    queue.word(queue.avail + 4 + 2 * queue.size, event)
    queue.word(queue.avail, 1)  # the flag is ignored
    rig.kick()
    assert len(queue.take_used()) == 3
    assert rig.irq.level == interrupts


@pytest.mark.parametrize("flags", [0, 1])
def test_the_driver_suppresses_interrupts_by_a_flag(flags: int) -> None:
    """[VIRTIO-1.1] §2.6.7.2: if flags is 1, the device SHOULD NOT send a notification."""
    rig = Rig().start()
    queue = put(rig)
    queue.word(queue.avail, flags)
    rig.kick()
    assert len(queue.take_used()) == 1
    assert rig.irq.level == (not flags)


def test_one_notification_gives_one_interrupt() -> None:
    rig = Rig().start()
    queue = put(rig, 8)
    rig.kick()
    assert len(queue.take_used()) == 8
    assert rig.edges == [True]


def test_the_used_ring_is_written_before_its_index() -> None:
    """[VIRTIO-1.1] §2.6.8.2: MUST set len prior to updating the used idx."""
    rig = Rig().start()
    queue = put(rig)
    rig.kick()
    assert [address for address, _ in rig.memory.writes[-2:]] == [queue.used + 4, queue.used + 2]


def test_event_buffers_are_kept() -> None:
    rig = Rig().start()
    queue = rig.queues[1]
    queue.add([], [(BUFFERS_AT, 16)])
    rig.kick(1)
    assert queue.take_used() == []
    assert not rig.broken


def test_a_descriptor_loop_ends() -> None:
    """[VIRTIO-1.1] §2.6.5: drivers MUST NOT add a loop."""
    rig = Rig().start()
    queue = put(rig)
    queue.descriptor(0, BUFFERS_AT, 51, NEXT, 0)
    assert broken_by(rig) == "chain without end"


def test_an_indirect_table_within_one_is_refused() -> None:
    """[VIRTIO-1.1] §2.6.5.3.1: MUST NOT set INDIRECT within an indirect descriptor."""
    rig = Rig().start(INDIRECT_OK)
    queue = put(rig)
    table = struct.pack("<QIHH", queue.indirect, 16, INDIRECT, 0)
    rig.memory.data[queue.indirect : queue.indirect + 16] = table
    queue.descriptor(0, queue.indirect, 16, INDIRECT)
    assert "indirect" in broken_by(rig)


def test_an_indirect_descriptor_without_the_feature_is_refused() -> None:
    """[VIRTIO-1.1] §2.6.5.3.1."""
    rig = Rig().start()
    queue = put(rig)
    queue.descriptor(0, queue.indirect, 16, INDIRECT)
    assert "indirect" in broken_by(rig)


@pytest.mark.parametrize("length", [0, 8, 0xFFFF_FFFF])
def test_an_indirect_table_of_a_broken_size_is_refused(length: int) -> None:
    rig = Rig().start(INDIRECT_OK)
    put(rig).descriptor(0, 0x5000, length, INDIRECT)
    assert "size" in broken_by(rig)


def test_an_indirect_table_of_4_gib_costs_nothing() -> None:
    rig = Rig().start(INDIRECT_OK)
    put(rig).descriptor(0, 0xFFFF_0000, 0xFFFF_FFF0, INDIRECT)
    broken_by(rig)


def test_an_index_that_runs_ahead_is_refused() -> None:
    rig = Rig().start()
    queue = put(rig)
    queue.word(queue.avail + 2, 65535)
    assert "ahead" in broken_by(rig)


def test_a_head_outside_the_table_is_refused() -> None:
    rig = Rig().start()
    queue = put(rig)
    queue.word(queue.avail + 4, queue.size)
    assert "outside" in broken_by(rig)


def test_a_readable_descriptor_after_a_writable_one_is_refused() -> None:
    """[VIRTIO-1.1] §2.6.4.2: any device-writable descriptors MUST come after device-readable ones."""
    rig = Rig().start()
    queue = put(rig)
    queue.descriptor(0, BUFFERS_AT, 51, NEXT | WRITE, 1)
    queue.descriptor(1, BUFFERS_AT, 108, 0)
    assert "readable" in broken_by(rig)


def test_a_chain_longer_than_4_gib_is_refused() -> None:
    """[VIRTIO-1.1] §2.6.5: MUST NOT be longer than 2^32 bytes in total."""
    rig = Rig().start()
    queue = put(rig)
    queue.descriptor(0, BUFFERS_AT, 0xFFFF_FFFF, NEXT, 1)
    queue.descriptor(1, BUFFERS_AT, 2, WRITE)
    assert "4 GiB" in broken_by(rig)


def test_a_buffer_without_room_for_the_response_is_refused() -> None:
    rig = Rig().start()
    queue = put(rig)
    queue.descriptor(1, BUFFERS_AT + 0x1000, 107, WRITE)
    assert "short" in broken_by(rig)


def test_what_was_done_before_a_broken_chain_is_given_back() -> None:
    rig = Rig().start()
    queue = put(rig, 2)
    queue.descriptor(2, BUFFERS_AT, 51, NEXT, 2)
    assert broken_by(rig) == "chain without end"
    assert queue.take_used() == [(0, 108)]


def test_a_broken_device_uses_nothing_until_it_is_reset() -> None:
    """[VIRTIO-1.1] §2.1.2: the driver recovers by issuing a reset."""
    rig = Rig().start()
    queue = put(rig)
    queue.word(queue.avail + 2, 65535)
    rig.kick()
    queue.word(queue.avail + 2, 1)
    rig.kick()
    assert queue.take_used() == []
    rig.memory.data[0x1_0000:0x2_0000] = bytes(0x1_0000)
    assert rig.start().run(TEST_UNIT_READY).response == 0


def test_queues_outside_memory_do_no_harm() -> None:
    rig = Rig().start()
    for address in (0xFFFF_F000, 1 << 63, (1 << 64) - 16, rig.memory.data.__len__() - 2):
        rig.status = 0
        rig.start()
        rig.status = 0
        rig.common(r.QUEUE_SELECT, 2, REQUEST)
        for register in (r.QUEUE_DESC, r.QUEUE_DRIVER, r.QUEUE_DEVICE):
            rig.common(register, 4, address & 0xFFFF_FFFF)
            rig.common(register + 4, 4, address >> 32)
        rig.common(r.QUEUE_ENABLE, 2, 1)
        rig.status = r.DRIVER_OK
        rig.kick()
        assert rig.broken
