"""The benchmark runs: every row, with tiny counts. How fast anything is, no test asserts."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, Benchmark, Missing, chosen, results
from tests.benchmarks.guest import Loop, Pc
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Goal, Row, heading, number
from tests.guests.assets.debian import TREE
from tests.oracles import MissingError

TINY = 0.002
LONG = (
    "loops",
    "linux",
    "linux-virtual-clock",
    "technique-linux",
    "disks-linux",
)  # they run programs of a fixed length


def marked(benchmark: Benchmark) -> object:
    marks = [pytest.mark.verify, pytest.mark.guest] if benchmark.name in LONG else []
    return pytest.param(benchmark, id=benchmark.name, marks=marks)


@pytest.mark.parametrize("measured", [marked(benchmark) for benchmark in BENCHMARKS])
def test_each_benchmark_gives_rows_with_a_finite_ratio(measured: Benchmark, tmp_path: Path) -> None:
    rows = list(measured.run(Lab(tmp_path, rounds=1, scale=TINY)))
    assert rows
    assert all(math.isfinite(row.ratio) and row.ratio > 0 for row in rows), rows
    assert all(len(row.what) <= 46 and row.what in row.line() for row in rows)


def test_a_loop_leaves_the_guest_once_a_turn(accelerated: str, tmp_path: Path) -> None:
    with Pc(tmp_path) as pc:
        before = pc.machine.exits
        pc.time(Loop("in al, 0x80", 50), Loop("int 0x80", 70), Loop("int 0x80", 30, "ring3"))
        after = pc.machine.exits
    assert not before
    assert after["io.in"].count == 50 + 1  # and port 92h, for A20
    assert after["software-int"].count == 70 + 30 + 1  # and the way back to ring 0


def test_a_goal_is_of_the_ratio_or_of_our_own_number() -> None:
    ratio = Row("port read", 3.0, "floor", 2.0, "us", Goal("ratio", 1.4))
    own = Row("port read", 3.0, "floor", 2.0, "us", Goal("ours", 3))
    assert (ratio.met, own.met) == (False, True)


def test_a_row_without_a_goal_is_neither_met_nor_missed() -> None:
    assert Row("port read", 3.0, "floor", 2.0, "us").met is None


def test_columns_of_a_row_stand_below_their_headings() -> None:
    line = Row("port read", 3.0, "floor", 2.0, "us", Goal("ratio", 1.4), note="a note").line()
    for name, text in (("what", "port read"), ("against", "floor"), ("met", "NO")):
        assert line.index(text) == heading().index(name)
    for name, text in (("ours", "3.00 us"), ("theirs", "2.00 us"), ("ratio", "1.50"), ("goal", "1.4x")):
        assert line.index(text) + len(text) == heading().index(name) + len(name)


def test_numbers_have_three_digits_and_no_exponent() -> None:
    assert [number(value) for value in (1234.5, 12.34, 0.01234, 0.0)] == ["1234", "12.3", "0.0123", "0.0"]


def test_quick_leaves_out_linux() -> None:
    assert {b.name for b in BENCHMARKS} - {b.name for b in chosen("", quick=True)} == {
        "linux",
        "linux-virtual-clock",
        "technique-linux",
        "disks-linux",
    }


def test_a_benchmark_whose_tool_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.startup.require_tool", _nothing_is_installed)
    (result,) = results(chosen("idle", quick=True), 1, TINY)
    assert result == Missing("idle", "no such tool")


def _nothing_is_installed(name: str) -> str:
    raise MissingError("no such tool")


def test_json_is_one_document_of_all_rows(accelerated: str) -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--json", "--only", "trap-slices"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, timeout=120, check=True)
    rows = json.loads(done.stdout)["rows"]
    assert [row["unit"] for row in rows] == ["ns/turn", "ns/turn"]
    assert all(math.isclose(row["ratio"], row["ours"] / row["theirs"]) for row in rows)


def test_a_pattern_that_names_nothing_is_refused() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--only", "nothing"]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "no benchmark matches 'nothing'; see --help\n"
