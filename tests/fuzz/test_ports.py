"""No access of a guest to any port or address ever raises, or keeps the monitor busy for long."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.board import FuzzedBoard

SEED_VARIABLE = "TRAPLINE_FUZZ_SEED"  # runs this seed alone; a failure names the seed to give
LONGEST_S = 1.0  # processor time of the longest sequence, on a slow host
QUICK = 50_000
ALL = 1_000_000


def seeds(number: int) -> list[int]:
    chosen = os.environ.get(SEED_VARIABLE)
    return [int(chosen)] if chosen else list(range(1, number + 1))


def shake(seed: int, accesses: int) -> None:
    board = FuzzedBoard(seed)
    board.run(accesses)
    assert board.longest_s < LONGEST_S, f"seed {seed}"


def test_every_port_takes_every_size_both_ways() -> None:
    FuzzedBoard(0).sweep()


@pytest.mark.parametrize("seed", seeds(2))
def test_random_accesses_never_raise(seed: int) -> None:
    shake(seed, QUICK // 2)


@pytest.mark.verify
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", seeds(10))
def test_a_million_random_accesses_never_raise(seed: int) -> None:
    shake(1000 + seed, ALL // 10)


def test_a_run_can_be_replayed_from_its_seed() -> None:
    first, second = FuzzedBoard(3), FuzzedBoard(3)
    first.run(3000)
    second.run(3000)

    assert [device.save() for device in first.board.devices] == [
        device.save() for device in second.board.devices
    ]
