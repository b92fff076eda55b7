"""The probe by technique, one sentence of the manuals or of our notes a test; each technique probed once."""

from __future__ import annotations

from functools import cache

import pytest

from tests.oracles import MissingError
from vmm.config import FULL_TECHNIQUES, MachineConfig
from vmm.cpu import engine as engine_module
from vmm.cpu.accel import LIBRARY
from vmm.probe import prober
from vmm.probe.cases import CASES, PRIVILEGED, SENSITIVE
from vmm.probe.layout import LEVELS
from vmm.probe.matrix import Matrix, matrices
from vmm.probe.prober import Probe, find_rom, probe


@cache
def probed(technique: str) -> Probe:
    if not LIBRARY.exists():
        raise MissingError(f"{LIBRARY.name} is not built (it needs a C compiler on install)")
    return probe(MachineConfig(bios=str(find_rom()), **FULL_TECHNIQUES[technique]))  # type: ignore[arg-type]


@cache
def matrix(technique: str) -> Matrix:
    return matrices([probed("bare"), probed(technique)])[1]


def cell(technique: str, instruction: str, level: str) -> str:
    [one] = [c for c in matrix(technique).cells if (c.instruction, c.level) == (instruction, level)]
    return one.text


def test_on_the_bare_machine_everything_is_right_by_definition() -> None:
    assert all(cell.right for cell in matrix("bare").cells)
    assert len(matrix("bare").cells) == len(LEVELS) * 60


@pytest.mark.parametrize("level", ["CPL 1", "CPL 3"])
def test_privileged_instructions_fault_outside_ring_0(level: str) -> None:
    texts = {case.key: cell("bare", case.key, level) for case in PRIVILEGED}

    assert texts.pop("RDPMC") == "#GP, intercepted"  # which the engine does not have
    assert set(texts.values()) == {"#GP"}


@pytest.mark.parametrize("level", ["CPL 1", "CPL 3"])
def test_sensitive_instructions_run_outside_ring_0_without_a_fault(level: str) -> None:
    """Popek and Goldberg's condition does not hold: performance.md §3.4."""
    silent = [case.key for case in SENSITIVE if cell("bare", case.key, level) == "runs"]

    assert {case.key for case in SENSITIVE} == set(silent)


@pytest.mark.parametrize(
    "instruction", ["CLI", "STI", "PUSHF", "POPF, setting IF", "INT n", "IRET, setting IF"]
)
def test_vm86_with_iopl_0_traps_what_touches_the_interrupt_flag(instruction: str) -> None:
    assert cell("bare", instruction, "VM86") == "#GP"


@pytest.mark.parametrize("instruction", ["LAR", "LSL", "VERR", "VERW", "SLDT", "STR", "LLDT", "LTR"])
def test_vm86_has_no_instructions_on_descriptors(instruction: str) -> None:
    assert cell("bare", instruction, "VM86") == "#UD"


@pytest.mark.parametrize("case", PRIVILEGED, ids=lambda case: case.key)
def test_trap_and_emulate_gets_every_privileged_instruction_of_the_kernel_right(case: object) -> None:
    assert not cell("trap", case.key, "CPL 0").startswith("WRONG")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "instruction",
    ["SGDT", "SIDT", "STR", "PUSHF", "POPF, setting IF", "POPF, setting IOPL", "LAR", "MOV from CS",
     "PUSH CS", "MOV from SS", "PUSH SS"],
)  # fmt: skip
def test_trap_and_emulate_goes_wrong_silently_where_robin_and_irvine_say(instruction: str) -> None:
    assert cell("trap", instruction, "CPL 0") == "WRONG, silent"


@pytest.mark.parametrize(
    "instruction",
    ["SGDT", "SIDT", "SLDT", "STR", "PUSHF", "POPF, setting IF", "LAR", "MOV from CS", "PUSH CS"],
)
def test_translation_replaces_what_trap_and_emulate_gets_wrong(instruction: str) -> None:
    assert cell("translation-patch", instruction, "CPL 0") == "runs, replaced"


@pytest.mark.parametrize("case", SENSITIVE, ids=lambda case: case.key)
def test_under_hardware_assistance_the_kernel_is_in_ring_0_and_sees_itself(case: object) -> None:
    assert not cell("hardware-nested", case.key, "CPL 0").startswith("WRONG")  # type: ignore[attr-defined]


@pytest.mark.parametrize("technique", ["hardware-shadow", "hardware-nested"])
def test_a_block_hook_is_laid_anew_after_a_reset(technique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unicorn walks the tables then, with a TR that is not the last run's: that is no task switch."""
    monkeypatch.setattr(engine_module, "HOOK_AGE_NS", 0)
    monkeypatch.setattr(prober, "CASES", CASES[:2])
    found = prober.probe(MachineConfig(bios=str(find_rom()), **FULL_TECHNIQUES[technique]))  # type: ignore[arg-type]
    assert [result.seen.ended for result in found.results if result.level == "CPL 0"] == ["done", "done"]
