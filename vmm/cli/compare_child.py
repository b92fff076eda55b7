"""One run of a comparison, in a process of its own: a guest under one technique, and what it printed.

Started by `vmm.cli.compare_run` as `python -m vmm.cli.compare_child`; the job comes on stdin, the outcome
goes to stdout, both as JSON.
"""

from __future__ import annotations

import json
from typing import Final

import msgspec

from vmm.cli.work_child import answer
from vmm.clock import host_ns
from vmm.config import MachineConfig
from vmm.errors import VmmError
from vmm.machine import Machine
from vmm.outputs import Output
from vmm.run_result import RunResult
from vmm.techniques.compare import Line, Outcome

NS_PER_S: Final = 1e9
MOST_LINES: Final = 100_000  # a guest may print for ever
NEWLINE: Final = 10
ENDS: Final = {
    "exit": "the guest ended the run",
    "until": "",
    "timeout": "time-out",
    "triple-fault": "triple fault",
    "halted": "halted for ever",
    "no-boot": "nothing to boot",
    "unsupported": "not supported",
}
GOOD_ENDS: Final = frozenset({"exit", "until", "halted"})


class CompareJob(msgspec.Struct, frozen=True):
    """A run: the machine, what on COM1 ends it, and for how long it may run."""

    config: MachineConfig
    until: str
    timeout_s: float

    def pack(self) -> bytes:
        """Return the job as JSON in ASCII, as `vmm.cli.job.Job` does."""
        return json.dumps(msgspec.to_builtins(self)).encode()


class _Watched(Output):
    """COM1, each line with the number of violations named by then."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._findings = machine.technique.findings
        self._line = bytearray()
        self.lines: list[Line] = []

    def append(self, byte: int) -> None:
        super().append(byte)
        if byte == NEWLINE:
            if len(self.lines) < MOST_LINES:
                text = self._line.decode("ascii", "replace").rstrip("\r")
                self.lines.append(Line(text, len(self._findings)))
            self._line.clear()
        elif len(self._line) < MOST_LINES:
            self._line.append(byte)


def run(job: CompareJob) -> Outcome:
    """Run it."""
    name = job.config.full_technique
    try:
        machine = Machine(job.config)
    except VmmError as error:
        return Outcome(technique=name, ended="not started", fault=str(error))
    with machine:
        machine.serial[0] = watched = _Watched(machine)
        began = host_ns()
        result = machine.run(until=job.until or None, timeout_s=job.timeout_s)
        spent = host_ns() - began
        if job.until and result.reason == "until":
            machine.run(until="\n", timeout_s=1)  # the rest of that line
        return Outcome(
            technique=name,
            ended=_end(result),
            fault=_fault(result),
            wall_s=spent / NS_PER_S,
            lines=tuple(watched.lines),
            findings=tuple(machine.technique.findings),
            exits=machine.exits,
        )


def _end(result: RunResult) -> str:
    text = ENDS.get(result.reason, result.reason)
    return f"{text}: {result.detail}" if result.detail else text


def _fault(result: RunResult) -> str:
    return "" if result.reason in GOOD_ENDS else _end(result)


if __name__ == "__main__":
    answer(CompareJob, run)
