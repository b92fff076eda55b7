"""`check` of images that lie: bounded time and memory, no exception, no list without end."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disks.vhd import check_room
from disks.vhd.check import check_chain, worst
from disks.vhd.check_rules import MAX_LISTED, Severity
from tests.disks.damage import BLOCK, TABLE, Damage, in_footers, in_header, put, u32, u64

MakeVhd = Callable[..., Path]


def rules_broken(path: Path) -> dict[str, int]:
    return dict(check_chain(path)[0].findings.counts)


def test_only_so_many_findings_of_a_rule_are_listed(make_vhd: MakeVhd) -> None:
    path = make_vhd(100 * BLOCK, block_bytes=BLOCK)
    put(TABLE, u32(0) * 100)(path)
    findings = check_chain(path)[0].findings
    assert findings.counts["bat-headers"] == 100
    assert len([f for f in findings.listed if f.rule.name == "bat-headers"]) == MAX_LISTED
    assert findings.unlisted["bat-headers"] == 100 - MAX_LISTED


def test_more_blocks_than_the_file_holds_are_not_looked_at_one_by_one(make_vhd: MakeVhd) -> None:
    path = make_vhd(512 << 30, block_bytes=BLOCK)
    put(TABLE, u32(0x10_0000) * (1 << 20))(path)
    assert "bat-many" in rules_broken(path)


@pytest.mark.parametrize("damage", [in_header(28, u32(0xFFFF_FFFF)), in_footers(48, u64(2040 << 30))])
def test_a_lie_about_the_size_takes_no_memory(dynamic: Path, damage: Damage) -> None:
    damage(dynamic)
    tracemalloc.start()
    try:
        assert worst(check_chain(dynamic)) is Severity.ERROR
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_table_in_the_hole_of_a_large_file_takes_little_memory(
    dynamic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_room, "MAX_BLOCKS", 1 << 18)  # of four billion entries, looked at
    footer = dynamic.read_bytes()[:512]
    in_header(28, u32(0xFFFF_FFFF))(dynamic)
    in_header(16, u64(1 << 30))(dynamic)
    with dynamic.open("r+b") as file:
        file.seek(32 << 30)
        file.write(footer)
    tracemalloc.start()
    try:
        assert check_chain(dynamic)[0].findings.counts["bat-unused"] == (1 << 18) - 4
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3100), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_any_damage_is_survived(child: Path, damages: list[tuple[int, bytes]]) -> None:
    path = child.with_name("damaged.vhd")
    path.write_bytes(child.read_bytes())
    for offset, data in damages:
        put(offset, data)(path)
    in_header(700, b"")(path)  # only the checksum
    for level in check_chain(path):
        assert all(str(finding) for finding in level.findings.listed)
