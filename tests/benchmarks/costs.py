"""What options cost: the virtual clock, the traces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks.guest import Loop, Pc
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Goal, Row
from tests.benchmarks.stock import Stock
from vmm.trace.events import ExitFilter, FilteredTracer
from vmm.trace.instructions import InstructionFilter, InstructionRecorder
from vmm.trace.text import TextTrace

US: Final = 1e6
NS: Final = 1e9
INTEGER: Final = "add eax, ebx\nrol eax, 3\nlea edx, [eax + ebx * 4]\nxor edx, esi\nsub esi, edx"
INTEGER_TURNS: Final = 20_000_000
TRACED_EXITS: Final = 5_000
TRACED_TURNS: Final = 1_000
INSTRUCTIONS: Final = 7  # of a turn of the integer loop
TRACE_GOAL: Final = Goal("ours", 2)  # half a million instructions a second


def virtual_clock(lab: Lab) -> Iterator[Row]:
    """Measure code whose blocks are counted, against code that runs free."""
    loop = Loop(INTEGER, lab.loops(INTEGER_TURNS))
    with Pc(lab.folder, clock="virtual") as counted, Pc(lab.folder) as free:
        virtual, host = lab.medians(partial(counted.time_one, loop), partial(free.time_one, loop))
    yield Row("integer loop under --clock virtual", virtual * NS, "--clock host", host * NS, "ns/turn")


def exit_trace(lab: Lab) -> Iterator[Row]:
    """Measure `--trace exits=/dev/null`, the path of the command."""
    loop = Loop("in al, 0x80", lab.loops(TRACED_EXITS))
    with Path(os.devnull).open("w") as stream:
        tracer = FilteredTracer(TextTrace(stream), ExitFilter((), frozenset(), None))
        with Pc(lab.folder, tracer=tracer) as traced, Pc(lab.folder) as quiet:
            ours, theirs = lab.medians(partial(traced.time_one, loop), partial(quiet.time_one, loop))
    yield Row("port read under --trace exits", ours * US, "untraced", theirs * US, "us")


def instruction_trace(lab: Lab) -> Iterator[Row]:
    """Measure `--trace instructions=/dev/null`, against calling Python ahead of each instruction."""
    loop = Loop(INTEGER, lab.loops(TRACED_TURNS))
    bare = Stock().with_empty_code_hook()
    with Path(os.devnull).open("w") as stream, Pc(lab.folder) as pc:
        pc.machine.trace_instructions(InstructionRecorder(TextTrace(stream), InstructionFilter()))
        ours, theirs = lab.medians(partial(pc.time_one, loop), partial(bare.time, loop))
    each, least = ours / INSTRUCTIONS * US, theirs / INSTRUCTIONS * US
    note = f"{1 / each:.3f} M instructions/s"
    yield Row("--trace instructions", each, "empty CODE hook, binding", least, "us/ins", TRACE_GOAL, note)
