"""A sequencer's program, its state and its steps as lines for people, 79 columns at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from devices.aic7870 import registers as r
from devices.aic7870.chip import Aic7870
from devices.aic7870.disassembly import Line, listing
from devices.aic7870.firmware_names import names_of
from devices.aic7870.watching import Step, lines_of, phase_of, program_of, step_of

TEXT_COLUMNS: Final = 38
HEAD: Final = f"{'pc':<5}{'instruction':<{TEXT_COLUMNS}} {'A':>2} {'scb':>3} lines  stcnt   hcnt    haddr"
LEGEND: Final = "Each line is what the instruction finds. lines: S SEL, B BSY, R REQ, K ACK, A ATN."
NS_PER_US: Final = 1000
CUT: Final = ".."
NOTICEABLE_NS: Final = 1  # a step as late as this after the one before comes after a wait


class Heading(NamedTuple):
    """A line between steps: a phase begins, or time has passed."""

    text: str


def program_lines(words: Sequence[int]) -> list[Line]:
    """Return the listing of a program, with its driver's names where we know them."""
    return listing(words, names_of(words))


def listing_text(line: Line) -> str:
    """Return a line of a listing."""
    return f"{line.label:<5}{line.address:03x}  {line.word:08x}  {line.text}"


def step_text(step: Step, text: str) -> str:
    """Return a line of a trace."""
    if len(text) > TEXT_COLUMNS:
        text = text[: TEXT_COLUMNS - len(CUT)] + CUT
    counters = f"{step.stcnt:6x} {step.hcnt:6x} {step.haddr:8x}"
    return f"{step.pc:03x}  {text:<{TEXT_COLUMNS}} {step.accum:02x}  {step.scb:02x} {step.lines} {counters}"


def step_lines(steps: Sequence[Step], program: Sequence[Line]) -> Iterator[str | Heading]:
    """Return the lines of a trace, with phases and waits between them."""
    phase = ""
    before = steps[0].time_ns if steps else 0
    for step in steps:
        if step.time_ns - before >= NOTICEABLE_NS:
            yield Heading(f"{(step.time_ns - before) / NS_PER_US:.1f} us later")
        if step.phase != phase:
            phase = step.phase
            yield Heading(phase)
        before = step.time_ns
        yield step_text(step, program[step.pc].text if step.pc < len(program) else "-")


def registers_of(chip: Aic7870) -> dict[str, int | list[int] | bool]:
    """Return what `state_lines` shows as numbers."""
    sequencer, plain, step = chip.sequencer, chip.registers.plain, step_of(chip)
    return {
        "pc": step.pc,
        "accum": step.accum,
        "sindex": sequencer.sindex,
        "dindex": sequencer.dindex,
        "zero": sequencer.zero,
        "carry": bool(sequencer.carry),
        "stack": list(sequencer.stack),
        "seqctl": sequencer.seqctl,
        "intstat": plain[r.INTSTAT],
        "dfcntrl": plain[r.DFCNTRL],
        "scb": step.scb,
        "stcnt": step.stcnt,
        "hcnt": step.hcnt,
        "haddr": step.haddr,
        "instructions": chip.instructions,
    }


def state_lines(chip: Aic7870) -> list[str]:
    """Return what the sequencer is about to do and what it has in its registers."""
    sequencer, plain = chip.sequencer, chip.registers.plain
    program = program_lines(program_of(chip))
    step = step_of(chip)
    flags = " ".join(name for name, on in (("ZERO", sequencer.zero), ("CARRY", sequencer.carry)) if on)
    seqctl = r.describe(r.SEQCTL, sequencer.seqctl)
    instruction = program[step.pc].text if step.pc < len(program) else "-"
    nexus = chip.bus.nexus
    whom = "" if nexus is None else f", id {nexus.peripheral.number} lun {nexus.lun}"
    if nexus is not None and nexus.cdb:
        whom += f", CDB {nexus.cdb.hex(' ')}"
    paused = "paused by the host" if chip.interrupts.paused() else "runs"
    if paused == "runs" and sequencer.seqctl & r.PAUSEDIS:
        paused = "runs, PAUSEDIS"
    return [
        f"PC {step.pc:03x}  {instruction}",
        f"A {step.accum:02x}  SINDEX {sequencer.sindex:02x}  DINDEX {sequencer.dindex:02x}  "
        f"flags {flags or 'none'}  stack {' '.join(f'{address:03x}' for address in sequencer.stack)}",
        f"SEQCTL {seqctl}, {paused}; {chip.instructions:,} instructions so far",
        f"SCB {step.scb:02x}  INTSTAT {r.describe(r.INTSTAT, plain[r.INTSTAT])}",
        f"bus {phase_of(chip)}, lines {lines_of(chip)}{whom}",
        f"STCNT {step.stcnt:06x}  HCNT {step.hcnt:06x}  HADDR {step.haddr:08x}  "
        f"DFCNTRL {r.describe(r.DFCNTRL, plain[r.DFCNTRL])}",
    ]
