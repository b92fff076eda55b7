"""Compiled paths give what the interpreter gives, to the bit."""

from __future__ import annotations

import pytest

from tests.devices.aic7870.sequencer_rig import BLOCK_ENDS, Rig, random_program

NEVER = 1 << 30


def both(seed: int, length: int, block_ends: frozenset[int] | None = BLOCK_ENDS) -> None:
    """Run a random program on both, with the host coming by in between; they agree at every stop."""
    rigs = Rig(block_ends, hot=1), Rig(block_ends, hot=NEVER)
    program = random_program(seed, length)
    for rig in rigs:
        rig.load(program)
    for visit in range(6):
        limit = (1, 3, 50, 200, 400, 7)[visit]
        executed = [rig.run(limit) for rig in rigs]
        assert executed[0] == executed[1], (seed, visit)
        assert rigs[0].state() == rigs[1].state(), (seed, visit)
        for rig in rigs:
            rig.status = seed + visit & 0xFF
            rig.registers.epoch += 1


@pytest.mark.timeout(900)
@pytest.mark.parametrize("block_ends", [BLOCK_ENDS, None])
def test_compiled_and_interpreted_agree_on_random_programs(block_ends: frozenset[int] | None) -> None:
    for seed in range(500):
        both(seed, 20, block_ends)


def test_a_return_that_reads_the_stack_by_sindir() -> None:
    """What SINDEX names is known only as it runs; STACK there pops before the return does."""
    both(44130, 64)


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 101_000, 5000))
def test_compiled_and_interpreted_agree_on_many_random_programs(first: int) -> None:
    for seed in range(first, first + 5000):
        both(seed, 64)
