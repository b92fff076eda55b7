"""The trap matrix as text, for tests/vmm/probe/matrix.txt. Rewrite it: python -m tests.vmm.probe.golden"""

from __future__ import annotations

import sys
from pathlib import Path

from vmm.config import FULL_TECHNIQUES, MachineConfig
from vmm.probe.layout import LEVELS
from vmm.probe.matrix import Matrix, matrices
from vmm.probe.prober import find_rom, probe

FILE = Path(__file__).with_name("matrix.txt")


def measure() -> tuple[Matrix, ...]:
    """Probe every technique, in this process."""
    rom = str(find_rom())
    return matrices([probe(MachineConfig(bios=rom, **changes)) for changes in FULL_TECHNIQUES.values()])  # type: ignore[arg-type]


def text_of(found: tuple[Matrix, ...]) -> str:
    """Return the matrix, a line an instruction and technique, and the differences below."""
    lines = []
    for matrix in found:
        lines.append(f"== {matrix.technique}{': ' if matrix.fault else ''}{matrix.fault}")
        lines.append(" | ".join(["instruction".ljust(24), *(level.ljust(18) for level in LEVELS)]).rstrip())
        for instruction, texts in matrix.rows().items():
            lines.append(" | ".join([instruction.ljust(24), *(text.ljust(18) for text in texts)]).rstrip())
        lines += [f"{c.instruction}, {c.level}: {c.difference}" for c in matrix.cells if not c.right]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    FILE.write_text(text_of(measure()))
    sys.stdout.write(f"{FILE} written\n")
