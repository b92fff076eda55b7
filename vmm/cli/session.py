"""One run of one machine, in its own process: tracers, console, dialogue and the outcome."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from devices.backplane import TraceEvent, Tracer
from vmm.cli import report, status
from vmm.cli.console import Console
from vmm.cli.dialogue import Dialogue
from vmm.cli.errors import print_error, print_warning
from vmm.cli.job import Job, TraceOptions
from vmm.clock import host_ns
from vmm.errors import ConfigError
from vmm.machine import Machine
from vmm.run_result import RunResult
from vmm.trace.events import ExitFilter, FilteredTracer

if TYPE_CHECKING:
    from vmm.cpu.ring import ExitRing

NS_PER_S: Final = 1e9
OUTCOMES: Final = {
    "exit": "the guest ended the run",
    "until": "ended on request",
    "timeout": "time-out",
    "triple-fault": "triple fault",
    "no-boot": "nothing to boot",
    "unsupported": "the technique cannot run what the guest wants",
    "halted": "halted for ever: interrupts are off and nothing can wake the processor",
}
"""What `RunResult.reason` means to the user."""


class Session:
    """Builds the machine of a job and runs it to its end."""

    def __init__(self, job: Job, ring: ExitRing, stop_signal: Callable[[], int]) -> None:
        self._job = job
        self._ring = ring
        self._stop_signal = stop_signal
        self._dialogue = Dialogue(job.options.expect, job.options.send)

    def run(self) -> int:
        """Run the machine; return the status to exit with."""
        options = self._job.options
        with ExitStack() as cleanup:
            exits = self._tracer("exits", cleanup)
            told = self._tracer("scsi", cleanup)
            machine = Machine(self._job.config, tracer=exits, ring=self._ring, devices_tracer=told)
            cleanup.callback(machine.close)
            for warning in machine.drives.warnings:
                print_warning(warning)
            self._trace_instructions(machine, cleanup)
            console = Console(machine, self._job.config, options.display, options.screenshot)
            cleanup.callback(console.close)
            began = host_ns()
            result = machine.run(until=lambda: self._poll(machine, console), timeout_s=options.timeout_s)
            self._dialogue.advance(machine)
            console.drain()
            console.close()
            if options.screenshot is not None:
                with _named(f"--screenshot {options.screenshot}"):
                    machine.screenshot(options.screenshot)
            return self._tell(machine, result, host_ns() - began, console)

    def _poll(self, machine: Machine, console: Console) -> bool:
        console.pump()
        return self._dialogue.advance(machine) or console.quit or bool(self._stop_signal())

    def _status(self, result: RunResult) -> int:
        if number := self._stop_signal():
            return status.SIGNAL_BASE + number
        if self._dialogue.finished:
            return status.OK
        guest = status.guest_status(result.exit_code or 0)
        failures = {
            "timeout": status.TIMEOUT,
            "triple-fault": status.TRIPLE_FAULT,
            "halted": status.HALTED_FOREVER,
            "no-boot": status.ERROR,
            "unsupported": status.UNSUPPORTED,
        }
        code = failures.get(result.reason, guest)
        if code == status.OK and self._dialogue.waiting_for is not None:
            return status.NOT_EXPECTED
        return code

    def _tell(self, machine: Machine, result: RunResult, spent_ns: int, console: Console) -> int:
        code = self._status(result)
        outcome = OUTCOMES.get(result.reason, result.reason)
        if self._dialogue.finished:
            outcome = "all that was expected came"
        elif code == status.SIGNAL_BASE + self._stop_signal():
            outcome = f"ended by signal {self._stop_signal()}"
        elif result.exit_code is not None:
            outcome += f" with {result.exit_code}"
        self._tell_failure(machine, code)
        if result.detail:
            print_error(result.detail)
        if self._job.options.json:
            facts = {
                "status": code,
                "reason": result.reason,
                "exit_code": result.exit_code,
                "engine": machine.engine_name,
                "technique": machine.config.full_technique,
                "virtual_ns": machine.now_ns(),
                "host_ns": spent_ns,
                "screen": [line.rstrip() for line in machine.screen_text()],
            }
            report.print_json(facts, machine.exits, machine.technique.findings)
        elif not self._job.options.quiet:
            if not console.shown:
                report.print_screen(machine.screen_text(), sys.stdout)
                sys.stdout.flush()
            times = f"{machine.now_ns() / NS_PER_S:.3f} s virtual, {spent_ns / NS_PER_S:.3f} s host"
            line = f"{outcome}; {times}, {machine.engine_name} engine"
            if machine.config.technique != "bare":
                line += f", technique {machine.config.full_technique}"
            report.print_end(line, machine.exits, sys.stderr, machine.technique.findings)
        return code

    def _tell_failure(self, machine: Machine, code: int) -> None:
        expected = self._dialogue.waiting_for
        if expected is not None and code in (status.TIMEOUT, status.NOT_EXPECTED):
            print_error(f"the text {expected!r} did not come")
        if code in (status.TRIPLE_FAULT, status.HALTED_FOREVER):
            said = next((line.strip() for line in reversed(machine.screen_text()) if line.strip()), "")
            what = OUTCOMES["triple-fault" if code == status.TRIPLE_FAULT else "halted"]
            print_error(f"{what}; last on the screen: {said}" if said else what)
            report.print_registers(machine.registers(), sys.stderr)
            report.print_records(self._ring.last(), sys.stderr)

    def _tracer(self, kind: str, cleanup: ExitStack) -> Tracer | None:
        """Return what all traces of `kind` asked for write to, or None without one."""
        asked = [trace for trace in self._job.options.traces if trace.kind == kind]
        sinks = [self._sink(trace, cleanup) for trace in asked]
        return None if not sinks else sinks[0] if len(sinks) == 1 else _Fork(sinks)

    def _sink(self, trace: TraceOptions, cleanup: ExitStack) -> Tracer:
        from vmm.trace.jsonl import JsonTrace
        from vmm.trace.scsi import ScsiTracer
        from vmm.trace.text import TextTrace

        stream = sys.stderr if trace.path is None else _open(trace.path, cleanup)
        explain = self._job.options.explain
        host_times = self._job.config.clock == "host"
        as_json = trace.path is not None and trace.path.endswith((".json", ".jsonl"))
        kind: type[JsonTrace | TextTrace] = JsonTrace if as_json else TextTrace
        sink: Tracer = kind(stream, explanations=explain, host_times=host_times)
        if trace.path is not None:
            sink = _Named(sink, f"--trace: {trace.path}")
        if trace.kind == "instructions":
            return sink
        if trace.kind == "scsi":
            return ScsiTracer(sink, trace.limit)
        return FilteredTracer(sink, ExitFilter(trace.reasons, trace.cpl, trace.limit))

    def _trace_instructions(self, machine: Machine, cleanup: ExitStack) -> None:
        from vmm.trace.instructions import InstructionFilter, InstructionRecorder

        sink = self._tracer("instructions", cleanup)
        if sink is None:
            return
        trace = next(trace for trace in self._job.options.traces if trace.kind == "instructions")
        wanted = InstructionFilter(trace.ranges, trace.cpl, trace.limit)
        recorder = InstructionRecorder(sink, wanted)
        machine.trace_instructions(recorder)
        cleanup.callback(lambda: recorder.finish(machine.registers()))


class _Fork:
    """Gives each event to several tracers."""

    def __init__(self, sinks: list[Tracer]) -> None:
        self._sinks = sinks

    def emit(self, event: TraceEvent) -> None:
        for sink in self._sinks:
            sink.emit(event)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Have an error of the host say what was being written."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}") from None


class _Named:
    """A tracer whose writes name their file when they fail."""

    def __init__(self, sink: Tracer, what: str) -> None:
        self._sink, self._what = sink, what

    def emit(self, event: TraceEvent) -> None:
        try:
            self._sink.emit(event)
        except OSError as error:
            raise ConfigError(f"{self._what}: {error.strerror}") from None


def _open(path: str, cleanup: ExitStack) -> TextIO:
    with _named(f"--trace: {path}"):
        stream = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - closed by the cleanup

    def close() -> None:
        with _named(f"--trace: {path}"):
            stream.close()

    cleanup.callback(close)
    return stream
