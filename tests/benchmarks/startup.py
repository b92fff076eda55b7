"""The command as a user runs it: how soon the guest's first instruction runs, and what idling costs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.guest import COM1, MIB, assemble
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Goal, Row
from tests.guests.assets.qemu import PROCESSOR, ide_disk
from tests.guests.assets.trapline import COMMAND, SERIAL_ONLY
from tests.oracles import require_tool

START_GOAL: Final = Goal("ours", 0.5)
IDLE_GOAL: Final = Goal("ours", 3)
STARTS: Final = 7  # the best of them counts
SETTLE_S: Final = 0.5
IDLE_S: Final = 3.0
FIRST: Final = b"\1"
TIMEOUT_S: Final = 30

SAY_FIRST: Final = f"""
    mov dx, {COM1}
    mov al, {FIRST[0]}
    out dx, al
"""
STOP: Final = "cli\nhlt\n"
ROM_END: Final = """
    times 0xff0 - ($ - $$) hlt
    jmp 0xf000:0xf000
    times 0x1000 - ($ - $$) hlt
"""
SLEEP: Final = """
    cli
    mov al, 0x34                ; 18.2 Hz: counter 0, mode 2, 65536
    out 0x43, al
    mov al, 0
    out 0x40, al
    out 0x40, al
    sti
again:
    hlt
    jmp again
"""


def entry_point() -> list[str]:
    """Return the command as it is installed beside this Python, or how to call it where it is not."""
    installed = Path(sys.executable).with_name("trapline")
    return [str(installed)] if installed.exists() else list(COMMAND)


def start(lab: Lab) -> Iterator[Row]:
    """Measure from the start of the command to the first byte that the guest sends."""
    disk = _boot_sector(lab.folder / "first.raw", SAY_FIRST + STOP)
    rom = _rom(lab.folder / "first.rom")
    run = [*entry_point(), "run", *SERIAL_ONLY, "--quiet"]
    interpreter = [sys.executable, "-c"]
    least = [
        min(times)
        for times in lab.turns(
            lambda: _to_first_byte([*run, str(disk)]),
            lambda: _to_first_byte([*run, "--bios", str(rom)]),
            lambda: _to_end([*interpreter, "import unicorn, ctypes"]),
            lambda: _to_end([*interpreter, "pass"]),
            rounds=lab.runs(STARTS, least=min(3, lab.rounds)),
        )
    ]
    firmware, bare, unicorn, nothing = least
    floor = "python -c 'import unicorn, ctypes'"
    yield Row("command to boot sector, our firmware", firmware, floor, unicorn, "s", START_GOAL)
    yield Row("command to reset vector, 4-KiB --bios", bare, floor, unicorn, "s", START_GOAL)
    yield Row(floor, unicorn, "python -c pass", nothing, "s")


def idle(lab: Lab) -> Iterator[Row]:
    """Measure the host's processor time while a guest does nothing but wait for its timer."""
    disk = _boot_sector(lab.folder / "idle.raw", SAY_FIRST + SLEEP)
    seconds = max(0.3, IDLE_S * lab.scale)
    peer = [
        require_tool("qemu-system-i386"),
        *("-accel", "tcg", "-M", "pc", "-cpu", PROCESSOR, "-nodefaults", "-display", "none"),
        *("-serial", "stdio", *map(str, ide_disk(disk, "raw"))),
    ]
    ours = _idle_share([*entry_point(), "run", *SERIAL_ONLY, str(disk)], seconds)
    theirs = _idle_share(peer, seconds)
    yield Row("idle guest, timer at 18.2 Hz: host CPU", 100 * ours, "QEMU TCG", 100 * theirs, "%", IDLE_GOAL)


def _boot_sector(path: Path, text: str) -> Path:
    code = assemble(f"bits 16\norg 0x7c00\n{text}\ntimes 510 - ($ - $$) db 0\ndw 0xaa55\n")
    path.write_bytes(code.ljust(MIB, b"\0"))
    return path


def _rom(path: Path) -> Path:
    path.write_bytes(assemble(f"bits 16\norg 0xf000\n{SAY_FIRST}{STOP}{ROM_END}"))
    return path


class _Command:
    """A command in a process group of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_for_first(self) -> float:
        """Return the seconds to the first byte the guest sent."""
        assert self.process.stdout is not None
        end = time.monotonic() + TIMEOUT_S
        descriptor = self.process.stdout.fileno()
        while select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            data = os.read(descriptor, 4096)
            if FIRST in data:
                return time.perf_counter() - self.began
            if not data:
                break
        raise AssertionError(f"{self.process.args!r} sent nothing; status {self.process.poll()}")

    def cpu_s(self) -> float:
        """Return the processor time that the group's live threads have used."""
        spent_ns = 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # one that ends meanwhile
                group = int((process / "stat").read_text().rpartition(")")[2].split()[2])
                if group == self.process.pid:
                    threads = process.glob("task/*/schedstat")
                    spent_ns += sum(int(thread.read_text().split()[0]) for thread in threads)
        return spent_ns / 1e9

    def close(self) -> None:
        """End the group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.communicate(timeout=TIMEOUT_S)


def _to_first_byte(command: Sequence[str]) -> float:
    running = _Command(command)
    try:
        return running.wait_for_first()
    finally:
        running.close()


def _to_end(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def _idle_share(command: Sequence[str], seconds: float) -> float:
    running = _Command(command)
    try:
        running.wait_for_first()
        time.sleep(SETTLE_S)
        before, began = running.cpu_s(), time.perf_counter()
        time.sleep(seconds)
        return (running.cpu_s() - before) / (time.perf_counter() - began)
    finally:
        running.close()
