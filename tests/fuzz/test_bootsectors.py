"""Random boot sectors end or time out; they never end the monitor, hang it, or raise in it.

A failure leaves its disk in `regressions/`, which is replayed here ever after. To look into one:
`.venv/bin/python -m tests.fuzz.runner accelerated generated:SEED` (or `file:PATH`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from tests.fuzz import bootsectors
from tests.fuzz.known import KNOWN
from tests.fuzz.runner import REGRESSIONS, run_all
from tests.fuzz.test_ports import SEED_VARIABLE
from vmm.config import FULL_TECHNIQUES
from vmm.cpu.processor import choose_engine

ENGINES = ("accelerated", "portable")
KINDS = ("blind", "generated")
QUICK = {"blind": 8, "generated": 20}  # nearly every blind one runs into its time-out
WITH_APIC = 8
UNDER_TECHNIQUES = 6
MONITORED = sorted(name for name in FULL_TECHNIQUES if name != "bare")
ALL = {"accelerated": 1000, "portable": 200}
VIRTUAL_CLOCK = 200


def require(engine: str) -> None:
    if engine == "accelerated" and choose_engine("auto")[0] != engine:
        pytest.skip("the accelerated engine is not built here")


def guests(kind: str, first: int, number: int) -> list[str]:
    chosen = os.environ.get(SEED_VARIABLE)
    seeds: Iterable[int] = [int(chosen)] if chosen else range(first, first + number)
    return [f"{kind}:{seed}" for seed in seeds]


def survive(engine: str, sources: list[str], setup: str = "host") -> None:
    require(engine)
    failures, ends = run_all(engine, sources, setup)
    assert not failures, "\n".join(map(str, failures))
    assert sum(ends.values()) == len(sources)


@pytest.mark.quick("accelerated-host", "portable-virtual")
@pytest.mark.parametrize("clock", ["host", "virtual"])
@pytest.mark.parametrize("engine", ENGINES)
def test_guests_that_once_took_the_monitor_down_do_so_no_more(engine: str, clock: str) -> None:
    found = [f"file:{path}" for path in sorted(REGRESSIONS.glob("*.img.gz"))]
    survive(engine, [*(f"known:{name}" for name in KNOWN), *found], clock)


@pytest.mark.quick("accelerated-generated", "portable-blind")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_some_random_boot_sectors_leave_the_monitor_standing(engine: str, kind: str) -> None:
    survive(engine, guests(kind, 1, QUICK[kind]))


@pytest.mark.quick("accelerated")
@pytest.mark.parametrize("engine", ENGINES)
def test_some_random_boot_sectors_leave_a_machine_with_apics_standing(engine: str) -> None:
    survive(engine, guests("generated", 1001, WITH_APIC), "host+apic")


@pytest.mark.parametrize(
    "technique",
    [
        pytest.param(name, marks=[] if name == "translation-cache" else [pytest.mark.verify])
        for name in MONITORED
    ],
)
def test_some_random_boot_sectors_leave_every_technique_standing(technique: str) -> None:
    survive(
        "accelerated",
        [*guests("generated", 40_001, UNDER_TECHNIQUES), *guests("blind", 40_001, 2)],
        f"virtual+{technique}",
    )


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("technique", MONITORED)
@pytest.mark.parametrize("engine", ENGINES)
def test_many_random_boot_sectors_leave_every_technique_standing(
    engine: str, technique: str, kind: str
) -> None:
    if engine == "portable" and technique in ("translation-patch", "hardware-shadow"):
        pytest.skip(f"{technique} needs the accelerated engine")
    survive(
        engine,
        [f"known:{name}" for name in KNOWN] + guests(kind, 41_000, ALL["portable"]),
        f"virtual+{technique}",
    )


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_many_random_boot_sectors_leave_the_monitor_standing(engine: str, kind: str) -> None:
    survive(engine, guests(kind, 10_000, ALL[engine]))


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ENGINES)
def test_many_random_boot_sectors_leave_the_monitor_standing_under_the_virtual_clock(engine: str) -> None:
    survive(engine, guests("generated", 20_000, VIRTUAL_CLOCK), "virtual")


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("clock", ["host", "virtual"])
@pytest.mark.parametrize("engine", ENGINES)
def test_many_random_boot_sectors_leave_a_machine_with_apics_standing(engine: str, clock: str) -> None:
    survive(engine, guests("generated", 30_000, ALL["portable"]), f"{clock}+apic")


@pytest.mark.parametrize("make", [bootsectors.blind, bootsectors.generated])
def test_a_seed_always_makes_the_same_boot_sector(make: object) -> None:
    assert callable(make)
    assert make(7) == make(7) != make(8)
    assert make(7)[510:512] == b"\x55\xaa"
