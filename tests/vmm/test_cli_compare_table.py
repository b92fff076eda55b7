"""The table of `trapline compare` in terminals of different widths."""

from __future__ import annotations

import io

import pytest

from vmm.cli.compare_table import print_comparison
from vmm.config import FULL_TECHNIQUES
from vmm.techniques.compare import Line, Outcome, compare
from vmm.trace.events import ExitCount

NAME = "SGDT, the limit it stores"


def printed() -> list[str]:
    """A comparison in which `trap` alone differs."""
    outcomes = [
        Outcome(
            technique=name,
            ended="exit",
            wall_s=1.5,
            lines=(Line(f"snare[007] {NAME} = {65535 if name == 'trap' else 63}", 0),),
            exits={"emulate.mov-to-cr3": ExitCount(1_234_567, 26_199_000_000, 380_317_000)},
        )
        for name in FULL_TECHNIQUES
    ]
    stream = io.StringIO()
    print_comparison(compare(outcomes), stream)
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_names_are_whole_at_any_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed()
    table = lines[: next(n for n, line in enumerate(lines) if "differs from bare" in line)]
    assert max(map(len, lines)) <= columns
    assert any(f"007 {NAME}" in line for line in table)
    assert not any("…" in line for line in lines)
    assert sum("65535 *" in line for line in table) == 1


def test_a_narrow_terminal_gets_groups_with_bare_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    heads = [line.split() for line in printed() if "bare" in line.split()]
    assert len(heads) > 1


def test_a_pipe_gets_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    heads = [line.split() for line in printed() if "bare" in line.split()]
    assert len([head for head in heads if "differs" not in head and "equal" not in head]) == 1
