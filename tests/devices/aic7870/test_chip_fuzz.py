"""Guests that do anything: no access raises, none hangs, nothing grows, and a saved chip goes on alike."""

from __future__ import annotations

import random

import pytest

from devices.aic7870 import chip as chips
from devices.aic7870 import faults as f
from devices.aic7870 import registers as r
from devices.aic7870.chip import RUN_LIMIT, Aic7870
from tests.devices.aic7870.rig import Rig, inquiry, read10, write10
from vmm.clock import MachineClock

COMMON = (
    r.SCSISEQ, r.SXFRCTL0, r.SXFRCTL1, r.SCSISIGO, r.SCSIID, r.SCSIDATL, r.CLRSINT0, r.CLRSINT1,
    r.SIMODE0, r.SIMODE1,
    r.DFCNTRL, r.DFDAT, r.STCNT, r.HCNT, r.HADDR, r.HADDR + 2, r.SCBPTR, r.SCBCNT, r.QINFIFO, r.QOUTFIFO,
    r.INTSTAT,
    r.CLRINT, r.SEECTL, r.BRDCTL, r.DSPCISTATUS,
)  # fmt: skip
POLICIES = f.DISCONNECT_POLICIES
PHASES = (0x00, 0x40, 0x80, 0xA0, 0xC0, 0xE0)
STATE_BYTES = 200_000
SHORT_RUN = 500  # instructions


def bench(seed: int) -> Rig:
    """A rig whose targets disconnect, hang and are absent now and then."""
    chance = random.Random(seed)
    rig = Rig(wide=bool(seed & 1))
    rig.memory.data[: 1 << 16] = random.Random(seed).randbytes(1 << 16)
    for peripheral in rig.chip.bus.peripherals.values():
        peripheral.policy = chance.choice(POLICIES)
        peripheral.faults.append(f.Fault(f.HANG, operation=0x28, times=2))
        peripheral.faults.append(f.Fault(f.ABSENT, times=2))
    return rig


def useful_write(rig: Rig, chance: random.Random) -> None:
    """What a driver does: so that random accesses come upon a bus that is not free."""
    action = chance.randrange(6)
    if action == 0:
        rig.write(r.SCSIID, chance.choice((0x07, 0x37, 0x97, 0x57)))
        rig.write(r.SXFRCTL1, r.ENSTIMER | (r.BITBUCKET if chance.random() < 0.2 else 0))
        rig.write(r.SCSISEQ, 0)
        rig.write(r.SCSISEQ, r.ENSELO | r.ENRSELI | chance.choice((0, r.ENAUTOATNO)))
    elif action == 1:
        rig.write(r.SXFRCTL0, r.SPIOEN)
        rig.write(r.SCSISIGO, rig.read(r.SCSISIGI) & r.PHASE_BITS)
    elif action == 2:
        for byte in chance.choice(
            (read10(9000), write10(700), inquiry(96), b"\xc1\x20\x05", b"\1\3\1\x19\x0f")
        ):
            rig.write(r.SCSIDATL, byte)
    elif action == 3:
        rig.write(r.CLRSINT1, r.CLRATNO)
    elif action == 4:
        rig.write(r.HADDR, chance.randrange(1 << 17), 4)
        rig.write(r.HCNT, chance.randrange(1 << 14), 2)
        rig.write(r.STCNT, chance.randrange(1 << 14), 2)
        rig.write(r.DFCNTRL, 0x38 | chance.randrange(8))
    else:
        rig.read(r.SCSIDATL)


def step(rig: Rig, chance: random.Random) -> int:
    """One access, or time that passes; returns what a read gave."""
    what = chance.random()
    if what < 0.02:
        rig.advance(chance.choice((10_000, 200_000, 5_000_000)))
    elif what < 0.35:
        useful_write(rig, chance)
    elif what < 0.6:
        return rig.read(chance.randrange(256), chance.choice((1, 1, 2, 4)))
    elif what < 0.8:
        rig.write(chance.choice(COMMON), chance.choice((chance.randrange(256), *PHASES)))
    else:
        rig.write(chance.randrange(256), chance.getrandbits(32), chance.choice((1, 1, 2, 4)))
    return 0


def run(seed: int, accesses: int) -> Rig:
    rig, chance = bench(seed), random.Random(seed)
    for _ in range(accesses):
        step(rig, chance)
    return rig


def size_of(chip: Aic7870) -> int:
    """About how much a chip holds, by what it would save."""
    return len(repr(chip.save()))


