"""What `trapline sequencer` prints: a listing, a trace, or both as values for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from vmm.cli.sequencer_lines import HEAD, LEGEND, Heading, listing_text, program_lines, step_lines
from vmm.trace.table import open_console

if TYPE_CHECKING:
    from rich.console import Console

    from vmm.cli.sequencer_child import Seen


def print_program(seen: Seen, stream: TextIO) -> None:
    """Print the listing."""
    console = open_console(stream)
    _print(console, f"{seen.adapter}: a program of {len(seen.program)} words", "bold")
    _print(console, f"{'':<5}pc   word      instruction", "dim")
    for line in program_lines(seen.program):
        _print(console, listing_text(line), "cyan" if line.label else "")


def print_trace(seen: Seen, stream: TextIO) -> None:
    """Print a trace with its headings, then where it was held."""
    console = open_console(stream)
    if seen.command:
        _print(console, seen.command, "bold")
    _print(console, LEGEND, "dim")
    _print(console, HEAD, "bold")
    for line in step_lines(seen.steps, program_lines(seen.program)):
        if isinstance(line, Heading):
            _print(console, f"-- {line.text}", "cyan")
        else:
            _print(console, line)
    if seen.held is not None:
        where = seen.held if isinstance(seen.held, str) else f"{seen.held:03x}"
        _print(console, f"-- held at {where}", "bold")
        for text in seen.state:
            _print(console, text)
    if seen.cut:
        _print(console, f"-- cut after {len(seen.steps)} instructions", "bold")
    if seen.status:
        _print(console, seen.status, "bold")


def facts(seen: Seen) -> dict[str, Any]:
    """Return everything by name."""
    program = program_lines(seen.program)
    steps = [
        {**step._asdict(), "instruction": program[step.pc].text if step.pc < len(program) else ""}
        for step in seen.steps
    ]
    return {
        "adapter": seen.adapter,
        "program": [line._asdict() for line in program],
        "command": seen.command,
        "status": seen.status,
        "steps": steps,
        "held": seen.held,
        "state": seen.registers,
        "cut": seen.cut,
        "ended": seen.ended,
    }


def _print(console: Console, text: str, style: str = "") -> None:
    from rich.text import Text

    console.print(Text(text.rstrip(), style), soft_wrap=True)
