"""Drivers that do anything: no access raises, hangs or asks for much memory at once."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from devices.backplane import PortBank
from devices.pci.config import COMMAND
from devices.virtio import registers as r
from devices.virtio import scsi
from tests.devices.virtio_rig import BUFFERS_AT, CONTROL, INDIRECT, LUN0, NEXT, REQUEST, WRITE, Memory, Rig
from vmm.clock import MachineClock

ALL = r.VIRTIO_F_VERSION_1 | r.VIRTIO_F_EVENT_IDX | r.VIRTIO_F_INDIRECT_DESC
INTERESTING = (0, 1, 3, 15, 16, 0x7F, 0x80, 0xFF, 0x100, 0xFFF, 0x1000, 0xFFFF, 0x1_0000, 0xFFFF_FFFF)


class GuardedMemory(Memory):
    """Memory that fails when it is asked for more than a slice at once, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0

    def read(self, address: int, length: int) -> bytes:
        assert 0 <= length <= scsi.SLICE_BYTES
        self.moved += length
        return super().read(address, length)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        assert len(data) <= scsi.SLICE_BYTES
        self.moved += len(data)
        super().write(address, data)

    def views(self, runs: Sequence[tuple[int, int]]) -> list[memoryview] | None:
        length = sum(length for _, length in runs)
        assert length <= scsi.SLICE_BYTES
        self.moved += length
        return super().views(runs)


def bench(chance: random.Random) -> Rig:
    """A started host, of either kind, at random."""
    rig = Rig(GuardedMemory())
    features = ALL & ~chance.choice((0, r.VIRTIO_F_EVENT_IDX, r.VIRTIO_F_INDIRECT_DESC))
    return rig.start(features) if chance.random() < 0.7 else rig.start_legacy(features & 0xFFFF_FFFF)


def spoil(rig: Rig, chance: random.Random) -> None:
    """Change something of a ring, a table, a buffer."""
    queue = rig.queues[chance.choice((CONTROL, REQUEST))]
    what = chance.randrange(6)
    if what == 0:
        queue.word(queue.avail + 2, chance.choice((queue.size + 1, 65535, 0, chance.getrandbits(16))))
    elif what == 1:
        queue.word(queue.avail + 4 + 2 * chance.randrange(queue.size), chance.choice(INTERESTING) & 0xFFFF)
    elif what == 2:
        address = chance.choice((queue.desc, queue.indirect, BUFFERS_AT, chance.getrandbits(64)))
        flags = chance.choice((0, NEXT, WRITE, INDIRECT, NEXT | WRITE, chance.getrandbits(16)))
        length = chance.choice((*INTERESTING, 32, 48, 51, 108))
        queue.descriptor(chance.randrange(queue.size), address, length, flags, chance.randrange(queue.size))
    elif what == 3:
        table = struct.pack(
            "<QIHH", queue.indirect, chance.choice(INTERESTING), chance.randrange(8), chance.randrange(4)
        )
        rig.memory.data[queue.indirect : queue.indirect + 16] = table
    elif what == 4:
        at = BUFFERS_AT + chance.randrange(64)
        rig.memory.data[at] = chance.getrandbits(8)
    else:
        queue.word(queue.avail, chance.getrandbits(16))


def ask(rig: Rig, chance: random.Random) -> None:
    """Make a command available that may be spoilt before it is seen."""
    cdb = bytes(
        chance.choice((0, 0x12, 0x28, 0x2A, 0xFF)) if at == 0 else chance.randrange(3) for at in range(10)
    )
    header = chance.choice((LUN0, chance.randbytes(8))) + bytes(11) + cdb.ljust(32, b"\0")
    rig.memory.data[BUFFERS_AT : BUFFERS_AT + 51] = header
    size = chance.choice((0, 36, 512, 4096, 0x2_0000))
    out = size if chance.random() < 0.4 else 0
    readable = [(BUFFERS_AT, 51)] + ([(BUFFERS_AT + 0x2000, out)] if out else [])
    writable = [(BUFFERS_AT + 0x1000, 108)] + ([(BUFFERS_AT + 0x2000, size)] if size and not out else [])
    if not rig.modern or chance.random() < 0.5:
        rig.queues[REQUEST].add(readable, writable)
    else:
        rig.queues[REQUEST].add(readable, writable, indirect=True)


