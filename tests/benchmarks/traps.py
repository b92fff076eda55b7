"""Unicorn's speed traps: each with our work-around, and as the engine comes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from tests.benchmarks.costs import INSTRUCTIONS, INTEGER
from tests.benchmarks.guest import Loop, Pc
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Row
from tests.benchmarks.stock import Stock

NS: Final = 1e9
US: Final = 1e6
TURNS: Final = 1_000_000
SLICED_TURNS: Final = 1_000_000
ACCESSES_BESIDE: Final = 300_000  # longer than a thread may keep the interpreter, 5 ms
BARE_BESIDE_S: Final = 0.5

STORES: Final = "mov [edi], eax\nmov [edi + 4], ecx\nmov [edi + 8], eax\nmov [edi + 12], ecx"
TRAPS: Final = (
    ("4 stores: only code pages on the slow path", Loop(STORES, TURNS, setup="mov edi, 0x100000")),
    ("2 PUSH and 2 POP, the same", Loop("push eax\npush ecx\npop ecx\npop eax", TURNS)),
    ("CALL and RET, the same", Loop("call leaf", TURNS, setup="jmp past\nleaf: ret\npast:")),
)


def stores(lab: Lab) -> Iterator[Row]:
    """Measure stores, which Unicorn all sends through a helper that looks for translated code."""
    stock = Stock()
    with Pc(lab.folder) as pc:
        for what, trap in TRAPS:
            loop = Loop(trap.body, lab.loops(trap.count), setup=trap.setup)
            ours, theirs = lab.medians(partial(pc.time_one, loop), partial(stock.time, loop))
            yield Row(what, ours * NS, "stock Unicorn", theirs * NS, "ns/turn")


def slices(lab: Lab) -> Iterator[Row]:
    """Measure code stopped by deadline, against code stopped by `count=` as the portable engine must."""
    loop = Loop(INTEGER, lab.loops(SLICED_TURNS))
    stock = Stock()
    with Pc(lab.folder) as fast, Pc(lab.folder, "portable") as sliced:
        ours, counted, plain = lab.medians(
            partial(fast.time_one, loop), partial(sliced.time_one, loop), partial(stock.time, loop)
        )
    what = "integer loop, accelerated"
    note = f"{INSTRUCTIONS / ours / 1e6:.0f} and {INSTRUCTIONS / counted / 1e6:.0f} MIPS"
    yield Row(what, ours * NS, "portable: count= slices", counted * NS, "ns/turn", note=note)
    yield Row(what, ours * NS, "stock Unicorn, never stopped", plain * NS, "ns/turn")


def busy_thread(lab: Lab) -> Iterator[Row]:
    """Measure port reads while another Python thread computes: who lets go of the interpreter waits."""
    loop = Loop("in al, 0x80", lab.loops(ACCESSES_BESIDE))
    seconds = BARE_BESIDE_S * lab.scale
    with Pc(lab.folder) as pc, _busy():
        ours, theirs = lab.medians(partial(pc.time_one, loop), lambda: Stock().port_reads_for(seconds))
    what = "port read beside a busy Python thread"
    yield Row(what, ours * US, "bare callback beside it", theirs * US, "us")


@contextmanager
def _busy() -> Iterator[None]:
    done = False

    def compute() -> None:
        while not done:
            sum(range(100))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        done = True
        thread.join()
