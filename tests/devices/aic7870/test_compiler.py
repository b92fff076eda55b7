"""Compiled paths give what the interpreter gives, to the bit."""

from __future__ import annotations

import random
from itertools import product

import pytest

from devices.aic7870.instruction import ADC, ADD, AND, JMP, alu, branch
from devices.aic7870.register_file import SCB_WINDOW, SCRATCH
from devices.aic7870.sequencer_registers import ACCUM, ALLZEROS
from tests.devices.aic7870.sequencer_rig import (
    BLOCK_ENDS,
    MOVE_SOURCES,
    MOVE_TARGETS,
    Rig,
    moves,
    random_program,
)

NEVER = 1 << 30


def both(seed: int, length: int, block_ends: frozenset[int] | None = BLOCK_ENDS) -> None:
    """Run a random program on both, with the host coming by in between; they agree at every stop."""
    rigs = Rig(block_ends, hot=seed % 4), Rig(block_ends, hot=NEVER)
    program = random_program(seed, length)
    for rig in rigs:
        rig.load(program)
    for visit in range(6):
        limit = (1, 3, 150, 200, 400, 100)[visit]
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


def test_several_bytes_at_once_are_what_single_ones_are() -> None:
    for first, to, count, how, seed in product(MOVE_SOURCES[1:], MOVE_TARGETS, (3, 8), range(6), range(2)):
        rigs = Rig(hot=0), Rig(hot=NEVER)
        for rig in rigs:
            rig.load([*moves(first, to, count, how), branch(JMP, ALLZEROS, 0, 0)])
            draw = random.Random(seed)
            for address in (*SCRATCH, *SCB_WINDOW, *range(0xF0, 0x100)):
                rig.registers.plain[address] = draw.randrange(256) & (0xFC if seed else 0xFF)
            rig.queue = bytearray(draw.randbytes(12))
            rig.store = 0x80 if seed == 1 else 0
        executed = [rig.run(300) for rig in rigs]
        assert executed[0] == executed[1], (first, to, count, how, seed)
        assert rigs[0].state() == rigs[1].state(), (first, to, count, how, seed)


def test_a_sum_of_several_bytes_is_what_single_ones_are() -> None:
    values = (0, 0xF8, 0xFFFF_FFFF, 0x7FFF_FFFF, 0x8000_0000, 0x00FF_FFFF, 0xFFFF_FF00)
    for value, number, address in product(values, (1, 8, 0xFF), (0x20, 0x22, 0x05, 0x5C, 0xA0, 0xBC)):
        rigs = Rig(hot=0), Rig(hot=NEVER)
        sums = [alu(ADC, address + at, address + at, 0) for at in range(1, 4)]
        for rig in rigs:
            rig.load([alu(AND, ACCUM, ALLZEROS, 0xFF), alu(ADD, address, address, number), *sums,
                      branch(JMP, ALLZEROS, 0, 5)])  # fmt: skip
            rig.registers.plain[address : address + 4] = value.to_bytes(4, "little")
        executed = [rig.run(150) for rig in rigs]
        assert executed[0] == executed[1], (value, number, address)
        assert rigs[0].state() == rigs[1].state(), (value, number, address)


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 101_000, 5000))
def test_compiled_and_interpreted_agree_on_many_random_programs(first: int) -> None:
    for seed in range(first, first + 5000):
        both(seed, 64)
