"""`sequencer` at the monitor's prompt: look at the processor in an AIC-7870, stop it, step it.

It is that of the first AIC-7870, or of the adapter that is named, as in `sequencer scsi1 list`. A stop
pauses the machine too, lest the guest's driver lose its patience; `sequencer continue` and `sequencer
step` have both go on.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from devices.aic7870.chip import Aic7870
from devices.aic7870.watching import PHASE_NAMES, Stop, Watch, parse_stop, program_of
from vmm.cli.sequencer_lines import HEAD, Heading, listing_text, program_lines, state_lines, step_lines
from vmm.scsi_board import adapter_name

if TYPE_CHECKING:
    from vmm.machine import Machine

USAGE: Final = "[list|break|step ...]"
_ADAPTER: Final = re.compile(r"scsi(\d)")
DOES: Final = "the SCSI adapter's own processor: see, stop, step"
MOST_WORDS: Final = 3
LISTED: Final = 16
MOST_STEPS: Final = 1000
_WORDS: Final = ("list", "break", "delete", "step", "continue")
_FORMS: Final = (
    "sequencer, sequencer list [ADDRESS], break ADDRESS|PHASE, delete [ADDRESS|PHASE], step [N] or continue"
)


def sequencer_words() -> list[str]:
    """Return what may follow `sequencer`."""
    return [*_WORDS, *(f"break {phase}" for phase in PHASE_NAMES)]


def chip_of(machine: Machine, number: int | None = None) -> Aic7870:
    """Return the AIC-7870 of an adapter, or the machine's first.

    Raises:
        ValueError: there is none.
    """
    chips = [card for card in machine.board.cards if isinstance(card, Aic7870)]
    if number is None and chips:
        return chips[0]
    for chip in chips:
        if number is not None and chip.name == adapter_name(number):
            return chip
    what = "this machine" if number is None else f"SCSI adapter {number}"
    raise ValueError(f"{what} has no AIC-7870; add one with --scsi-adapter aic7870 or a --scsi-hd")


def sequencer_lines(machine: Machine, arguments: list[str]) -> list[str]:
    """Carry out one command.

    Raises:
        ValueError: it cannot be; the text says why.
    """
    which = _ADAPTER.fullmatch(arguments[0]) if arguments else None
    chip = chip_of(machine, int(which[1]) if which else None)
    word, argument = [*(arguments[1:] if which else arguments), "", ""][:2]
    if not word:
        return [*_held(chip), *state_lines(chip)]
    if word == "list":
        return _list(chip, argument)
    if word == "break":
        return _break(machine, chip, argument)
    if word == "delete":
        return _delete(chip, argument)
    if word == "step":
        return _step(machine, chip, argument)
    if word == "continue" and not argument:
        return _continue(machine, chip)
    raise ValueError(f"sequencer {' '.join(arguments)}: expected {_FORMS}")


def _watch(machine: Machine, chip: Aic7870) -> Watch:
    watcher = chip.sequencer.watcher
    if not isinstance(watcher, Watch):
        watcher = Watch(chip)
        watcher.on_hold = partial(_stop_machine, machine)
        chip.sequencer.watcher = watcher
    return watcher


def _stop_machine(machine: Machine) -> None:
    machine.pause()
    machine.processor.live.stop()


def _held(chip: Aic7870) -> list[str]:
    watch = chip.sequencer.watcher
    if not isinstance(watch, Watch) or watch.held is None:
        return []
    return [f"held at {_name(watch.held)}; sequencer step or sequencer continue goes on"]


def _name(stop: Stop) -> str:
    return stop if isinstance(stop, str) else f"{stop:03x}"


def _program(chip: Aic7870) -> list[int]:
    words = program_of(chip)
    if not words:
        raise ValueError(f"{chip.name}: no driver has downloaded a program yet")
    return words


def _list(chip: Aic7870, argument: str) -> list[str]:
    lines = program_lines(_program(chip))
    first = parse_stop(argument) if argument else max(chip.sequencer.pc - LISTED // 2, 0)
    if isinstance(first, str):
        raise ValueError(  # noqa: TRY004 - the prompt's word for what cannot be done
            f"sequencer list {argument}: expected an address, such as 02a"
        )
    if first >= len(lines):
        raise ValueError(f"sequencer list {argument}: the program ends at {len(lines) - 1:03x}")
    shown = lines[first : first + LISTED]
    return [f"{'>' if line.address == chip.sequencer.pc else ' '} {listing_text(line)}" for line in shown]


def _break(machine: Machine, chip: Aic7870, argument: str) -> list[str]:
    if argument:
        _watch(machine, chip).stops.add(parse_stop(argument))
    return _stops(chip)


def _stops(chip: Aic7870) -> list[str]:
    watch = chip.sequencer.watcher
    stops = sorted(_name(stop) for stop in watch.stops) if isinstance(watch, Watch) else []
    return [f"stops at: {', '.join(stops) or 'nothing; sequencer break ADDRESS|PHASE adds to it'}"]


def _delete(chip: Aic7870, argument: str) -> list[str]:
    watch = chip.sequencer.watcher
    if isinstance(watch, Watch):
        if argument:
            watch.stops.discard(parse_stop(argument))
        else:
            watch.stops.clear()
    return _stops(chip)


def _step(machine: Machine, chip: Aic7870, argument: str) -> list[str]:
    try:
        number = int(argument or "1")
    except ValueError:
        raise ValueError(f"sequencer step {argument}: expected a number of instructions") from None
    if not 1 <= number <= MOST_STEPS:
        raise ValueError(f"sequencer step {argument}: expected 1 to {MOST_STEPS}")
    lines = program_lines(_program(chip))
    watch = _watch(machine, chip)
    watch.flush()
    watch.steps.clear()
    watch.release(number)
    chip.settle()
    done = [
        f"-- {line.text}" if isinstance(line, Heading) else line for line in step_lines(watch.steps, lines)
    ]
    if watch.held is None:
        machine.resume()
        return [HEAD, *done, "it waits for the bus or its driver: running until it has done the rest"]
    return [HEAD, *done, *state_lines(chip)[:1]]


def _continue(machine: Machine, chip: Aic7870) -> list[str]:
    watch = chip.sequencer.watcher
    if isinstance(watch, Watch):
        if not watch.stops:
            chip.sequencer.watcher = None
        watch.release()
    machine.resume()
    chip.settle()
    if isinstance(watch, Watch) and watch.held is not None:
        return _held(chip)
    return ["running"]
