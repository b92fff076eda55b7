"""Traces for people: one line an exit, and with explanations what it is below it."""

from __future__ import annotations

from typing import Final, TextIO

from devices.backplane import TraceEvent
from vmm.trace.disassembly import address_text, decode
from vmm.trace.events import Exit, Instruction, TimedEvent, Violation
from vmm.trace.explain import explain
from vmm.trace.scsi import scsi_line

NS_PER_S: Final = 1_000_000_000
ADDRESS_COLUMNS: Final = 15  # cccc:iiiiiiii and two spaces; long mode runs over
INSTRUCTION_COLUMNS: Final = 34
REASON_COLUMNS: Final = 21
BYTES_COLUMNS: Final = 24
INDENT: Final = " " * 16


def time_text(time_ns: int) -> str:
    """Return virtual time in seconds with all nine decimals."""
    seconds, rest = divmod(time_ns, NS_PER_S)
    return f"{seconds:4d}.{rest:09d}"


def exit_line(event: Exit) -> str:
    """Return virtual time, CS:EIP, instruction, reason and what the monitor did."""
    where = address_text(event.cs, event.ip, event.mode)
    text = decode(event.code, event.ip, event.mode).text or "-"
    head = f"{time_text(event.time_ns)}  {where:<{ADDRESS_COLUMNS}}{text:<{INSTRUCTION_COLUMNS}}"
    return f"{head} {event.reason:<{REASON_COLUMNS}} {event.detail}".rstrip()


def instruction_line(event: Instruction) -> str:
    """Return virtual time, CS:EIP, ring, bytes, text and the registers that changed."""
    where = address_text(event.cs, event.ip, event.mode)
    decoded = decode(event.code, event.ip, event.mode)
    changes = "  ".join(f"{name}={value:x}" for name, value in event.changed.items())
    head = f"{time_text(event.time_ns)}  {where:<{ADDRESS_COLUMNS}}{event.cpl}  "
    body = f"{decoded.code.hex(' '):<{BYTES_COLUMNS}}{decoded.text:<{INSTRUCTION_COLUMNS}}"
    return f"{head}{body} {changes}".rstrip()


def violation_line(event: Violation) -> str:
    """Return virtual time, linear address, instruction and what is wrong with it."""
    where = f"{event.linear:08x}"
    head = f"{time_text(event.time_ns)}  {where:<{ADDRESS_COLUMNS}}{event.instruction:<{INSTRUCTION_COLUMNS}}"
    return f"{head} {'violation':<{REASON_COLUMNS}} {event.text}"


class TextTrace:
    """Writes events to a text stream as they come."""

    def __init__(self, stream: TextIO, *, explanations: bool = False, host_times: bool = True) -> None:
        self._write = stream.write
        self._explanations = explanations
        self._host_times = host_times

    def emit(self, event: TraceEvent) -> None:
        """Write one event; of kinds that have no line of their own, the value itself."""
        if isinstance(event, Exit):
            self._write(exit_line(event) + "\n")
            if self._explanations:
                self._write("".join(f"{INDENT}{line}\n" for line in explain(event)))
        elif isinstance(event, Instruction):
            self._write(instruction_line(event) + "\n")
        elif isinstance(event, Violation):
            self._write(violation_line(event) + "\n")
        elif isinstance(event, TimedEvent):
            line = scsi_line(event.event, host_times=self._host_times)
            self._write(f"{time_text(event.time_ns)}  {line}".rstrip() + "\n")
        else:
            self._write(f"{INDENT}{event}\n")
