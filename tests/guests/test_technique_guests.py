"""What a Linux boot does not exercise, in small guests of ours: techniques against bare, line by line.

They are in `techniques/`. Under trap-and-emulate lines may differ, and then a finding says where and why.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest

from devices.backplane import TraceEvent
from tests.guests.technique_rig import (
    FULL,
    SOURCES,
    TIMEOUT_S,
    Outcome,
    config_of,
    image_of,
    require_engine,
    run_guest,
)
from vmm.cpu import engine as engine_module
from vmm.machine import Machine
from vmm.trace.events import Exit, Violation

pytestmark = pytest.mark.guest

# Each guest, and one of its lines whose value the manuals give, so that nothing agrees on nonsense
GUESTS: Final = {
    "vm86": "virtual-flags 00000200",
    "ldt": "new-base 99aabbcc",
    "stack16": "user 0000e000",  # the upper half of ESP is the kernel's
    "fastcall": "calls 000001f4",
    "tasks": "error-code 0000fff8",
    "gdt": "through-an-alias aaaa5010",
    "paging": "over-two-pages f0201234",
    "pae": "beyond-4-gib ffffffff",
    "smc": "copies 000002fd",
    "step": "in-the-shadow 00000000",
    "ports": "ports",
    "nmi": "order 00000012",
    "dma": "last-byte 00000022",
    "a20": "on-2 00000002",
    "lbit": "turned-64-bit 00000000",
    "ldtlimit": "loaded 00001004",
    "ring1": "ring-0 00000008",
    "hole": "last 60000000",
    "known": "marked 000f9b00",
}
ENGINES: Final = ("accelerated", "portable")
QUICK: Final = "accelerated"
NMI: Final = b"nmi-please"
OFTEN_TECHNIQUES: Final = ("translation-cache", "hardware-nested")
OFTEN_GUESTS: Final = ("smc", "dma", "lbit")
_bare: dict[tuple[str, str], Outcome] = {}


def cases(techniques: tuple[str, ...]) -> list[object]:
    """Every guest under every technique on every engine; `make test` has those of two, and three of all."""
    return [
        pytest.param(
            name,
            technique,
            engine,
            marks=[]
            if engine == QUICK and (technique in OFTEN_TECHNIQUES or name in OFTEN_GUESTS)
            else [pytest.mark.verify],
        )
        for name in GUESTS
        for technique in techniques
        for engine in ENGINES
    ]


def under_trap() -> dict[str, tuple[str, list[str]]]:
    """How each guest ends and what it says where its sensitive instructions mislead it, from a file."""
    found: dict[str, tuple[str, list[str]]] = {}
    for line in (SOURCES / "trap.txt").read_text().splitlines():
        if line.startswith("== "):
            _, name, reason = line.split()
            lines: list[str] = []
            found[name] = reason, lines
        else:
            lines.append(line)
    return found


def bare(name: str, engine: str, folder: Path) -> Outcome:
    """Run a guest without a monitor, once a session."""
    key = name, engine
    if key not in _bare:
        outcome = run_guest(name, "bare", engine, folder, NMI)
        assert outcome.reason == "exit"
        assert GUESTS[name] in outcome.lines
        assert outcome.lines[-1] == "done"
        _bare[key] = outcome
    return _bare[key]


@pytest.mark.parametrize(("name", "technique", "engine"), cases(FULL))
def test_guest_sees_no_difference_from_bare(name: str, technique: str, engine: str, tmp_path: Path) -> None:
    require_engine(engine, technique)
    wanted = bare(name, engine, tmp_path)
    found = run_guest(name, technique, engine, tmp_path, NMI)
    assert found.lines == wanted.lines
    assert found.reason == "exit"
    assert not found.findings


@pytest.mark.parametrize(("name", "technique", "engine"), cases(("trap",)))
def test_what_trap_and_emulate_shows_wrongly_is_named(
    name: str, technique: str, engine: str, tmp_path: Path
) -> None:
    require_engine(engine, technique)
    wanted = bare(name, engine, tmp_path)
    found = run_guest(name, technique, engine, tmp_path, NMI, timeout_s=5)
    assert found.lines == wanted.lines or found.findings
    if (technique, engine) == ("trap", QUICK):
        reason, lines = under_trap()[name]
        assert found.reason == reason
        assert found.lines == (lines if reason == "exit" else lines[: len(found.lines)])


@pytest.mark.verify
@pytest.mark.parametrize("technique", FULL)
@pytest.mark.parametrize("name", ["smc", "paging"])
def test_a_long_run_is_no_different_from_a_short_one(
    name: str, technique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine lays its block hook anew from time to time, when pages it was in may be gone."""
    require_engine(QUICK, technique)
    wanted = bare(name, QUICK, tmp_path)
    monkeypatch.setattr(engine_module, "HOOK_AGE_NS", 0)
    assert run_guest(name, technique, QUICK, tmp_path).lines == wanted.lines


def test_a_trace_has_each_finding_once_where_it_happened(tmp_path: Path) -> None:
    require_engine(QUICK, "trap")
    disk = tmp_path / "disk.img"
    disk.write_bytes(image_of("lbit"))
    events: list[TraceEvent] = []
    with Machine(config_of(disk, "trap", QUICK)) as machine:
        machine.trace_exits(SimpleNamespace(emit=events.append))
        machine.run(timeout_s=TIMEOUT_S)
        findings = machine.technique.findings
    told = [number for number, event in enumerate(events) if isinstance(event, Violation)]
    assert [events[number].linear for number in told] == [finding.linear for finding in findings]
    assert findings
    assert any(isinstance(event, Exit) for event in events[told[-1] :])  # not at the end


@pytest.mark.parametrize("technique", ["trap", "translation-patch", "translation-cache", "para"])
def test_long_mode_is_refused_and_said(technique: str, tmp_path: Path) -> None:
    require_engine(QUICK, technique)
    assert run_guest("long", "bare", QUICK, tmp_path).lines == ["rL"]
    outcome = run_guest("long", technique, QUICK, tmp_path)
    assert (outcome.reason, outcome.lines) == ("unsupported", ["r"])
