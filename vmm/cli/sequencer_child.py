"""The run of `trapline sequencer`, in a process of its own: up to where the SCSI driver has done its part.

Started by `vmm.cli.sequencer`; the job comes on stdin, what was seen goes to stdout, both as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from devices.aic7870.watching import CommandWatch, Step, Stop, Watch, program_of
from vmm.cli.sequencer_command import chip_of
from vmm.cli.sequencer_lines import registers_of, state_lines
from vmm.cli.work_child import answer
from vmm.config import MachineConfig
from vmm.errors import VmmError
from vmm.machine import Machine
from vmm.trace.events import TimedEvent
from vmm.trace.scsi import scsi_line

if TYPE_CHECKING:
    from devices.aic7870.chip import Aic7870
    from devices.backplane import TraceEvent

ENDS: Final = {
    "until": "",
    "timeout": "the time-out was reached",
    "exit": "the guest ended the run",
    "halted": "the guest halted for ever",
    "triple-fault": "triple fault",
    "no-boot": "there was nothing to boot",
}


class SequencerJob(msgspec.Struct, frozen=True):
    """A machine, which adapter, what of it is asked for, and for how long it may run.

    With `trace` one command is wanted, the first of `operation`, or of any if that is None.
    """

    config: MachineConfig
    adapter: int
    timeout_s: float
    stop: Stop | None = None
    trace: bool = False
    operation: int | None = None


class Seen(msgspec.Struct, frozen=True):
    """What the run showed. `ended` says what came in between, and is empty if all was seen."""

    program: list[int] = []
    adapter: str = ""
    steps: list[Step] = []
    command: str = ""
    status: str = ""
    held: Stop | None = None
    cut: bool = False
    state: list[str] = []
    registers: dict[str, int | list[int] | bool] = {}
    ended: str = ""
    fault: str = ""


class _Tap:
    """Gives the devices' events to the one who watches."""

    def __init__(self) -> None:
        self.watch: CommandWatch | None = None

    def emit(self, event: TraceEvent) -> None:
        if self.watch is not None and isinstance(event, TimedEvent):
            self.watch.emit(event.event)


def run(job: SequencerJob) -> Seen:
    """Run it."""
    tap = _Tap()
    try:
        machine = Machine(job.config, devices_tracer=tap)
    except VmmError as error:
        return Seen(fault=str(error))
    with machine:
        try:
            chip = chip_of(machine, job.adapter)
        except ValueError as error:
            return Seen(fault=str(error))
        stops = () if job.stop is None else (job.stop,)
        watch = CommandWatch(chip, job.operation, stops) if job.trace else Watch(chip, stops)
        tap.watch = watch if isinstance(watch, CommandWatch) else None
        chip.sequencer.watcher = watch
        result = machine.run(lambda: _done(watch, job), job.timeout_s)
        end = ENDS.get(result.reason, result.reason)
        return _seen(chip, watch, f"{end}: {result.detail}" if result.detail else end)


def _done(watch: Watch, job: SequencerJob) -> bool:
    if isinstance(watch, CommandWatch):
        return watch.ended
    return watch.held is not None or (job.stop is None and watch.seen)


def _seen(chip: Aic7870, watch: Watch, ended: str) -> Seen:
    command = watch if isinstance(watch, CommandWatch) else None
    wanted = command is not None or watch.held is not None or bool(watch.stops)
    return Seen(
        program=program_of(chip),
        adapter=chip.name,
        steps=watch.steps if wanted else [],
        command=scsi_line(command.command) if command and command.command else "",
        status=scsi_line(command.status) if command and command.status else "",
        held=watch.held,
        cut=command is not None and command.cut,
        state=state_lines(chip) if watch.held is not None else [],
        registers=registers_of(chip) if watch.held is not None else {},
        ended=ended,
    )


if __name__ == "__main__":
    answer(SequencerJob, run)
