"""Whole programs against QEMU's translator: small loops, and Debian's Linux from start to end."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

from tests.benchmarks.boot_linux import GOAL, TECHNIQUE_GOALS, compare, compare_techniques, time_boot
from tests.benchmarks.lab import Lab
from tests.benchmarks.qemu_loops import measure
from tests.benchmarks.rows import Goal, Row
from tests.guests.assets.initramfs import linux_guest
from tests.guests.assets.trapline import linux_options, trapline

LOOP_GOAL: Final = Goal("ratio", 1.6)
PROMISED: Final = ("integer", "copy", "call")
TOO_SHORT: Final = "port reads"  # for stamps out of a pipe; `exits.accesses` measures ports
LOOP_RUNS: Final = 3
BOOT_RUNS: Final = 5
CLOCK_RUNS: Final = 2
TECHNIQUE_RUNS: Final = 3


def loops(lab: Lab) -> Iterator[Row]:
    """Measure the boot sector of loops.asm on both; `qemu_loops` says which of the runs counts."""
    for what, theirs, ours in measure(lab.runs(LOOP_RUNS, least=min(2, lab.rounds)), lab.folder):
        goal = LOOP_GOAL if what.lower().startswith(PROMISED) else None
        if not what.startswith(TOO_SHORT):
            yield Row(what, ours, "QEMU TCG", theirs, "s", goal)


def linux(lab: Lab) -> Iterator[Row]:
    """Boot both architectures to the kernel's last message."""
    for architecture in ("i386", "amd64"):
        times = compare(linux_guest(architecture), lab.runs(BOOT_RUNS), ("--engine", "accelerated"))
        ours, theirs = statistics.median(times.ours), statistics.median(times.theirs)
        yield Row(f"Linux {architecture}, boot to halt", ours, "QEMU TCG", theirs, "s", Goal("ratio", GOAL))


def linux_clock(lab: Lab) -> Iterator[Row]:
    """Boot with time from executed code, and with the host's."""
    command = ["run", *linux_options(linux_guest("i386"), "boot"), "--engine", "accelerated"]
    virtual, host = lab.medians(
        lambda: time_boot(lambda: trapline(*command, "--clock", "virtual")),
        lambda: time_boot(lambda: trapline(*command)),
        rounds=lab.runs(CLOCK_RUNS),
    )
    yield Row("Linux i386 under --clock virtual", virtual, "--clock host", host, "s")


def linux_techniques(lab: Lab) -> Iterator[Row]:
    """Boot bare and under each technique that brings Linux to its end, in turns."""
    times = compare_techniques(linux_guest("i386"), tuple(TECHNIQUE_GOALS), lab.runs(TECHNIQUE_RUNS))
    bare = statistics.median(times["bare"])
    for technique, goal in TECHNIQUE_GOALS.items():
        ours = statistics.median(times[technique])
        yield Row(f"Linux i386, {technique}", ours, "bare", bare, "s", Goal("ratio", goal))
