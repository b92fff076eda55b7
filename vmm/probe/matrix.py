"""The trap matrix: what became of each instruction at each level under a technique, against bare.

An instruction is right if registers, flags, selectors, memory, and the exception it raised are those of the
bare machine; else it is WRONG. How it came to be so is told by the exits it took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from vmm.cpu.decode import classify, robin_irvine
from vmm.cpu.registers import EXCEPTION_NAMES
from vmm.probe.cases import CASES, OTHERS, PRIVILEGED, Case
from vmm.probe.layout import LEVELS, Level, Observation
from vmm.probe.prober import Probe, Probed

HOW: Final = (
    # the beginning of an exit's reason, what it says; the first that is there counts
    ("hypercall.", "hypercall"),
    ("vmexit.", "VM exit"),
    ("patched.", "replaced"),
    ("cache.", "translated"),
    ("emulate.", "emulated"),
    ("reflect.", "reflected"),
    ("intercept.", "intercepted"),
)


class Cell(msgspec.Struct, frozen=True):
    """One instruction at one level under one technique."""

    instruction: str
    level: Level
    outcome: str
    how: str
    right: bool
    difference: str

    @property
    def text(self) -> str:
        """What the table shows."""
        if not self.right:
            return f"WRONG, {self.how or 'silent'}"
        return f"{self.outcome}, {self.how}" if self.how else self.outcome


class Matrix(msgspec.Struct, frozen=True):
    """All of one technique; or why there is none."""

    technique: str
    fault: str
    cells: tuple[Cell, ...]

    def rows(self) -> dict[str, list[str]]:
        """Return the texts of the levels, by instruction."""
        found: dict[str, list[str]] = {}
        for case in CASES:
            texts = {cell.level: cell.text for cell in self.cells if cell.instruction == case.key}
            found[case.key] = [texts.get(level, "") for level in LEVELS]
        return found

    def facts(self) -> dict[str, Any]:
        """Return what `--json` says of it."""
        cells = [
            {
                "instruction": cell.instruction,
                "class": class_of(cell.instruction),
                "level": cell.level,
                "outcome": cell.outcome,
                "how": cell.how,
                "right": cell.right,
                "difference": cell.difference,
            }
            for cell in self.cells
        ]
        return {"technique": self.technique, "fault": self.fault or None, "cells": cells}


def class_of(instruction: str) -> str:
    """Return `privileged`, `sensitive (PUSHF)` or `innocuous`, as the decoder has it."""
    case = next(case for case in CASES if case.key == instruction)
    if case in OTHERS:
        return "innocuous"
    return "privileged" if case in PRIVILEGED else f"sensitive ({row_of(case)})"


def row_of(case: Case) -> str:
    """Return Robin and Irvine's row of the instruction, which may stand behind some that prepare it."""
    code = case.build("CPL 0")
    for at in range(len(code)):
        name = robin_irvine(code[at:])
        if name is not None and case.key.upper().startswith(_ROW_BEGINS.get(name, name.upper())):
            return name
    return str(classify(code).name)


_ROW_BEGINS: Final = {"RET": ("RET", "IRET"), "INT n": ("INT",)}


def matrices(probes: Sequence[Probe]) -> tuple[Matrix, ...]:
    """Judge each probe by the one called bare."""
    bare: Mapping[tuple[str, Level], Probed] = {}
    for probe in probes:
        if probe.technique == "bare":
            bare = {(result.key, result.level): result for result in probe.results}
    return tuple(
        Matrix(
            probe.technique,
            probe.fault,
            tuple(_cell(result, bare[(result.key, result.level)]) for result in probe.results),
        )
        for probe in probes
    )


def _cell(result: Probed, bare: Probed) -> Cell:
    case = next(case for case in CASES if case.key == result.key)
    difference = _difference(result.seen, bare.seen, case)
    how = _how(result)
    return Cell(result.key, result.level, outcome_of(result.seen), how, not difference, difference)


def outcome_of(seen: Observation) -> str:
    """Return `runs`, the exception, or how else the run ended."""
    if seen.vector is not None:
        return EXCEPTION_NAMES.get(seen.vector, f"vector {seen.vector:02X}h")
    return {"done": "runs", "halted": "halts", "triple-fault": "triple fault"}.get(seen.ended, seen.ended)


def _how(result: Probed) -> str:
    for beginning, text in HOW:
        if any(reason.startswith(beginning) for reason in result.exits):
            return text
    return ""


def _difference(seen: Observation, bare: Observation, case: Case) -> str:
    ours, theirs = outcome_of(seen), outcome_of(bare)
    if ours != theirs:
        return f"{ours}, not {theirs}"
    found = [f"error code {seen.error:x}, not {bare.error:x}"] if seen.error != bare.error else []
    found += [
        f"{name} {seen.facts.get(name, 0):x}, not {value:x}"
        for name, value in bare.facts.items()
        if name not in case.volatile and seen.facts.get(name) != value
    ]
    if seen.operand != bare.operand:
        length = max(map(len, (seen.operand.rstrip(b"\0"), bare.operand.rstrip(b"\0"))))
        found.append(f"memory {seen.operand[:length].hex()}, not {bare.operand[:length].hex()}")
    return "; ".join(found)