@pytest.mark.parametrize("seed", range(150))
def test_spoilt_rings_never_get_out_of_hand(seed: int) -> None:
    chance = random.Random(seed)
    rig = bench(chance)
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            ask(rig, chance)
        if chance.random() < 0.5:
            spoil(rig, chance)
        before = rig.memory.moved  # type: ignore[attr-defined]
        for _ in range(chance.randrange(1, 4)):
            rig.kick(chance.randrange(5))
        assert rig.memory.moved - before <= 3 * 128 * (scsi.MOST_DATA_BYTES + 0x2_0000)  # type: ignore[attr-defined]
        if rig.broken:
            rig.memory.data[0x1_0000:0x4_0000] = bytes(0x3_0000)
            (rig.start if rig.modern else rig.start_legacy)(ALL if rig.modern else 0)
    rig.memory.data[0x1_0000:0x4_0000] = bytes(0x3_0000)
    assert rig.start(ALL).run(bytes(6)).response == scsi.S_OK


@pytest.mark.parametrize("seed", range(30))
def test_random_memory_as_rings(seed: int) -> None:
    """Rings, tables and buffers of noise, of which every piece points anywhere."""
    chance = random.Random(seed)
    rig = Rig(GuardedMemory())
    rig.memory.data[:] = chance.randbytes(len(rig.memory.data))
    for _ in range(40):
        rig.start(ALL, size=chance.choice((1, 2, 64)))
        for queue in rig.queues.values():
            queue.word(queue.avail + 2, chance.choice((1, queue.size)))
        rig.kick(chance.choice((CONTROL, REQUEST)))
        rig.status = 0


@pytest.mark.parametrize("seed", range(30))
def test_random_register_accesses(seed: int) -> None:
    chance = random.Random(seed)
    rig = bench(chance)
    for _ in range(1500):
        bank, length = chance.choice(
            ((rig.io, r.IO_PORTS), (rig.mem, r.COMMON_BYTES), (rig.mem, r.MEMORY_BYTES))
        )
        offset, size = chance.randrange(length + 4), chance.choice((1, 2, 4))
        if chance.random() < 0.5:
            value = bank.read(offset, size)
            assert 0 <= value < 1 << 8 * size
        else:
            bank.write(
                offset, size, chance.choice((*INTERESTING, chance.getrandbits(32))) & (1 << 8 * size) - 1
            )
    rig.memory.data[:] = bytes(len(rig.memory.data))
    assert rig.start(ALL).run(bytes(6)).response == scsi.S_OK


def test_a_loop_of_notifications_is_cheap_and_harmless() -> None:
    rig = Rig(GuardedMemory()).start(ALL)
    before = rig.memory.moved  # type: ignore[attr-defined]
    for _ in range(10_000):
        rig.kick()
    assert rig.memory.moved - before == 4 * 10_000  # type: ignore[attr-defined]
    assert not rig.irq.level


def make_host(clock: MachineClock) -> tuple[object, object, object]:
    """For the contract: a host that a driver takes through its states."""
    rig = Rig()
    banks = [(rig.io, r.IO_PORTS), (rig.mem, r.MEMORY_BYTES)]

    def command() -> None:
        rig.queues[REQUEST].add([(BUFFERS_AT, 51)], [(BUFFERS_AT + 0x1000, 108)])
        rig.kick()

    steps: list[Callable[[], object]] = [
        partial(rig.start, ALL),
        command,
        rig.isr,
        partial(rig.mem.write, r.DEVICE_AT + scsi.CDB_SIZE_AT, 4, 16),
        partial(rig.config.write, COMMAND, 2, 3),
        rig.kick,
    ]
    return rig.host, banks, steps


def make_function(clock: MachineClock) -> tuple[object, object, object]:
    """For the contract: its PCI function."""
    rig = Rig()
    registers = PortBank("configuration space", rig.config.read, rig.config.write)
    return rig.function, [(registers, 256)], [rig.enable]


CONTRACT = [("virtio-scsi", make_host), ("virtio-scsi function", make_function)]
