"""One way to a disk, in a process of its own: what left the guest while it read and wrote.

Started by `vmm.cli.disk_paths` as `python -m vmm.cli.disk_path_child`; the job comes on stdin, the outcome
goes to stdout, both as JSON. The guest says on COM1 between which points its work lies:

    disk-path read begins
    disk-path read ends: 4096 sectors
    disk-path write begins
    disk-path write ends: 4096 sectors
    disk-path done                         or: disk-path fails: WHY
"""

from __future__ import annotations

import json
import re
import time
from typing import Final

import msgspec

from vmm.cli.work_child import answer
from vmm.clock import host_ns
from vmm.config import MachineConfig
from vmm.errors import VmmError
from vmm.machine import Machine
from vmm.trace.events import ExitCount

MARK: Final = "disk-path "
BEGINS: Final = re.compile(r"(read|write) begins")
ENDS: Final = re.compile(r"(read|write) ends: (\d{1,9}) sectors")
FAILS: Final = "fails: "
MOST_MARKS: Final = 16


class PathJob(msgspec.Struct, frozen=True):
    """A machine; what is typed on COM1 once `prompt` is there; for how long it may run."""

    config: MachineConfig
    timeout_s: float
    prompt: str = ""
    typed: str = ""

    def pack(self) -> bytes:
        """Return the job as JSON in ASCII, as `vmm.cli.job.Job` does."""
        return json.dumps(msgspec.to_builtins(self)).encode()


class Work(msgspec.Struct, frozen=True):
    """What it took to read or write so many sectors; `host_ns` is the processor time of the monitor."""

    sectors: int
    host_ns: int
    exits: dict[str, ExitCount]


class PathOutcome(msgspec.Struct, frozen=True):
    """Work by its name, `read` and `write`; why there is not all of it."""

    work: dict[str, Work] = {}
    fault: str = ""


class _Point(msgspec.Struct, frozen=True):
    host_ns: int
    exits: dict[str, tuple[int, int]]


class _Run:
    def __init__(self, machine: Machine, timeout_s: float) -> None:
        self.machine = machine
        self._give_up_ns = host_ns() + int(timeout_s * 1e9)

    def wait(self, text: str) -> str:
        """Run until COM1 shows `text`; return why it did not."""
        left_s = (self._give_up_ns - host_ns()) / 1e9
        reason = self.machine.run(until=text, timeout_s=max(left_s, 0)).reason
        if reason == "until":
            return ""
        return f"{reason} before COM1 showed {text.strip() or 'the end of a line'!r}"

    def line(self) -> str:
        """Return the rest of the line; nothing if it does not end."""
        start = self.machine.serial[0].end
        fault = self.wait("\n")
        return "" if fault else self.machine.serial[0].since(start).decode("ascii", "replace").strip()

    def point(self) -> _Point:
        """Return how much there has been of everything."""
        exits = {reason: (entry.count, entry.host_ns) for reason, entry in self.machine.exits.items()}
        return _Point(time.thread_time_ns(), exits)


def run(job: PathJob) -> PathOutcome:
    """Run it."""
    try:
        machine = Machine(job.config)
    except VmmError as error:
        return PathOutcome(fault=str(error))
    with machine:
        guest = _Run(machine, job.timeout_s)
        if job.prompt:
            fault = guest.wait(job.prompt)
            if fault:
                return PathOutcome(fault=fault)
            machine.send_serial(job.typed.encode())
        return _work(guest)


def _work(guest: _Run) -> PathOutcome:
    found: dict[str, Work] = {}
    begun: dict[str, _Point] = {}
    for _ in range(MOST_MARKS):
        fault = guest.wait(MARK)
        if fault:
            return PathOutcome(found, fault)
        reached = guest.point()
        line = guest.line()
        if begins := BEGINS.fullmatch(line):
            begun[begins[1]] = guest.point()
        elif (ends := ENDS.fullmatch(line)) and ends[1] in begun and int(ends[2]):
            found[ends[1]] = _between(begun[ends[1]], reached, int(ends[2]))
        elif line == "done":
            return PathOutcome(found, "" if found else "the guest did nothing")
        else:
            return PathOutcome(found, line.removeprefix(FAILS) or "a mark without an end")
    return PathOutcome(found, f"more than {MOST_MARKS} marks")


def _between(first: _Point, last: _Point, sectors: int) -> Work:
    exits = {}
    for reason, (count, spent) in last.exits.items():
        earlier_count, earlier_spent = first.exits.get(reason, (0, 0))
        if count > earlier_count:
            exits[reason] = ExitCount(count - earlier_count, spent - earlier_spent)
    return Work(sectors, last.host_ns - first.host_ns, exits)


if __name__ == "__main__":
    answer(PathJob, run)