def still_works(rig: Rig) -> None:
    """After anything, reset and be a driver."""
    for peripheral in rig.chip.bus.peripherals.values():
        peripheral.faults.clear()
    rig.chip.set_master(True)
    rig.write(r.HCNTRL, r.CHIPRST)
    rig.write(r.HCNTRL, r.PAUSE)
    rig.write(r.SXFRCTL1, r.ENSTIMER)
    rig.write(r.SCSISEQ, r.SCSIRSTO)
    rig.write(r.SCSISEQ, 0)
    assert rig.command(inquiry(36), 0x1000, 36).status == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_access_raises_hangs_or_makes_the_chip_grow(seed: int) -> None:
    rig = run(seed, 2_000)
    assert size_of(rig.chip) < STATE_BYTES
    still_works(rig)


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_hundred_thousand_accesses(seed: int) -> None:
    rig = run(seed, 10_000)
    assert size_of(rig.chip) < STATE_BYTES
    still_works(rig)


def random_program(seed: int) -> Rig:
    """A sequencer with 512 random words, let go."""
    rig, chance = bench(seed), random.Random(seed)
    rig.write(r.SEQCTL, 0x91)
    rig.write(r.SEQADDR, 0, 2)
    for byte in chance.randbytes(2048):
        rig.write(r.SEQRAM, byte)
    rig.write(r.SEQCTL, 0xB0)  # FAILDIS: illegal words do not end it
    rig.write(r.SEQADDR, chance.randrange(512), 2)
    rig.write(r.HCNTRL, 0)
    return rig


def live_with(rig: Rig, seed: int, accesses: int) -> None:
    """Disturb a random program and start it again where it has paused."""
    chance = random.Random(seed)
    for _ in range(accesses):
        before = rig.chip.instructions
        if chance.random() < 0.3:
            rig.write(r.CLRINT, 0x1F)
            rig.write(r.SEQADDR, chance.randrange(512), 2)
            rig.write(r.HCNTRL, 0)
        else:
            step(rig, chance)
        assert rig.chip.instructions - before <= 20 * RUN_LIMIT


@pytest.mark.parametrize("seed", range(4))
def test_random_sequencer_programs(seed: int) -> None:
    rig = random_program(seed)
    live_with(rig, seed, 60)
    assert size_of(rig.chip) < STATE_BYTES
    still_works(rig)


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(1000, 1100))
def test_many_random_sequencer_programs(seed: int) -> None:
    rig = random_program(seed)
    live_with(rig, seed, 100)
    assert size_of(rig.chip) < STATE_BYTES
    still_works(rig)


@pytest.mark.verify
@pytest.mark.parametrize("seed", range(2000, 2020))
def test_a_hundred_thousand_starts_of_random_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 seeds, 10 programs each, from each of 512 addresses; what does not come to rest is cut short."""
    monkeypatch.setattr(chips, "RUN_LIMIT", SHORT_RUN)
    for number in range(10):
        rig = random_program(10 * seed + number)
        for address in range(512):
            rig.write(r.HCNTRL, r.PAUSE)
            rig.write(r.SEQCTL, 0xB0)  # no PAUSEDIS
            rig.write(r.CLRINT, 0x1F)
            rig.write(r.SEQADDR, address, 2)
            before = rig.chip.instructions
            rig.write(r.HCNTRL, 0)
            assert rig.chip.instructions - before <= SHORT_RUN
        assert size_of(rig.chip) < STATE_BYTES
        still_works(rig)


@pytest.mark.parametrize("seed", range(4))
def test_a_chip_saved_at_any_moment_goes_on_alike(seed: int) -> None:
    rig, twin = run(seed + 50, 300), bench(seed + 50)
    twin.advance(rig.time.value_ns)
    twin.memory.data[:] = rig.memory.data
    for number, peripheral in rig.chip.bus.peripherals.items():
        for fault, same in zip(peripheral.faults, twin.chip.bus.peripherals[number].faults, strict=True):
            same.times = fault.times
    twin.chip.load(rig.chip.save())
    assert twin.irq == rig.irq
    one, other = random.Random(seed), random.Random(seed)
    for _ in range(300):
        assert step(rig, one) == step(twin, other)
    assert twin.chip.save() == rig.chip.save()
    assert twin.memory.data == rig.memory.data


def make_for_contract(clock: MachineClock) -> tuple[Aic7870, list, list]:
    rig = Rig(clock)

    def connect() -> None:
        """From the start of a driver on, for the chip may have been reset."""
        rig.chip.reset()
        rig.write(r.HCNTRL, r.PAUSE)
        rig.write(r.SXFRCTL1, 0x20 | r.ENSTIMER)
        rig.select(0)

    exercises = [
        connect,
        lambda: (connect(), rig.send(0xC0, 0x20, 5)),
        lambda: (connect(), rig.send(0xC0, 0x20, 5), rig.send(*read10(600))),
        lambda: (rig.write(r.SCSISIGO, 0x40), rig.write(r.STCNT, 5), rig.write(r.DFCNTRL, 0x30)),
        lambda: rig.write(r.INTSTAT, 0x71),
    ]
    return rig.chip, [(rig.chip, 256), (rig.chip.window, 4096)], exercises


CONTRACT = [("aic7870", make_for_contract)]
