"""Saved states of the SCSI devices that do not fit: refused before anything changes, or harmless for ever."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from devices.aic7870 import faults as f
from devices.aic7870 import messages as m
from devices.aic7870 import registers as r
from devices.aic7870.chip import Aic7870
from devices.saved import StateError
from devices.scsi.disk import ScsiDisk
from devices.scsi.inquiry import cd_identity
from devices.scsi.mmc import CdRom
from devices.scsi.target import ScsiTarget
from devices.scsi.task import TaskState
from devices.scsi.tasks import COMPARE, PARAMETERS, READ, REPLY, WRITE
from devices.virtio import scsi
from tests.devices.aic7870 import test_chip_fuzz
from tests.devices.aic7870.rig import Rig, read10, write10
from tests.devices.ide_rig import MemoryImage
from tests.devices.mutations import mutated, with_change
from tests.devices.virtio import test_fuzz as virtio_fuzz
from tests.devices.virtio_rig import LUN0
from tests.devices.virtio_rig import Rig as VirtioRig

BLOCKS = 1024
BAD = 700
AGAIN = 12  # states are made of one moment
MODE_SELECT = bytes((0x15, 0x10, 0, 0, 24, 0))
VERIFY = bytes((0x2F, 2, 0, 0, 0, 9, 0, 0, 3, 0))
CDB = read10(1).ljust(16, b"\0")
CDBS = (read10(2), read10(40, BAD - 20), write10(3), write10(90), MODE_SELECT, VERIFY, bytes(6))


def targets() -> dict[int, ScsiTarget]:
    """A target with a disk that has a bad block and with a CD-ROM, and one with a disk that is read-only."""
    image = MemoryImage(BLOCKS)
    image.bad.add(BAD)
    disc = CdRom("cd", MemoryImage(BLOCKS), cd_identity())
    found = {
        0: ScsiTarget({0: ScsiDisk("disk", image), 1: disc}),
        3: ScsiTarget({0: ScsiDisk("other", MemoryImage(BLOCKS, read_only=True))}),
    }
    tell_of_reset(found)
    return found


def tell_of_reset(found: dict[int, ScsiTarget]) -> None:
    """Take the unit attention that any command would get first."""
    for target in found.values():
        for lun in target.units:
            target.start(lun, bytes(6))
            target.sense_data(lun)


def refused(device: Any, bad: Any) -> bool:  # noqa: ANN401 - any device
    """Load a state into a new device; return whether it was refused. Then nothing has changed."""
    before = device.save()
    try:
        device.load(bad)
    except StateError:
        assert device.save() == before
        return True
    return False


# -- the AIC-7870


def chip_rig(chance: random.Random) -> Rig:
    rig = Rig()
    rig.memory.data[: 1 << 16] = chance.randbytes(1 << 16)
    found = targets()
    rig.chip = Aic7870("scsi0", rig.memory, rig.clock, rig.line, found, rig.events)
    tell_of_reset(found)
    rig.chip.set_master(True)
    rig.write(r.HCNTRL, r.PAUSE)
    rig.write(r.SXFRCTL1, 0x20 | r.ENSTIMER)
    return rig


def into_a_command(rig: Rig, chance: random.Random) -> None:
    """Leave a chip somewhere in a command, or after it has let go of one or two."""
    for peripheral in rig.chip.bus.peripherals.values():
        peripheral.policy = chance.choice(f.DISCONNECT_POLICIES)
    for tag in range(chance.randrange(1, 4)):
        if rig.status1(r.BUSFREE) == 0 and rig.chip.bus.nexus is not None:
            break
        if not rig.select(chance.choice((0, 0, 3))):
            break
        messages = (m.IDENTIFY | m.IDENTIFY_DISCONNECT | chance.choice((0, 0, 1)), m.SIMPLE_QUEUE_TAG, tag)
        rig.send(*messages[: chance.choice((1, 3))])
        if rig.phase == 0x80:
            rig.send(*chance.choice(CDBS)[: chance.choice((3, 16, 16, 16))], last=False)
        while chance.random() < 0.8 and rig.phase == 0xE0 and rig.status1(r.REQINIT):
            rig.take()
    for _ in range(chance.randrange(30)):
        test_chip_fuzz.step(rig, chance)


def chip_goes_on(rig: Rig, chance: random.Random) -> None:
    """Accesses of all kinds, time, and a driver that starts afresh."""
    for _ in range(40):
        test_chip_fuzz.step(rig, chance)
    rig.advance(5_000_000)
    test_chip_fuzz.still_works(rig)


def chip_trial(seed: int) -> tuple[int, int]:
    """Change the state of one moment in several ways; return how many were refused, and how many were not."""
    chance = random.Random(seed)
    rig = chip_rig(chance)
    into_a_command(rig, chance)
    moment = rig.chip.save()
    assert not refused(chip_rig(chance).chip, moment)
    counted = [0, 0]
    for _ in range(AGAIN):
        there = chip_rig(chance)
        there.advance(rig.time.value_ns)
        if refused(there.chip, mutated(moment, chance)):
            counted[0] += 1
        else:
            counted[1] += 1
            chip_goes_on(there, chance)
    return counted[0], counted[1]


@pytest.mark.parametrize("seed", range(12))
def test_a_chip_refuses_what_does_not_fit_and_lives_with_the_rest(seed: int) -> None:
    chip_trial(seed)


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(1000, 1010))
def test_a_chip_and_many_hostile_states(seed: int) -> None:
    found = [chip_trial(seed * 1000 + number) for number in range(40)]
    assert min(map(sum, zip(*found, strict=True))) > AGAIN  # both happen


NEXUS = ("bus", "nexus")
HELD = ("bus", "peripherals", 0, "disconnected", 0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("registers",), bytes(255)),
        (("sequencer", "program"), bytes(2044)),
        (("sequencer", "pc"), 512),
        (("sequencer", "stack", 3), 512),
        (("straps", "seeprom", "bits"), 8),  # of a command, where seven are the most before the last
        (("straps", "seeprom", "shift"), 0x80),
        (("data", "fifo"), bytes(257)),
        (("scb", "queue_in"), bytes(17)),
        (("bus", "nexus"), None),  # while the lines say that somebody is there
        (("bus", "phase"), 0x20),
        (("bus", "peripherals"), {}),
        ((*NEXUS, "target"), 5),
        ((*NEXUS, "cdb"), bytes(7)),
        ((*NEXUS, "stage"), 1),  # in a task, with a CDB that is not whole
        ((*NEXUS, "incoming"), b"\x80"),
        ((*NEXUS, "position"), 1),
        ((*NEXUS, "tag"), (0x23, 1)),
        ((*HELD, "target"), 3),
        ((*HELD, "cdb"), bytes(6) + b"\0"),
        ((*HELD, "task", "lba"), BLOCKS),
        ((*HELD, "task", "cdb"), b""),
        ((*HELD, "lun"), 5),  # no unit, which has no READ under way
    ],
)
def test_what_a_chip_cannot_be_is_refused(path: tuple[str | int, ...], value: object) -> None:
    """A READ has let go of the bus, another is half sent, and the EEPROM has five bits of a command."""
    rig = chip_rig(random.Random(0))
    rig.chip.bus.peripherals[0].policy = f.BEFORE_DATA
    rig.select(0)
    rig.send(m.IDENTIFY | m.IDENTIFY_DISCONNECT)
    rig.send(*read10(2), last=False)
    assert rig.take() == m.DISCONNECT
    rig.write(r.CLRSINT1, r.BUSFREE)
    rig.select(3)
    rig.send(m.IDENTIFY)
    rig.send(*read10(2)[:3], last=False)
    for _ in range(6):
        for clock in (0, r.SEECK):
            rig.write(r.SEECTL, r.SEEMS | r.SEECS | r.SEEDO | clock)
    moment = rig.chip.save()
    assert not refused(chip_rig(random.Random(0)).chip, moment)
    assert refused(chip_rig(random.Random(0)).chip, with_change(moment, path, lambda old: value))


# -- commands under way


@pytest.mark.parametrize("seed", range(200))
def test_a_command_that_is_taken_up_moves_its_data(seed: int) -> None:
    chance = random.Random(seed)
    target = targets()[chance.choice((0, 0, 3))]
    lun = chance.choice((0, 0, 1, 5))
    task = target.start(lun, chance.choice(CDBS))
    task.take(bytes(chance.choice((0, 4, 700))))
    task.give(chance.choice((0, 1, 700)))
    moment = task.save()
    for _ in range(40):
        state = mutated(moment, chance)
        try:
            target.check(lun, state)
        except StateError:
            continue
        again = target.resume(lun, state)
        for _ in range(400):
            again.give(4096)
            again.take(bytes(4096))
        assert isinstance(again.status, int)
        target.check(lun, again.save())


@pytest.mark.parametrize(
    ("unit", "lun", "state"),
    [
        ("disk", 0, TaskState(kind=READ, cdb=CDB, lba=BLOCKS, blocks=1)),
        ("disk", 0, TaskState(kind=COMPARE, cdb=CDB, lba=1, blocks=BLOCKS)),
        ("disk", 0, TaskState(kind=READ, cdb=CDB[:10], lba=1, blocks=1)),
        ("disk", 0, TaskState(kind=WRITE, cdb=CDB, lba=1, blocks=1, data=bytes(513))),
        ("disk", 0, TaskState(kind=PARAMETERS, cdb=CDB[1:] + b"\0", left=4)),
        ("disk", 0, TaskState(kind=PARAMETERS, cdb=CDB, left=1 << 20)),
        ("disk", 0, TaskState(kind=REPLY, data=bytes(1 << 20))),
        ("disk", 0, TaskState(kind="nothing")),
        ("read-only disk", 0, TaskState(kind=WRITE, cdb=CDB, lba=1, blocks=1)),
        ("CD-ROM", 1, TaskState(kind=WRITE, cdb=CDB, lba=1, blocks=1)),
        ("CD-ROM", 1, TaskState(kind=PARAMETERS, cdb=CDB, left=4)),
        ("no unit", 5, TaskState(kind=READ, cdb=CDB, lba=1, blocks=1)),
    ],
)
def test_a_command_that_a_unit_cannot_have_is_refused(unit: str, lun: int, state: TaskState) -> None:
    target = targets()[3 if unit.startswith("read-only") else 0]
    with pytest.raises(StateError):
        target.check(lun, state)


@pytest.mark.parametrize("seed", range(60))
def test_units_refuse_what_does_not_fit(seed: int) -> None:
    chance = random.Random(seed)
    target = targets()[0]
    target.start(chance.randrange(2), chance.choice((b"\xee", bytes(6), MODE_SELECT)))
    moment = target.save()
    assert not refused(targets()[0], moment)
    for _ in range(20):
        target = targets()[0]
        if not refused(target, mutated(moment, chance)):
            for lun in range(3):
                for cdb in (bytes((3, 0, 0, 0, 18, 0)), bytes((0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0)), *CDBS):
                    target.start(lun, cdb)
                target.pending_sense(lun)


# -- virtio-scsi


@pytest.mark.parametrize("seed", range(40))
def test_a_virtio_host_refuses_what_does_not_fit_and_lives_with_the_rest(seed: int) -> None:
    chance = random.Random(seed)
    rig = virtio_fuzz.bench(chance)
    for _ in range(chance.randrange(5)):
        virtio_fuzz.ask(rig, chance)
        rig.kick()
    moment = rig.host.save()
    assert not refused(virtio_fuzz.bench(chance).host, moment)
    for _ in range(20):
        rig = virtio_fuzz.bench(chance)
        if refused(rig.host, mutated(moment, chance)):
            continue
        for _ in range(10):
            virtio_fuzz.ask(rig, chance)
            rig.kick(chance.randrange(4))
            rig.mem.read(chance.randrange(0x38), 4)
            rig.io.read(chance.randrange(0x14), 4)
            rig.time.value_ns += scsi.GO_ON_NS
            rig.clock.run_due()
        rig.memory.data[0x1_0000:0x4_0000] = bytes(0x3_0000)
        rig.host.reset()
        rig.host.transport.set_master(True)
        rig.modern = True
        assert rig.start(virtio_fuzz.ALL).run(bytes(6), lun=LUN0).response == scsi.S_OK


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 1 << 14), ("size", 0), ("size", 3), ("desc", 1 << 64), ("next_avail", 0x1_0000), ("kicked", 1)],
)
def test_a_queue_that_cannot_be_is_told_in_one_line(field: str, value: int) -> None:
    rig = VirtioRig().start()
    state = rig.host.save()
    queues = list(state.transport.queues)
    queues[2] = msgspec.structs.replace(queues[2], **{field: value})
    transport = msgspec.structs.replace(state.transport, queues=tuple(queues))
    with pytest.raises(StateError, match=r"^(virtio|queue): the saved state [^\n]+$"):
        rig.host.load(msgspec.structs.replace(state, transport=transport))
