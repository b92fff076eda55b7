"""The trap matrix: golden file of all techniques, and what the literature and our notes say of each."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.oracles import MissingError, require_tool
from tests.vmm.probe.golden import FILE, measure, text_of
from vmm.cpu.accel import LIBRARY
from vmm.probe.cases import CASES, PRIVILEGED, SENSITIVE
from vmm.probe.matrix import class_of
from vmm.probe.prober import find_rom


@pytest.mark.verify
def test_the_matrix_is_the_golden_one() -> None:
    if not LIBRARY.exists():
        raise MissingError(f"{LIBRARY.name} is not built (it needs a C compiler on install)")
    assert FILE.is_file(), "python -m tests.vmm.probe.golden writes it"
    assert text_of(measure()) == FILE.read_text(), "python -m tests.vmm.probe.golden rewrites it"


def test_the_rom_is_what_its_source_gives(tmp_path: Path) -> None:
    source = find_rom().with_suffix(".asm")
    made = tmp_path / "probe.bin"
    subprocess.run([require_tool("nasm"), "-f", "bin", "-o", made, source], check=True, timeout=60)

    assert made.read_bytes() == find_rom().read_bytes()


def test_each_instruction_has_its_class_and_row() -> None:
    rows = {class_of(case.key) for case in SENSITIVE}

    assert rows == {
        f"sensitive ({name})"
        for name in (
            "SGDT", "SIDT", "SLDT", "STR", "SMSW", "PUSHF", "POPF", "LAR", "LSL", "VERR", "VERW", "MOV",
            "PUSH", "POP", "CALL", "JMP", "RET", "INT n",
        )
    }  # fmt: skip
    assert {class_of(case.key) for case in PRIVILEGED} == {"privileged"}
    assert len({case.key for case in CASES}) == len(CASES)
