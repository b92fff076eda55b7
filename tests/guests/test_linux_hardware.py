"""Debian's Linux under hardware assistance: what it says is what it says bare, and few exits do it."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.guests.assets.initramfs import HALTED, PROMPT, LinuxGuest
from vmm.config import MachineConfig
from vmm.machine import Machine
from vmm.trace.events import ExitCount

pytestmark = [pytest.mark.guest, pytest.mark.verify]

BOOT_S = 600
MOST_EXITS = 200_000  # without I/O
COMMANDS = (b"echo $((6 * 7))\n", b"sha256sum /bin/busybox /init\n", b"cat /proc/version\n", b"exit\n")
NOISE = re.compile(rb"Oops|BUG|WARNING")
# Times, and figures that depend on them
VARYING = (
    (rb"^\[ *\d+\.\d+\]", b"[T]"),
    (rb"\d+ (usecs|MHz|ms|KiB/s|MB/s)", rb"N \1"),
    (rb"\d+\.\d+ (MHz|BogoMIPS|s|ms|MB/sec)", rb"N \1"),
    (rb"(mult|shift|max_idle_ns|lpj|random): ?\S+", rb"\1 N"),
    (rb"audit\([\d.:]+\)", rb"audit(T)"),
    (rb"system clock to .*", rb"system clock to T"),
    (rb".*clocksource.*", b""),  # which one stays depends on how steady the host's time is
)


def normalised(output: bytes) -> list[bytes]:
    """The kernel's lines and the answers, times and counters made alike, in the order of their text."""
    lines = []
    for line in output.replace(b"\r", b"").replace(PROMPT, b"").split(b"\n"):
        for pattern, instead in VARYING:
            line = re.sub(pattern, instead, line)
        if line.strip() and line + b"\n" not in COMMANDS:  # an echo may come twice
            lines.append(line)
    return sorted(lines)


@cache
def boot(guest: LinuxGuest, technique: str, paging: str) -> tuple[bytes, dict[str, ExitCount]]:
    config = MachineConfig(
        engine="accelerated", technique=technique, paging=paging,  # type: ignore[arg-type]
        kernel=str(guest.kernel), initrd=(str(guest.initramfs),), append=guest.command_line("shell"),
        memory_bytes=256 << 20,
    )  # fmt: skip
    with Machine(config) as machine:
        for command in COMMANDS:
            assert machine.run(until=PROMPT, timeout_s=BOOT_S).reason == "until"
            machine.send_serial(command)
        machine.run(timeout_s=BOOT_S)
        return machine.serial_output(0), machine.exits


@pytest.mark.parametrize("paging", ["nested", "shadow"])
@pytest.mark.parametrize("fixture", ["linux_i386", "linux_amd64"])
def test_the_console_is_that_of_the_bare_machine(
    fixture: str, paging: str, accelerated: str, request: pytest.FixtureRequest
) -> None:
    guest = request.getfixturevalue(fixture)
    bare, _ = boot(guest, "bare", "nested")
    output, exits = boot(guest, "hardware", paging)
    assert HALTED in output
    assert not NOISE.findall(output)
    assert normalised(output) == normalised(bare)
    counts = {reason: count.count for reason, count in exits.items() if reason.startswith("vmexit.")}
    print(f"{fixture} {paging}: {sum(counts.values())} exits without I/O:", counts)
    if fixture == "linux_i386":
        assert sum(counts.values()) <= MOST_EXITS
