"""Random guests under techniques and bare: the same lines. `random_guest` says what they are made of.

To look into one: `python -m tests.guests.random_guest SEED` prints its source.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.random_guest import source_of
from tests.guests.technique_rig import FULL, assemble, require_engine, run_image

pytestmark = pytest.mark.guest

QUICK = range(1, 4)
ALL = range(1000, 1200)


def compare(seeds: range, technique: str, engine: str, folder: Path) -> None:
    """Assert that a technique shows what bare shows, for every seed."""
    require_engine(engine, technique)
    source = folder / "guest.asm"
    for seed in seeds:
        source.write_text(source_of(seed))
        image = assemble(str(source))
        wanted = run_image(image, "bare", engine, folder)
        found = run_image(image, technique, engine, folder)
        assert wanted.reason == "exit", f"seed {seed}"
        assert (found.reason, found.lines) == (wanted.reason, wanted.lines), f"seed {seed}"


@pytest.mark.verify
@pytest.mark.parametrize("technique", FULL)
def test_some_random_guests_see_no_difference_from_bare(technique: str, tmp_path: Path) -> None:
    compare(QUICK, technique, "accelerated", tmp_path)


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("technique", FULL)
def test_many_random_guests_see_no_difference_from_bare(technique: str, tmp_path: Path) -> None:
    compare(ALL, technique, "accelerated", tmp_path)


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("technique", FULL)
def test_random_guests_see_no_difference_on_the_portable_engine(technique: str, tmp_path: Path) -> None:
    compare(range(2000, 2030), technique, "portable", tmp_path)
