"""Random histories of images and chains: a bytearray is the model, 7-Zip, QEMU and libvhdi are the judges."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.disks.vhd_machine import Histories, WithQemu

pytestmark = pytest.mark.oracle
MACHINES = [Histories, WithQemu]


def run(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    bounds = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=bounds)


@pytest.mark.quick("WithQemu")
@pytest.mark.parametrize("machine", MACHINES)
def test_every_history_leaves_what_was_written(machine: type[RuleBasedStateMachine]) -> None:
    run(machine, examples=4, steps=12)


@pytest.mark.verify
@pytest.mark.parametrize("machine", MACHINES)
def test_every_history_leaves_what_was_written_at_length(machine: type[RuleBasedStateMachine]) -> None:
    run(machine, examples=300, steps=20)
