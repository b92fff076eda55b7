"""Looking at the sequencer at work: what each instruction finds, where to stop, one command from end to end.

A `Watch` is the sequencer's watcher (`sequencer.py`): it sees every instruction before it is executed. What
the sequencer executes while it only waits is left out; a wait shows as the time that passed.

Nothing here can be seen by the guest, but that a sequencer that is held does not answer its driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from devices.aic7870 import nexus as n
from devices.aic7870 import registers as r
from devices.aic7870.chip import Aic7870
from devices.aic7870.instruction import WORD_BYTES, WORDS
from devices.aic7870.sequencer import Sequencer
from devices.backplane import TraceEvent
from devices.scsi.events import ScsiCommand, ScsiStatus

BUS_FREE: Final = "bus-free"
SELECTION: Final = "selection"
PHASES: Final = {
    n.COMMAND: "command",
    n.DATA_OUT: "data-out",
    n.DATA_IN: "data-in",
    n.STATUS: "status",
    n.MESSAGE_OUT: "message-out",
    n.MESSAGE_IN: "message-in",
}
RESERVED: Final = "reserved"  # phases 20h and 60h, which no target shows
PHASE_NAMES: Final = (BUS_FREE, SELECTION, *PHASES.values())
LINES: Final = {
    r.SEL_LINE: "S", r.BSY_LINE: "B", r.REQ_LINE: "R", r.ACK_LINE: "K", r.ATN_LINE: "A",
}  # fmt: skip
"""Lines of the bus as letters: SEL, BSY, REQ, ACK, ATN."""

MOST_STEPS: Final = 20_000  # of one command; 256 scatter/gather elements take 13,000
KEPT: Final = 24  # steps before a break

Stop = int | str
"""An address of the program, or the name of a phase."""


class Step(NamedTuple):
    """What an instruction finds, before it is executed."""

    time_ns: int
    pc: int
    accum: int
    scb: int
    phase: str
    lines: str
    stcnt: int
    hcnt: int
    haddr: int


def phase_of(chip: Aic7870) -> str:
    """Return the name of the bus's phase."""
    if chip.bus.nexus is not None:
        return PHASES.get(chip.bus.phase, RESERVED)
    return SELECTION if chip.registers.plain[r.SCSISEQ] & r.ENSELO else BUS_FREE


def lines_of(chip: Aic7870) -> str:
    """Return the lines that are asserted as letters, the others as dots."""
    signals = chip.registers.plain[r.SCSISIGI]
    return "".join(letter if signals & mask else "." for mask, letter in LINES.items())


def counter(chip: Aic7870, address: int, size: int) -> int:
    """Return a register of several bytes."""
    return int.from_bytes(chip.registers.plain[address : address + size], "little")


def step_of(chip: Aic7870) -> Step:
    """Return what the next instruction finds."""
    return Step(
        time_ns=chip.now_ns(),
        pc=chip.sequencer.pc,
        accum=chip.sequencer.accum,
        scb=chip.registers.plain[r.SCBPTR],
        phase=phase_of(chip),
        lines=lines_of(chip),
        stcnt=counter(chip, r.STCNT, 3),
        hcnt=counter(chip, r.HCNT, 3),
        haddr=counter(chip, r.HADDR, 4),
    )


def program_of(chip: Aic7870) -> list[int]:
    """Return the words downloaded, up to the last that is not 0."""
    raw = chip.sequencer.program
    words = [int.from_bytes(raw[at : at + WORD_BYTES], "little") for at in range(0, len(raw), WORD_BYTES)]
    while words and not words[-1]:
        words.pop()
    return words


def parse_stop(text: str) -> Stop:
    """Read `02a`, `L02a`, `2ah`, `0x2a` or the name of a phase. Raises ValueError that says what is wrong."""
    word = text.lower().replace(" ", "-")
    if word in PHASE_NAMES:
        return word
    digits = word.removeprefix("l").removeprefix("0x").removesuffix("h")
    try:
        address = int(digits, 16)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither an address of the program, such as 02a, "
            f"nor a phase: {', '.join(PHASE_NAMES)}"
        ) from None
    if not 0 <= address < WORDS:
        raise ValueError(f"{text}: addresses of the program are 000 to {WORDS - 1:03x}, hexadecimal")
    return address


