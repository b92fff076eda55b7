"""Debian's Linux in a machine of our own: to its shell, some commands, and off; what it said, to compare."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from tests.guests.assets.initramfs import HALTED, PROMPT, LinuxGuest
from vmm.config import FULL_TECHNIQUES, MachineConfig
from vmm.machine import Machine, Until
from vmm.run_result import RunResult
from vmm.techniques.base import Technique
from vmm.trace.events import ExitCount

MEMORY_BYTES: Final = 256 << 20
# The kernel checks its TSC against the PIT, which it has put in one-shot mode: what it finds is chance
UNWATCHED: Final = " tsc=nowatchdog"
BOOT_S: Final = 3000  # a busy host gives a boot a tenth of a processor and less
COMMANDS: Final = (
    "uname -srm",
    "sha256sum /bin/busybox /init /etc/data.sha256",
    "seq 1 4000 | sha256sum",
    "for n in 1 2 3 4 5 6 7 8; do (seq 1 $((n * 50)) | md5sum) & wait; done",
    "sh -c 'exit 3'; echo status $?",
    "dd if=/dev/zero bs=65536 count=8 2>/dev/null | tr '\\0' x | md5sum",
    "mkdir /tmp/d && mount -t tmpfs t /tmp/d && cp /bin/busybox /tmp/d && cmp /bin/busybox /tmp/d/busybox",
    "(sleep 1; echo slept) & wait",
    "sh -c 'kill -SEGV $$'; echo status $?",
)
COMPLAINTS: Final = re.compile(r"\b(Oops|BUG|WARNING|Call Trace|Kernel panic|general protection|segfault)\b")
_LEFT_OUT: Final = ("io.", "mmio.", "rdtsc", "inject.")  # what is injected has left the guest before
_MASKS: Final = (  # times and what is counted in them
    (re.compile(r"^\[ *\d+\.\d+\] "), "[T] "),
    (re.compile(r"\b\d+(\.\d+)? ?(ns|us|usecs|msecs|ms|MHz|BogoMIPS|cycles|seconds|clock)\b"), r"N \2"),
    (re.compile(r"\b(mult|shift|max_cycles|max_idle_ns|mask|lpj)([:=]) ?\w+"), r"\1\2N"),
    (re.compile(r"(sched_clock: Marking \w+ ).*"), r"\1N"),
    (re.compile(r"setting system clock to .*"), "setting system clock"),
    (re.compile(r"^(\[T\] audit: .*)audit\(\d+\.\d+:\d+\)"), r"\1audit(T)"),
)


class Session(NamedTuple):
    """How a run ended, what was on the console, and what left the guest."""

    result: RunResult
    console: str
    exits: Mapping[str, ExitCount]
    technique: Technique

    @property
    def lines(self) -> list[str]:
        """The console's lines, in order, times and counters masked."""
        return [masked(line) for line in self.console.splitlines()]

    @property
    def answers(self) -> list[str]:
        """What the shell and its commands said."""
        return [line for line in self.lines if not line.startswith("[T]")]

    @property
    def exits_without_io(self) -> int:
        """Exits but ports, memory that is a device's, and RDTSC, which the engine answers as on bare."""
        return sum(row.count for reason, row in self.exits.items() if not reason.startswith(_LEFT_OUT))

    def table(self) -> str:
        """Exits by reason, the most frequent first."""
        rows = sorted(self.exits.items(), key=lambda item: -item[1].count)
        return "\n".join(f"{row.count:9} {reason}" for reason, row in rows)


def masked(line: str) -> str:
    """A line of the console without what is another in each run."""
    for pattern, instead in _MASKS:
        line = pattern.sub(instead, line)
    return line


def config_of(guest: LinuxGuest, technique: str, mode: str, **options: object) -> MachineConfig:
    """A machine that loads this kernel by itself."""
    return MachineConfig(
        kernel=str(guest.kernel),
        initrd=(str(guest.initramfs),),
        append=guest.command_line(mode) + UNWATCHED,
        memory_bytes=MEMORY_BYTES,
        engine="accelerated",
        clock="virtual",  # else what the kernel says, and how often it reads a counter, is the host's
        **FULL_TECHNIQUES[technique],  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


def run_commands(guest: LinuxGuest, technique: str, mode: str = "commands") -> Session:
    """Boot to the shell, run `COMMANDS`, leave the shell, which powers off. Mode `shell` loads drivers."""
    with Machine(config_of(guest, technique, mode)) as machine:
        result = machine.run(PROMPT, BOOT_S)
        for command in (*COMMANDS, "exit"):
            if result.reason != "until":
                break
            machine.send_serial(command.encode() + b"\n")
            result = machine.run(HALTED if command == "exit" else PROMPT, BOOT_S)
        if result.reason == "until":
            result = machine.run(timeout_s=BOOT_S)
        return _session(machine, result)


def run_mode(guest: LinuxGuest, technique: str, mode: str, until: Until = None) -> Session:
    """Have the kernel do what `init.sh` calls `mode`, to its end or until it says something."""
    with Machine(config_of(guest, technique, mode)) as machine:
        return _session(machine, machine.run(until, BOOT_S))


def _session(machine: Machine, result: RunResult) -> Session:
    console = machine.serial_output().decode("latin-1").replace("\r", "")
    return Session(result, console, dict(machine.exits), machine.technique)
