"""Chains laid over each other: every sector comes from the first level that holds it, or is zeros."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disks.vhd import layers
from disks.vhd.layers import resolve

GRAIN = 8  # sectors that a level calls present at once


@dataclass(eq=False)
class SetLevel:
    """A level that holds a set of sectors; sector n lies at offset 1024 n of its file."""

    sectors: int
    holds: frozenset[int]
    file: object = field(default_factory=object)

    @property
    def size_bytes(self) -> int:
        return self.sectors * 512

    def held(self, lba: int, sectors: int) -> int:
        assert lba + sectors <= self.sectors or not sectors
        return int("0" + "".join(str(int(at in self.holds)) for at in range(lba, lba + sectors)), 2)

    def first_held(self, lba: int, end: int) -> int:
        assert end <= self.sectors
        present = {at // GRAIN for at in self.holds}
        return next((at for at in range(lba, end) if at // GRAIN in present), end)

    def offsets(self, lba: int, sectors: int) -> list[tuple[int, int]]:
        assert self.holds.issuperset(range(lba, lba + sectors))
        return [(1, at * 1024) for at in range(lba, lba + sectors)]


def owner(chain: list[SetLevel], lba: int) -> tuple[object, int, int]:
    for number, level in enumerate(chain):
        if lba >= level.sectors:
            return None, 0, number
        if lba in level.holds:
            return level.file, lba * 1024, number
    return None, 0, len(chain) - 1


@st.composite
def chains(draw: st.DrawFn) -> list[SetLevel]:
    sizes = draw(st.lists(st.integers(1, 90), min_size=1, max_size=4))
    return [SetLevel(size, draw(st.frozensets(st.integers(0, size - 1), max_size=30))) for size in sizes]


@settings(max_examples=300, deadline=None)
@given(chain=chains(), first=st.integers(0, 89), window=st.sampled_from((1, 7, 64)))
def test_every_sector_comes_from_the_first_level_that_holds_it(
    chain: list[SetLevel], first: int, window: int
) -> None:
    first = min(first, chain[0].sectors - 1)
    total = chain[0].sectors - first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "_WINDOW_SECTORS", window)
        found = resolve(chain, first, total)  # type: ignore[arg-type]
    assert sum(extent.sectors for extent in found) == total
    lba = first
    for extent in found:
        for at in range(extent.sectors):
            file, offset, level = owner(chain, lba + at)
            assert extent.file is file
            if file is None:
                continue
            assert (extent.offset + at * 512 if extent.sectors == 1 else extent.offset) == offset
            assert extent.level == level
        lba += extent.sectors


def test_zeros_are_one_extent_and_name_the_deepest_level_asked() -> None:
    long, short = SetLevel(100, frozenset()), SetLevel(40, frozenset())
    (extent,) = resolve([long, short, SetLevel(100, frozenset())], 40, 60)  # type: ignore[list-item]
    assert (extent.sectors, extent.file, extent.level) == (60, None, 1)
    (extent,) = resolve([long, SetLevel(100, frozenset({0}))], 8, 32)  # type: ignore[list-item]
    assert (extent.sectors, extent.file, extent.level) == (32, None, 1)


def test_neighbours_in_the_result_are_merged() -> None:
    level = SetLevel(64, frozenset(range(64)))
    level.offsets = lambda lba, sectors: [(sectors, lba * 512)]  # type: ignore[method-assign]
    found = resolve([level], 3, 50)  # type: ignore[list-item]
    assert [(extent.sectors, extent.offset) for extent in found] == [(50, 3 * 512)]
    assert all(not first.leads_to(second) for first, second in pairwise(found))
