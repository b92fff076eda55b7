"""Every device: reset is idempotent, states survive bytes, no guest access raises."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

_spec = importlib.util.spec_from_file_location("device_contract", Path(__file__).with_name("contract.py"))
assert _spec is not None
assert _spec.loader is not None
contract: Any = importlib.util.module_from_spec(_spec)
sys.modules["device_contract"] = contract
_spec.loader.exec_module(contract)

Factory = Callable[..., Any]
CASES = contract.cases()
every_device = pytest.mark.parametrize(
    "factory", [case[1] for case in CASES], ids=[case[0] for case in CASES]
)
some_or_many = pytest.mark.parametrize("examples", [15, pytest.param(60, marks=pytest.mark.verify)])


@every_device
def test_device_has_a_name(factory: Factory) -> None:
    assert contract.Specimen(factory).device.name


@every_device
def test_reset_is_idempotent(factory: Factory) -> None:
    specimen = contract.Specimen(factory)
    for _ in specimen.states():
        specimen.device.reset()
        once = specimen.device.save()
        specimen.device.reset()
        assert specimen.device.save() == once


@every_device
def test_save_is_pure(factory: Factory) -> None:
    specimen = contract.Specimen(factory)
    for state in specimen.states():
        assert specimen.device.save() == state


@every_device
def test_exercises_reach_different_states(factory: Factory) -> None:
    states = list(contract.Specimen(factory).states())
    assert all(earlier != later for earlier, later in itertools.pairwise(states))


@every_device
def test_state_survives_bytes_and_another_device(factory: Factory) -> None:
    specimen = contract.Specimen(factory)
    for state in specimen.states():
        assert contract.restored(factory, state, specimen.time.value_ns).device.save() == state


@every_device
def test_load_rewinds_a_device_that_went_on(factory: Factory) -> None:
    specimen = contract.Specimen(factory)
    for state in list(specimen.states()):
        specimen.device.load(state)
        assert specimen.device.save() == state


@every_device
@pytest.mark.parametrize("size", contract.SIZES)
def test_every_register_takes_every_size(factory: Factory, size: int) -> None:
    specimen = contract.Specimen(factory)
    for index, (_, length) in enumerate(specimen.banks):
        for offset in range(min(length, contract.LONGEST_WALK) + 4):
            for value in (None, 0, 0xFFFF_FFFF, None):
                specimen.access(contract.Access(index, offset, size, value, 1000))


@every_device
@some_or_many
def test_no_guest_access_raises(factory: Factory, examples: int) -> None:
    @settings(max_examples=examples)
    @given(contract.accesses())
    def run(accesses: list[Any]) -> None:
        specimen = contract.Specimen(factory)
        for access in accesses:
            specimen.access(access)

    run()


def assert_restored_behaves_alike(factory: Factory, before: list[Any], after: list[Any]) -> None:
    original = contract.Specimen(factory)
    for access in before:
        original.access(access)
    state = original.device.save()
    twin = contract.restored(factory, state, original.time.value_ns)
    assert twin.device.save() == state
    assert [twin.access(access) for access in after] == [original.access(access) for access in after]


@every_device
@some_or_many
def test_a_restored_device_behaves_as_the_original(factory: Factory, examples: int) -> None:
    @settings(max_examples=examples)
    @given(contract.accesses(), contract.accesses())
    def run(before: list[Any], after: list[Any]) -> None:
        assert_restored_behaves_alike(factory, before, after)

    run()


@every_device
@pytest.mark.parametrize("seed", range(8))
def test_a_device_restored_after_a_long_run_behaves_as_the_original(factory: Factory, seed: int) -> None:
    accesses = contract.random_accesses(seed, length=300)
    assert_restored_behaves_alike(factory, accesses[:150], accesses[150:])
