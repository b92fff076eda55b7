"""The life of one CLI, one page fault and one IN under each technique, from traces of Snare.

`docs/refresh_transcripts.py --lives` writes them to docs/techniques/_generated, for the chapters
to include. Snare's self-test runs with `--clock virtual`; of its exits these are picked:

- cli: the CLI by which the self-test clears IF, and the PUSHF by which it then looks. Each instruction is
  shown, also where it left nothing.
- fault: from the first instruction of the first program, whose page is not there, to the return to it.
- in: the kernel's IN from COM1's scratch register, and a program's IN that is not allowed.

Times, and what the host spent, are left out; all else is the same in each run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from devices.backplane import TraceEvent
from vmm.config import FULL_TECHNIQUES
from vmm.trace.disassembly import address_text, decode
from vmm.trace.events import Exit

FOLDER: Final = Path(__file__).with_name("techniques") / "_generated"
EVENTS: Final = ("cli", "fault", "in")
LOADED_AT: Final = 0x100000
# irq_off() and flags_now() of the kernel as compiled: CLI (para: MOV [mask], 1), PUSHF, POP
CLI_PATTERN: Final = {
    "snare.bin": re.compile(rb"\xfa\x9c[\x58-\x5f]", re.DOTALL),
    "snare-para.bin": re.compile(rb"\xc6\x05....\x01\x9c[\x58-\x5f]", re.DOTALL),
}
CLI_INSTRUCTIONS: Final = 2
PROGRAM: Final = 0x4000_0000
IN_OPCODES: Final = (b"\xe4", b"\xe5", b"\xec", b"\xed")
PAGE: Final = 4096
PAGING: Final = (".pf", ".npf", "shadow.fill")
SCRATCH: Final = "port 3ffh gave"
USER: Final = 3
MOST_LINES: Final = 24
TIMEOUT_S: Final = 900
INDENT: Final = " " * 15


def _is_first_touch(event: Exit) -> bool:
    """Whether a program's first page was not there for an instruction in it."""
    return PROGRAM <= event.ip < PROGRAM + PAGE and event.reason.endswith(PAGING)


class Collector:
    """A tracer that keeps exits, until a program's IN has been answered."""

    def __init__(self) -> None:
        self.exits: list[Exit] = []
        self.complete = False

    def emit(self, event: TraceEvent) -> None:
        """Keep one."""
        if isinstance(event, Exit) and not self.complete:
            self.exits.append(event)
            if event.cpl == USER and event.code[:1] in IN_OPCODES:
                self.complete = True


class Life:
    """One run under one technique."""

    def __init__(self, technique: str) -> None:
        from guests.snare import build
        from vmm.config import MachineConfig
        from vmm.machine import Machine

        self.kernel = build.PARA_KERNEL if technique == "para" else build.KERNEL
        collector = Collector()
        changes: dict[str, Any] = FULL_TECHNIQUES[technique]
        config = MachineConfig(
            kernel=str(self.kernel),
            initrd=(str(build.FILES),),
            append="exit",
            engine="accelerated",
            clock="virtual",
            **changes,
        )
        with Machine(config) as machine:
            machine.trace_exits(collector)
            machine.run(lambda: collector.complete, timeout_s=TIMEOUT_S)
            counted = machine.exits
            self.cycles = {reason: exits.cycles // exits.count for reason, exits in counted.items()}
            self.mechanisms = {
                reason: row.mechanisms for reason, row in machine.technique.exits.rows().items()
            }
            self.findings = {finding.linear: finding.text for finding in machine.technique.findings}
        # what a processor does by itself is traced by the engine, but not counted as an exit
        self.exits = [event for event in collector.exits if event.reason in counted]

    def snippets(self) -> dict[str, str]:
        """Return the text of each, by name."""
        found = dict(zip(EVENTS, (self._cli(), self._fault(), self._in()), strict=True))
        return {name: "\n".join(lines) + "\n" for name, lines in found.items()}

    def _cli(self) -> Iterator[str]:
        image = self.kernel.read_bytes()
        match = CLI_PATTERN[self.kernel.name].search(image)
        assert match is not None, f"{self.kernel.name}: irq_off() and flags_now() are not where they were"
        at = match.start()
        for _ in range(CLI_INSTRUCTIONS):
            address = LOADED_AT + at
            decoded = decode(image[at : at + 15], address, "prot32")
            exits = [event for event in self.exits if event.ip == address and event.cpl != USER]
            if exits:
                for event in exits:
                    yield from self._lines(event)
            else:
                yield f"{address_text(8, address, 'prot32'):<15}{decoded.text:<34} no exit"
            if address in self.findings:
                yield f"{INDENT}named: {self.findings[address]}"
            at += len(decoded.code)

    def _fault(self) -> Iterator[str]:
        first = next((i for i, event in enumerate(self.exits) if _is_first_touch(event)), None)
        if first is None:
            yield f"{'a program':<15}{'its first instruction':<34} no exit"
            return
        address = self.exits[first].ip
        last = first
        for index in range(first, min(first + 1000, len(self.exits))):
            event = self.exits[index]
            if event.ip == address:
                last = index
            elif event.ip >= PROGRAM:
                break
        if last == first:  # nothing more of this instruction's: up to the next of the program's
            last = index - 1
        shown = [self._lines(event) for event in self.exits[first : last + 1]]
        if len(shown) > MOST_LINES:
            half = MOST_LINES // 2
            yield from (line for lines in shown[:half] for line in lines)
            yield f"[{len(shown) - 2 * half} more exits]"
            shown = shown[-half:]
        yield from (line for lines in shown for line in lines)

    def _in(self) -> Iterator[str]:
        kernels = next(
            event for event in self.exits if event.detail.startswith(SCRATCH) and event.cpl != USER
        )
        yield from self._lines(kernels)
        programs = self.exits[-1]
        if programs.cpl == USER and programs.code[:1] in IN_OPCODES:
            yield from self._lines(programs)
        else:
            yield f"{'a program':<15}{'in':<34} no exit"

    def _lines(self, event: Exit) -> list[str]:
        where = address_text(event.cs, event.ip, event.mode)
        text = decode(event.code, event.ip, event.mode).text or "-"
        lines = [f"{where:<15}{text:<34} {event.reason:<21} {event.detail}".rstrip()]
        if mechanisms := self.mechanisms.get(event.reason):
            lines.append(f"{INDENT}{self.cycles[event.reason]} cycles: {', '.join(mechanisms)}")
        return lines


def write(names: list[str] | None = None) -> None:
    """Write the snippets of some techniques, or of all."""
    FOLDER.mkdir(exist_ok=True)
    for technique in names or FULL_TECHNIQUES:
        for name, text in Life(technique).snippets().items():
            (FOLDER / f"{technique}-{name}.txt").write_text(text, encoding="utf-8")
