"""Operations of a guest's kernel under every technique: exits, modelled cycles and host time of each.

The suite is that of Adams and Agesen's nanobenchmarks and a few of our own. Every row is measured in turns
with the floor: INT n on a bare engine with an empty callback, the least that an event of the engine costs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from tests.benchmarks.guest import Loop, Measured, Mode, Pc
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Goal, Missing, Row
from tests.benchmarks.stock import Stock
from vmm.config import FULL_TECHNIQUES
from vmm.techniques.para.abi import VERSION

US: Final = 1e6
TURNS: Final = 3_000
FLOOR: Final = "INTR hook, bare callback"
TRAP_GOAL: Final = Goal("added", 3)  # over the engine's own floor
CACHE_GOAL: Final = Goal("ratio", 1)

# Paging: all below 4 MiB as it is, but for the page ABSENT
PAGING: Final = """
    mov edi, 0x21000
    mov eax, 7
    mov ecx, 1024
.entry: stosd
    add eax, 0x1000
    loop .entry
    mov dword [0x21000 + 0x200 * 4], 0
    mov dword [0x20000], 0x21007
    mov eax, 0x20000
    mov cr3, eax
    mov ebx, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
    jmp .paged
.paged: mov esi, 0x200000       ; ABSENT
    mov edi, 0x101000           ; present
    mov edx, 0x21000 + 0x101 * 4 ; its entry
    mov eax, 0x101067
"""
# A page fault skips its two bytes
PAGE_FAULT: Final = """
    jmp past_handler
page_fault: add esp, 4
    add dword [esp], 2
    iretd
past_handler:
    gate 0x0e, page_fault, 0x8e00
"""
UNDEFINED: Final = """
    jmp past_undefined
undefined: add dword [esp], 3
    iretd
past_undefined:
    gate 0x06, undefined, 0x8e00
"""
HYPERCALLS: Final = f"""{UNDEFINED}
    mov eax, 0x40000000
    cpuid
    cmp ebx, "Trap"
    jne bare
    mov ecx, 0x40000000                 ; the hypercall page
    mov eax, 0x30000
    xor edx, edx
    wrmsr
bare:
"""
QUIET: Final = """
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
"""
TIMER: Final = """
    jmp past_tick
tick: push eax
    mov al, 0x20
    out 0x20, al
    pop eax
    iretd
past_tick:
    gate 0x20, tick, 0x8e00
    mov al, 0x11
    out 0x20, al
    mov al, 0x20
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    mov al, 0xa9
    out 0x40, al
    mov al, 4
    out 0x40, al
"""
MANY: Final = 64


class Operation(NamedTuple):
    """One operation; `turns` in units of TURNS, `virtual` under the virtual clock, which does not sleep."""

    name: str
    body: str
    setup: str = ""
    mode: Mode = "ring0"
    turns: float = 1
    virtual: bool = False


OPERATIONS: Final = (
    Operation("syscall", "int 0x80", mode="ring3"),
    Operation("in", "in al, 0x80"),
    Operation("out", "out 0x80, al"),
    Operation("cr3-write", "mov cr3, ebx", PAGING),
    Operation("cr0-write", "xor eax, 8\nmov cr0, eax", "mov eax, cr0"),
    Operation("call-ret", "call leaf", "jmp past_leaf\nleaf: ret\npast_leaf:", turns=20),
    Operation("page-fault", "mov al, [esi]", PAGE_FAULT + PAGING),
    Operation("hidden-page-fault", "invlpg [edi]\nmov cl, [edi]", PAGING),
    Operation("divide-error", "div ecx", "xor ecx, ecx"),
    Operation("pte-write", "mov [edx], eax\ninvlpg [edi]", PAGING),
    Operation(
        "pte-write-64",
        "\n".join([f"mov [0x21000 + {0x101 + n} * 4], eax\nadd eax, 0x1000" for n in range(MANY)])
        + f"\nsub eax, {MANY} * 0x1000\nmov cr3, ebx",
        PAGING,
        turns=0.2,
    ),
    Operation("cpuid", "xor eax, eax\ncpuid", "push ebx"),
    Operation("popf-sti", "push dword 2\npopf\nsti", QUIET),
    Operation("cli-sti", "cli\nsti", QUIET, turns=4),
    Operation("pushf-popf", "pushf\ncli\npopf", QUIET),
    Operation("hlt-wake-up", "sti\nhlt", TIMER, turns=0.1, virtual=True),
    Operation("hypercall", f"mov eax, {VERSION}\nxor ebx, ebx\nvmcall", HYPERCALLS),
)


def rows_of(operation: Operation, lab: Lab) -> Iterator[Row | Missing]:
    """Measure one operation under every technique, and the floor."""
    floor = Stock().with_callbacks()
    event = Loop("int 0x80", lab.loops(TURNS))
    count = lab.loops(int(TURNS * operation.turns))
    loop = Loop(operation.body, count, operation.mode, operation.setup)
    for technique in FULL_TECHNIQUES:
        measured, floors = [], []
        why = ""
        clock = "virtual" if operation.virtual else "host"
        try:
            with Pc(lab.folder, clock=clock, technique=technique) as pc:  # type: ignore[arg-type]
                for _ in range(lab.rounds):
                    measured.append(pc.measure(loop))
                    floors.append(floor.time(event))
        except AssertionError as error:
            why = " ".join(str(error).split())[:160]
        what = f"{operation.name}, {technique}"
        if why:
            yield Missing(what, why)
        else:
            yield _row(what, measured, statistics.median(floors))


def _row(what: str, measured: list[Measured], floor: float) -> Row:
    ours = statistics.median(entry.seconds for entry in measured)
    last = measured[-1]
    note = f"{last.exits:.2f} exits, {last.cycles:,.0f} cycles"
    return Row(what, ours * US, FLOOR, floor * US, "us", note=note)


def operations() -> list[tuple[str, Callable[[Lab], Iterator[Row | Missing]]]]:
    """Return a benchmark an operation, by name."""
    return [(f"technique-{entry.name}", partial(rows_of, entry)) for entry in OPERATIONS]


def minimal_trap(lab: Lab) -> Iterator[Row]:
    """Measure a privileged instruction under trap, decode cached and no trace, beside the floor."""
    floor = Stock().with_callbacks()
    trapped = Loop("cli", lab.loops(TURNS))
    event = Loop("int 0x80", lab.loops(TURNS))
    with Pc(lab.folder, technique="trap") as pc:
        pc.time(trapped)
        ours, least = lab.medians(partial(pc.time_one, trapped), partial(floor.time, event))
    note = f"{(ours - least) * US:+.2f} us over the floor"
    yield Row("CLI under trap", ours * US, FLOOR, least * US, "us", TRAP_GOAL, note)


def flags(lab: Lab) -> Iterator[Row]:
    """Measure CLI and STI in the translation cache, against trapping on each."""
    loop = Loop("cli\nsti", lab.loops(TURNS * 4), setup=QUIET)
    with (
        Pc(lab.folder, technique="translation-cache") as cache,
        Pc(lab.folder, technique="trap") as trap,
    ):
        ours, theirs = lab.medians(partial(cache.time_one, loop), partial(trap.time_one, loop))
    yield Row("CLI and STI, translation-cache", ours * US, "trap", theirs * US, "us", CACHE_GOAL)
