"""What a run says at its end: why it ended, the registers of a crash, the exit table, JSON."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec

from vmm.cpu.registers import SEGMENT_NAMES
from vmm.trace.events import ExitCount
from vmm.trace.table import exit_rows, print_exits
from vmm.trace.text import time_text

if TYPE_CHECKING:
    from vmm.cpu.ring import ExitRecord
    from vmm.techniques.exits import Finding

SHOWN_RECORDS: Final = 32
SHOWN_FINDINGS: Final = 40
REGISTERS_A_LINE: Final = 4
FALLBACK_COLUMNS: Final = 80


def record_line(record: ExitRecord) -> str:
    """Return one remembered exit as a line; the bytes at CS:IP are no longer known."""
    from vmm.cpu.engine import Kind
    from vmm.exits import reason_of

    try:
        kind = Kind(record.kind)
        reason = reason_of(kind, record.a)
    except (ValueError, KeyError):
        return f"{time_text(record.time_ns)}  unreadable record, kind {record.kind}"
    reason, what = _described(kind.name, reason, record.a, record.b)
    where = f"{record.cs:04x}:{record.ip:08x}"
    return f"{time_text(record.time_ns)}  {where:<15} ring {record.cpl}  {reason:<20} {what}".rstrip()


def _described(kind: str, reason: str, a: int, b: int) -> tuple[str, str]:
    """Return the reason, firmware services told apart from other ports, and the numbers in words."""
    from vmm.firmware.stubs import TRAP_PORT

    if kind == "OUT" and a == TRAP_PORT:
        return "firmware", f"service {b:02x}h"
    if kind in ("IN", "MMIO_READ"):
        return reason, f"{a:x}h gave {b:x}h"
    if kind in ("OUT", "MMIO_WRITE"):
        return reason, f"{a:x}h took {b:x}h"
    if kind == "EXCEPTION":
        return reason, f"error code {b & 0xFFFF_FFFF:x}h"
    if kind in ("SOFTWARE_INT", "INTERRUPT", "NMI"):
        return reason, f"vector {a:02x}h"
    return reason, f"leaf {a:x}h" if kind == "CPUID" else ""


def print_records(records: Sequence[ExitRecord], stream: TextIO) -> None:
    """Print the last exits, the newest last."""
    shown = records[-SHOWN_RECORDS:]
    if not shown:
        print("no exits were recorded", file=stream)
        return
    print(f"the last {len(shown)} exits, newest last:", file=stream)
    for record in shown:
        print(f"  {record_line(record)}".rstrip(), file=stream)


def print_registers(registers: Mapping[str, int], stream: TextIO) -> None:
    """Print registers, four a line, with the digits of the mode."""
    digits = 16 if "rip" in registers else 8
    cells = []
    for name, value in registers.items():
        number = f"{value:04x}" if name in SEGMENT_NAMES else f"{value:0{digits}x}"
        cells.append(f"{name.upper():>6} {number:<{digits}}")
    for start in range(0, len(cells), REGISTERS_A_LINE):
        print(" ".join(cells[start : start + REGISTERS_A_LINE]).rstrip(), file=stream)


def print_screen(lines: Iterable[str], stream: TextIO) -> None:
    """Print the text screen in a frame, without its empty last lines; nothing if it is blank."""
    kept = [line.rstrip() for line in lines]
    while kept and not kept[-1]:
        kept.pop()
    if not kept:
        return
    title = "-- the guest's screen "
    width = max(len(title), *map(len, kept))
    print(f"+{title:-<{width + 2}}+", file=stream)
    for line in kept:
        print(f"| {line:<{width}} |", file=stream)
    print(f"+{'-' * (width + 2)}+", file=stream)


def print_note(text: str, stream: TextIO) -> None:
    """Print `trapline: …`; in a terminal a long line is broken between words, elsewhere it stays one."""
    lines = [f"trapline: {text}"]
    if stream.isatty():
        lines = textwrap.wrap(
            lines[0], _columns(stream), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
    print(*lines, sep="\n", file=stream, flush=True)


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or FALLBACK_COLUMNS
    except (OSError, ValueError):
        return FALLBACK_COLUMNS


def print_end(
    line: str, exits: Mapping[str, ExitCount], stream: TextIO, findings: Sequence[Finding] = ()
) -> None:
    """Print how the run ended, then the exit table, then where a technique failed to hide itself."""
    if stream.isatty():
        print(file=stream)
    print_note(line, stream)
    print_exits(exits, stream)
    if findings:
        print_note(f"{len(findings)} places where Popek and Goldberg's condition is violated:", stream)
    for finding in findings[:SHOWN_FINDINGS]:
        print(f"  {finding.instruction:<28} {finding.text}", file=stream)
    if len(findings) > SHOWN_FINDINGS:
        print(f"  and {len(findings) - SHOWN_FINDINGS} more; --json lists all", file=stream)


def print_json(
    facts: dict[str, Any], exits: Mapping[str, ExitCount], findings: Sequence[Finding] = ()
) -> None:
    """Print the result as one line of JSON on stdout."""
    found = [{**msgspec.structs.asdict(finding), "text": finding.text} for finding in findings]
    sys.stdout.write(json.dumps({**facts, "findings": found, "exits": exit_rows(exits)}) + "\n")
    sys.stdout.flush()
