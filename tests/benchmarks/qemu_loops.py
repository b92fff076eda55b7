"""Loops of a boot sector, timed on QEMU's translator and on our engine.

    python tests/benchmarks/qemu_loops.py [--runs 5] [--engine accelerated]

The loops are in `loops.asm`; the boot sector writes a letter to COM1 where each starts. Both
monitors are child processes, and the letters are stamped as they come out of their pipes. Each loop
counts with its best run: what else the host does can only make it slower.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Final

TREE: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE))  # a script has its own folder there, not the tree

from tests.guests.assets.console import ConsoleProcess  # noqa: E402
from tests.guests.assets.qemu import ide_disk, qemu  # noqa: E402
from tests.guests.assets.trapline import SERIAL_ONLY, trapline  # noqa: E402
from tests.oracles import require_tool  # noqa: E402

LOOPS: Final = (
    "integer, tight loop (400 M instructions)",
    "integer, arithmetic (1400 M instructions)",
    "copy, loads and stores (655 M instructions)",
    "copy, REP MOVSD (375 MiB)",
    "copy, REP MOVSB (94 MiB)",
    "CALL and RET (40 M pairs)",
    "PUSH and POP (60 M x 4)",
    "port reads (100,000)",
)
DISK_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 120


def boot_disk(folder: Path) -> Path:
    """Assemble the boot sector and return a raw disk that starts with it."""
    disk = folder / "loops.raw"
    source = Path(__file__).with_name("loops.asm")
    subprocess.run([require_tool("nasm"), "-f", "bin", "-o", disk, source], check=True)
    with disk.open("r+b") as file:
        file.truncate(DISK_BYTES)
    return disk


def time_loops(machine: ConsoleProcess) -> list[float]:
    """Return the seconds each loop took on a machine that was just started."""
    with machine:
        stamps = []
        at = -1
        for letter in b"ABCDEFGH.":
            at = machine.wait_for(bytes([letter]), TIMEOUT_S, at + 1)
            stamps.append(time.perf_counter())
    return [end - start for start, end in pairwise(stamps)]


def measure(runs: int, folder: Path, engine: str = "accelerated") -> list[tuple[str, float, float]]:
    """Return loop, QEMU's seconds and ours: the best of `runs` interleaved runs."""
    disk = boot_disk(folder)
    theirs, ours = [], []
    for _ in range(runs):
        theirs.append(time_loops(qemu(*ide_disk(disk, "raw"), memory_mib=64)))
        ours.append(time_loops(trapline("run", disk, "--memory", "64M", "--engine", engine, *SERIAL_ONLY)))
    columns = [[min(times) for times in zip(*side, strict=True)] for side in (theirs, ours)]
    return list(zip(LOOPS, *columns, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--engine", choices=("accelerated", "portable", "auto"), default="accelerated")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(asked.runs, Path(folder), asked.engine)
    print(f"{'loop':44} {'QEMU TCG s':>11} {'Trapline s':>11} {'ratio':>6}")
    for name, theirs, ours in rows:
        print(f"{name:44} {theirs:11.3f} {ours:11.3f} {ours / theirs:6.2f}")


if __name__ == "__main__":
    main()
