"""What a run says at its end: why it ended, the registers of a crash, the exit table, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from vmm.trace.events import ExitCount
from vmm.trace.table import exit_rows, print_exits
from vmm.trace.text import time_text

if TYPE_CHECKING:
    from vmm.cpu.ring import ExitRecord

SHOWN_RECORDS: Final = 32
REGISTERS_A_LINE: Final = 4


def record_line(record: ExitRecord) -> str:
    """Return one remembered exit as a line; the bytes at CS:IP are no longer known."""
    from vmm.cpu.engine import Kind
    from vmm.exits import reason_of

    try:
        kind = Kind(record.kind)
        reason = reason_of(kind, record.a)
    except (ValueError, KeyError):
        return f"{time_text(record.time_ns)}  unreadable record, kind {record.kind}"
    ports = {Kind.IN: "gave", Kind.OUT: "took", Kind.MMIO_READ: "gave", Kind.MMIO_WRITE: "took"}
    if kind in ports:
        what = f"{record.a:x}h {ports[kind]} {record.b:x}h"
    else:
        what = f"{record.a:x}h {record.b & 0xFFFF_FFFF:x}h"
    where = f"{record.cs:04x}:{record.ip:08x}"
    return f"{time_text(record.time_ns)}  {where:<22} ring {record.cpl}  {reason:<20} {what}"


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
    """Print registers, four a line."""
    cells = [f"{name.upper():>6} {value:016x}" for name, value in registers.items()]
    for start in range(0, len(cells), REGISTERS_A_LINE):
        print(" ".join(cells[start : start + REGISTERS_A_LINE]), file=stream)


def print_screen(lines: Iterable[str], stream: TextIO) -> None:
    """Print the text screen in a frame, without its empty last lines; nothing if it is blank."""
    kept = [line.rstrip() for line in lines]
    while kept and not kept[-1]:
        kept.pop()
    if not kept:
        return
    width = max(map(len, kept))
    print(f"+-- the guest's screen {'-' * max(0, width - 19)}-+", file=stream)
    for line in kept:
        print(f"| {line:<{max(width, 20)}} |", file=stream)
    print(f"+-{'-' * max(width, 20)}-+", file=stream)


def print_end(
    outcome: str, virtual_ns: int, host_ns: int, exits: Mapping[str, ExitCount], to: TextIO
) -> None:
    """Print how the run ended, then the exit table."""
    if to.isatty():
        print(file=to)
    ended = f"{outcome} after {virtual_ns / 1e9:.3f} s of virtual time, {host_ns / 1e9:.3f} s on the host"
    print(f"trapline: {ended}", file=to)
    print_exits(exits, to)


def print_json(facts: dict[str, Any], exits: Mapping[str, ExitCount]) -> None:
    """Print the result as one line of JSON on stdout."""
    sys.stdout.write(json.dumps({**facts, "exits": exit_rows(exits)}) + "\n")
    sys.stdout.flush()
