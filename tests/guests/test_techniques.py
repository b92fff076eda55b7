"""Snare's self-test under every technique: the bare machine's array, or under trap exactly what is listed.

`guests/snare/trap.txt` lists the elements that trap-and-emulate gets wrong, and what it gives for each; the
page docs/techniques/trap.md says why.
"""

from __future__ import annotations

from typing import Final

import pytest

from guests.snare import build
from tests.guests.assets.snare import ARRAY, LIMIT_S, array
from tests.guests.technique_rig import require_engine
from vmm.config import FULL_TECHNIQUES, MachineConfig
from vmm.machine import Machine
from vmm.techniques.exits import Finding

pytestmark = pytest.mark.guest

TRAP: Final = (build.HERE / "trap.txt").read_text().splitlines()
EQUAL: Final = tuple(name for name in FULL_TECHNIQUES if name not in ("bare", "trap"))
QUICK: Final = "accelerated"
engines = pytest.mark.parametrize(
    "engine", [QUICK, pytest.param("portable", marks=pytest.mark.verify)]
)  # fmt: skip


def self_test(technique: str, engine: str) -> tuple[list[str], int | None, list[Finding]]:
    """Run Snare to the end of its self-test; return its lines, its verdict and the violations named."""
    require_engine(engine, technique)
    kernel = build.PARA_KERNEL if technique == "para" else build.KERNEL
    config = MachineConfig(
        kernel=str(kernel),
        initrd=(str(build.FILES),),
        append="exit",
        engine=engine,  # type: ignore[arg-type]
        clock="virtual",
        **FULL_TECHNIQUES[technique],  # type: ignore[arg-type]
    )
    with Machine(config) as machine:
        result = machine.run(timeout_s=LIMIT_S)
        assert result.reason == "exit", machine.serial_output(0).decode()
        return array(machine.serial_output(0)), result.exit_code, machine.technique.findings


def differences(lines: list[str]) -> list[str]:
    """Return the elements that are not the bare machine's, without what was expected of them."""
    return [line.partition(" <- ")[0] for line in lines if line.startswith("snare[") and line not in ARRAY]


@engines
@pytest.mark.parametrize("technique", EQUAL)
def test_array_is_that_of_the_bare_machine(technique: str, engine: str) -> None:
    lines, verdict, findings = self_test(technique, engine)
    assert lines == ARRAY
    assert verdict == 0
    assert not findings


@engines
def test_array_under_trap_differs_exactly_where_it_is_said(engine: str) -> None:
    lines, verdict, findings = self_test("trap", engine)
    assert differences(lines) == TRAP
    assert len(lines) == len(ARRAY)
    assert verdict == 1
    named = {finding.name for finding in findings}
    assert named >= {"SGDT", "SIDT", "STR", "PUSHF", "POPF", "LAR", "MOV", "PUSH", "CALL", "RET"}
