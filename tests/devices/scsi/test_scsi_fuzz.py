"""Initiators that send anything: no CDB raises, hangs or makes a task hold much."""

from __future__ import annotations

import random

import pytest

from devices.scsi import commands as s
from devices.scsi.disk import ScsiDisk
from devices.scsi.inquiry import cd_identity
from devices.scsi.mmc import CdRom
from devices.scsi.target import ScsiTarget
from devices.scsi.task import CHECK_CONDITION, GOOD, Task
from devices.scsi.tasks import MOST_BYTES
from tests.devices.ide_rig import MemoryImage, pattern
from tests.devices.scsi.rig import move

BLOCKS = 400
LUNS = (0, 0, 0, 0, 1, 6)
OPEN_AT_ONCE = 6
START = bytes([s.START_STOP_UNIT, 0, 0, 0, 1, 0])


def make(chance: random.Random) -> ScsiTarget:
    image = MemoryImage(BLOCKS)
    image.bad = {chance.randrange(BLOCKS)} if chance.random() < 0.5 else set()
    disc = MemoryImage(BLOCKS)
    return ScsiTarget({0: ScsiDisk("sda", image), 1: CdRom("sr0", disc, cd_identity())})


def random_cdb(chance: random.Random) -> bytes:
    """Any bytes; or a command there is, with most of its bytes zero, so that many are good."""
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(17))
    cdb = bytearray(16)
    cdb[0] = chance.choice(tuple(s.NAMES))
    for _ in range(chance.randrange(4)):
        cdb[chance.randrange(1, 16)] = chance.choice((1, 2, 4, 8, 0x10, 0x3F, chance.randrange(256)))
    return bytes(cdb[: chance.choice((6, 10, 12, 16, 16))])


def step(chance: random.Random, task: Task) -> None:
    """Move some data of a task, and look at what it promises."""
    size = chance.choice((1, 7, 512, 4096, 200_000))
    wanted = task.data_in
    data = task.give(size)
    assert len(data) <= min(size, wanted)
    assert task.data_in in (0, wanted - len(data))
    task.take(chance.randbytes(min(size, 5000)))
    assert task.data_in >= 0 <= task.data_out
    assert not (task.data_in and task.data_out)
    if not data and wanted:
        assert task.status == CHECK_CONDITION
    assert len(task.save().data) <= MOST_BYTES


def fuzz(seed: int, commands: int) -> None:
    chance = random.Random(seed)
    target = make(chance)
    tasks: list[tuple[int, Task]] = []
    for _ in range(commands):
        lun = chance.choice(LUNS)
        task = target.start(lun, random_cdb(chance))
        assert task.status in (GOOD, CHECK_CONDITION)
        if task.status == CHECK_CONDITION:
            assert not task.data_in | task.data_out
            assert chance.random() < 0.5 or target.sense_data(lun)
        tasks.append((lun, task))
        for _ in range(3):
            lun, task = chance.choice(tasks)
            step(chance, task)
        if chance.random() < 0.1:
            at = chance.randrange(len(tasks))
            tasks[at] = tasks[at][0], target.resume(tasks[at][0], tasks[at][1].save())
        del tasks[: max(0, len(tasks) - OPEN_AT_ONCE)]
    target.reset()
    for cdb in (bytes(6), START, START):
        target.start(0, cdb)
    unit = target.units[0]
    assert isinstance(unit, ScsiDisk)
    unit.write_blocks(3, pattern(3))
    assert move(target.start(0, bytes([s.READ_10, 0, 0, 0, 0, 3, 0, 0, 1, 0]))) == pattern(3)


@pytest.mark.parametrize("seed", range(4))
def test_no_command_raises_or_promises_what_it_does_not_give(seed: int) -> None:
    fuzz(seed, 2500)


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_commands(seed: int) -> None:
    fuzz(seed, 20_000)