class Watch:
    """Keeps what the sequencer does, and holds it where it is asked to.

    `budget` is how many instructions it may still execute; None is any number.
    """

    def __init__(self, chip: Aic7870, stops: Iterable[Stop] = ()) -> None:
        self.chip = chip
        self.stops = set(stops)
        self.steps: list[Step] = []
        self.held: Stop | None = None
        self.budget: int | None = None
        self.on_hold: Callable[[], None] | None = None
        self.seen = False  # an instruction, so that there is a program
        self._waiting: list[Step] = []  # steps that have changed nothing yet
        self._run = self._epoch = -1
        self._let_go = False
        self._last_phase = phase_of(chip)

    def before(self, sequencer: Sequencer) -> bool:
        """Look at the instruction about to be executed; False holds the sequencer."""
        self.seen = True
        if self.held is not None:
            return False
        phase = phase_of(self.chip)
        entered, self._last_phase = phase != self._last_phase, phase
        hit: Stop | None = sequencer.pc if sequencer.pc in self.stops else None
        if entered and phase in self.stops:
            hit = phase
        if self.budget is not None and self.budget <= 0:
            hit = sequencer.pc
        if hit is not None and not self._let_go and self.may_stop():
            self._hold(hit)
            return False
        self._let_go = False
        if self.budget is not None:
            self.budget -= 1
        self._keep(step_of(self.chip), sequencer)
        return True

    def _hold(self, stop: Stop) -> None:
        self.held = stop
        self.flush()
        if self.on_hold is not None:
            self.on_hold()

    def may_stop(self) -> bool:
        """Tell whether stops count now."""
        return True

    def release(self, budget: int | None = None) -> None:
        """Let a held sequencer go on, for `budget` instructions or until the next stop."""
        self.held, self.budget = None, budget
        self._let_go = True

    def _keep(self, step: Step, sequencer: Sequencer) -> None:
        epoch = sequencer.registers.epoch
        if self.chip.instructions != self._run:
            self.flush()
            self._run = self.chip.instructions
        elif epoch != self._epoch:
            self.steps += self._waiting
            self._waiting.clear()
        self._epoch = epoch
        self._waiting.append(step)
        self.trim()

    def flush(self) -> None:
        """Keep the steps of the run that has ended, without the round by which it found that it waits."""
        pc = self.chip.sequencer.pc
        for step in self._waiting:
            if step.pc == pc and self.held is None:
                break
            self.steps.append(step)
        self._waiting.clear()

    def trim(self) -> None:
        """Forget old steps."""
        if len(self.steps) > 2 * KEPT:
            del self.steps[:-KEPT]


class CommandWatch(Watch):
    """Keeps one command: the first whose CDB begins with `operation`; None is the first of all.

    It is a tracer too, and has to be given the events of its chip.
    """

    def __init__(self, chip: Aic7870, operation: int | None, stops: Iterable[Stop] = ()) -> None:
        super().__init__(chip, stops)
        self.command: ScsiCommand | None = None
        self.status: ScsiStatus | None = None
        self.cut = False  # it took more steps than are kept
        self._operation = operation

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to be seen."""
        return self.status is not None or self.cut or self.held is not None

    def before(self, sequencer: Sequencer) -> bool:
        """Look at the instruction about to be executed."""
        if self.ended and self.held is None:
            return True
        return super().before(sequencer)

    def may_stop(self) -> bool:
        """Stops count in the command alone, from its CDB on."""
        return self.command is not None

    def trim(self) -> None:
        """Forget what led to nothing; end what is too long."""
        if len(self.steps) > MOST_STEPS:
            self.cut = self.command is not None
            if not self.cut:
                self.steps.clear()

    def emit(self, event: TraceEvent) -> None:
        """Hear of commands and their ends."""
        if isinstance(event, ScsiCommand) and event.adapter == self.chip.name:
            if self.command is None and self._operation in (None, event.cdb[0]):
                self.command = event
        elif isinstance(event, ScsiStatus) and event.adapter == self.chip.name and not self.ended:
            self.flush()
            command = self.command
            if command is not None and (command.target, command.lun) == (event.target, event.lun):
                self.status = event
            elif command is None:
                self.steps.clear()
