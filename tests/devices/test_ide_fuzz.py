"""Guests that do anything: no access raises, and a channel saved at any point goes on alike."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.ide import commands as ata
from devices.ide import registers as r
from devices.scsi.commands import NAMES
from tests.devices.ide_rig import MemoryImage, Rig

TABLES = 0x400
COMMANDS = sorted({*ata.TRANSFERS, *range(256)}, key=lambda code: (code not in ata.TRANSFERS, code))


def bench(seed: int) -> Rig:
    """A channel whose guest memory holds random descriptors that point everywhere."""
    rig = Rig(MemoryImage(keeps_writes=False), MemoryImage())
    rig.memory.data[:] = random.Random(seed).randbytes(len(rig.memory.data))
    rig.image.bad = {5, 1999, -1}
    rig.clear_attention()
    return rig


def step(rig: Rig, action: int, value: int, extra: int) -> None:
    """One thing a guest may do, chosen by `action`."""
    if action == 0:
        rig.lba28(COMMANDS[value % 64], extra % 2100, value)
    elif action == 1:
        rig.lba48(COMMANDS[value % 256], extra % 2100, value)
    elif action == 2:
        rig.packet(
            *bytes([sorted(NAMES)[value % len(NAMES)]]),
            0,
            0,
            0,
            0,
            extra & 0xFF,
            0,
            0,
            3,
            features=extra & 1,
        )
    elif action == 3:
        rig.bus_master.write(4, 4, extra % 256 * TABLES)
        rig.start(to_memory=bool(value & 1))
    elif action == 4:
        rig.bus_master.write(value % 16, 1 + value % 2, extra & 0xFF)
    elif action == 5:
        rig.ports.read_block(2 + 2 * (value & 1), extra % 600)
    elif action == 6:
        rig.ports.write_block(2 + 2 * (value & 1), bytes(extra % 2000 & ~3))
    elif action == 7:
        rig.control.write(0, 1, value)
    elif action == 8:
        rig.ports.write(value % 8, 1 + extra % 2, extra & 0xFF)
    else:
        rig.ports.read(value % 8, 1 << extra % 3)


ACTIONS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 255), st.integers(0, 0xFFFF)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3), ACTIONS, ACTIONS)
def test_no_guest_raises_and_a_restored_channel_goes_on_alike(
    seed: int, before: list[tuple[int, int, int]], after: list[tuple[int, int, int]]
) -> None:
    rig, twin = bench(seed), bench(seed)
    for action in before:
        step(rig, *action)
    twin.channel.load(rig.channel.save())
    twin.bus_master.load(rig.bus_master.save())
    twin.memory.data[:] = rig.memory.data
    assert twin.irq.level == rig.irq.level
    for action in after:
        step(rig, *action)
        step(twin, *action)
        assert rig.alternate == twin.alternate
    assert twin.channel.save() == rig.channel.save()
    assert twin.bus_master.save() == rig.bus_master.save()
    assert twin.memory.data == rig.memory.data


@settings(max_examples=100, deadline=None)
@given(ACTIONS)
def test_after_anything_a_reset_and_a_read_work(actions: list[tuple[int, int, int]]) -> None:
    rig = bench(9)
    for action in actions:
        step(rig, *action)
    rig.control.write(0, 1, r.DC_SRST | r.DC_NIEN)
    rig.control.write(0, 1, 0)
    rig.lba28(ata.READ_SECTORS, 8, 1)
    assert rig.words() == rig.image.sector(8)
    assert rig.inb(r.STATUS) == 0x50
