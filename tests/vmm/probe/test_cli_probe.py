"""`trapline probe`: its table and its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

import pytest

from vmm.cli import probe as probe_module
from vmm.cli import run_command, status


@pytest.fixture(autouse=True, scope="module")
def asked_once() -> Iterator[None]:
    """Let the child work out the matrix once for all that is printed of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_module, "ask", cache(probe_module.ask))
        yield


def test_the_bare_matrix_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["probe", "--technique", "bare", "--json"]) == status.OK
    [bare] = json.loads(capsys.readouterr().out)["techniques"]

    assert bare["technique"] == "bare"
    assert bare["fault"] is None
    [cell] = [c for c in bare["cells"] if (c["instruction"], c["level"]) == ("PUSHF", "CPL 3")]
    assert cell == {
        "instruction": "PUSHF", "class": "sensitive (PUSHF)", "level": "CPL 3", "outcome": "runs", "how": "",
        "right": True, "difference": "",
    }  # fmt: skip


def test_the_bare_matrix_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["probe", "--technique", "bare"]) == status.OK
    text = capsys.readouterr().out

    assert "bare: 240 probed, 0 wrong" in text
    [row] = [line for line in text.splitlines() if line.strip().startswith("CLI ")]
    assert row.split() == ["CLI", "privileged", "runs", "#GP", "#GP", "#GP"]


def test_an_unknown_technique_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["probe", "--technique", "magic"]) == status.USAGE
    assert "expected one of bare, trap" in capsys.readouterr().err
