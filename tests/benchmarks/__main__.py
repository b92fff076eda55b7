"""`make bench`: every number we promise, against a floor or a peer measured in the same run.

Where a row gives no other choice its numbers are medians: of five interleaved rounds, or of three
with --quick. The loops against QEMU and the start of the command are the best of their runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks import (
    costs,
    exits,
    firmware,
    images,
    nbd,
    peers,
    scsi,
    sectors,
    startup,
    techniques,
    traps,
    virtio,
)
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Missing, Row, heading
from tests.oracles import MissingError


class Benchmark(NamedTuple):
    """Some rows of the table; `--quick` leaves out those that are `slow`."""

    name: str
    run: Callable[[Lab], Iterable[Row | Missing]]
    slow: bool = False


BENCHMARKS: Final = (
    Benchmark("accesses", exits.accesses),
    Benchmark("end-of-interrupt", exits.end_of_interrupt),
    Benchmark("video-memory", exits.video_memory),
    Benchmark("firmware", firmware.services),
    Benchmark("exceptions", exits.exceptions),
    Benchmark("intercepts", exits.intercepts),
    Benchmark("python-delivery", exits.delivery_in_python),
    Benchmark("sectors", sectors.sectors),
    Benchmark("aic7870", scsi.chip),
    Benchmark("sequencer", scsi.sequencer),
    Benchmark("virtio", virtio.device),
    Benchmark("nbd", nbd.copies),
    Benchmark("image-conversions", images.conversions),
    Benchmark("image-start", images.start),
    Benchmark("image-reads", images.reads),
    Benchmark("image-children", images.children),
    Benchmark("start", startup.start),
    Benchmark("idle", startup.idle),
    Benchmark("trap-stores", traps.stores),
    Benchmark("trap-slices", traps.slices),
    Benchmark("trap-busy-thread", traps.busy_thread),
    Benchmark("virtual-clock", costs.virtual_clock),
    Benchmark("trace-exits", costs.exit_trace),
    Benchmark("trace-instructions", costs.instruction_trace),
    Benchmark("technique-minimal-trap", techniques.minimal_trap),
    Benchmark("technique-flags", techniques.flags),
    *(Benchmark(name, run) for name, run in techniques.operations()),
    Benchmark("loops", peers.loops),
    Benchmark("linux", peers.linux, slow=True),
    Benchmark("linux-virtual-clock", peers.linux_clock, slow=True),
    Benchmark("technique-linux", peers.linux_techniques, slow=True),
    Benchmark("disks-linux", scsi.linux, slow=True),
)


def options() -> argparse.Namespace:
    """Read the command line."""
    names = ", ".join(benchmark.name for benchmark in BENCHMARKS)
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter loops, no Linux")
    parser.add_argument("--json", action="store_true", help="one JSON document in place of the table")
    parser.add_argument("--only", metavar="PATTERN", default="", help=f"a regular expression of: {names}")
    return parser.parse_args()


def chosen(pattern: str, quick: bool) -> list[Benchmark]:
    """Return the benchmarks that are asked for."""
    wanted = re.compile(pattern)
    return [b for b in BENCHMARKS if wanted.search(b.name) and not (quick and b.slow)]


def results(benchmarks: Iterable[Benchmark], rounds: int, scale: float) -> Iterator[Row | Missing]:
    """Run benchmarks, each in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="trapline-bench-") as bytecode, _compiled_modules_kept(bytecode):
        for benchmark in benchmarks:
            with tempfile.TemporaryDirectory(prefix="trapline-bench-") as folder:
                try:
                    yield from benchmark.run(Lab(Path(folder), rounds, scale))
                except MissingError as error:
                    yield Missing(benchmark.name, str(error))


@contextmanager
def _compiled_modules_kept(folder: str) -> Iterator[None]:
    """Let every Python started keep its bytecode, as an installed command's is, whatever the caller's way."""
    before = dict(os.environ)
    os.environ["PYTHONPYCACHEPREFIX"] = folder
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    """Print a line a row as it is measured, or all of them as JSON."""
    asked = options()
    benchmarks = chosen(asked.only, asked.quick)
    if not benchmarks:
        sys.exit(f"no benchmark matches {asked.only!r}; see --help")
    began = time.monotonic()
    found: list[Row | Missing] = []
    if not asked.json:
        print(heading(), flush=True)
    for result in results(benchmarks, *((3, 0.3) if asked.quick else (5, 1.0))):
        found.append(result)
        if not asked.json:
            line = result.line() if isinstance(result, Row) else f"NOT RUN: {result.name}: {result.why}"
            print(line, flush=True)
    rows = [result for result in found if isinstance(result, Row)]
    missing = [result for result in found if isinstance(result, Missing)]
    if asked.json:
        facts = {"host": _host(), "rows": [row.facts() for row in rows], "not_run": dict(missing)}
        print(json.dumps(facts, indent=1))
    else:
        goals = [row.met for row in rows if row.met is not None]
        print(f"{sum(goals)} of {len(goals)} goals met, in {time.monotonic() - began:.0f} s on {_host()}")


def _host() -> str:
    cores = f"{os.cpu_count()} processors ({platform.machine()})"
    return f"{cores}, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
