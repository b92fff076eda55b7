"""Debian's i686 Linux, a kernel that nobody here wrote, under every technique: as on bare, or why not.

Where a technique hides itself the console is bare's, times and counters masked. Trap-and-emulate cannot:
the kernel meets an interrupt it cannot return from, and what led there is named.
"""

from __future__ import annotations

import difflib
import re
from functools import cache

import pytest

from tests.guests.assets.initramfs import HALTED, LinuxGuest
from tests.guests.assets.sessions import BOOT_S, COMPLAINTS, Session, run_commands, run_mode
from tests.guests.assets.trapline import linux_options, trapline
from vmm.techniques.translation.patch import Patch

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("accelerated")]

HARDWARE = ("hardware-nested", "hardware-shadow")
TRANSLATION = ("translation-patch", "translation-cache")
MOST_EXITS = 200_000
MOST_FILLS = 60_000
MOST_SITES = 200
PANIC = "Kernel panic - not syncing"
TIMES = (1, 2, 3)

three_times = pytest.mark.parametrize("time", TIMES)


@cache
def bare(guest: LinuxGuest, mode: str) -> Session:
    """The reference, once a session."""
    session = run_commands(guest, "bare", mode)
    check(session)
    assert session.lines.count("status 3") == 1
    assert "slept" in session.lines
    return session


def check(session: Session) -> None:
    """The kernel came to its end and found nothing wrong."""
    assert session.result.reason == "halted", (session.result, session.console[-3000:])
    assert HALTED.decode() in session.console
    assert not COMPLAINTS.search(session.console), session.console


def run_like_bare(guest: LinuxGuest, technique: str, mode: str = "commands") -> Session:
    """The same console as bare, checksums and all. Kernel messages may come in another order."""
    session = run_commands(guest, technique, mode)
    print(session.table())
    check(session)
    reference = bare(guest, mode)
    assert session.answers == reference.answers
    difference = difflib.unified_diff(sorted(reference.lines), sorted(session.lines), "bare", "here", n=0)
    assert not "\n".join(difference)
    assert not session.technique.findings
    return session


def test_hardware_boots(linux_i386: LinuxGuest) -> None:
    session = run_mode(linux_i386, "hardware-nested", "boot")
    print(session.table())
    check(session)
    assert session.exits_without_io <= MOST_EXITS, session.table()


@three_times
@pytest.mark.parametrize("fixture", ["linux_i386", "linux_amd64"])
@pytest.mark.parametrize("technique", HARDWARE)
@pytest.mark.verify
@pytest.mark.timeout(BOOT_S * 12)
def test_hardware_shows_no_difference_from_bare(
    technique: str, fixture: str, time: int, request: pytest.FixtureRequest
) -> None:
    session = run_like_bare(request.getfixturevalue(fixture), technique, "shell")
    if fixture == "linux_i386":
        assert session.exits_without_io <= MOST_EXITS, session.table()


@three_times
@pytest.mark.verify
@pytest.mark.timeout(BOOT_S * 12)
def test_patching_shows_no_difference_from_bare(linux_i386: LinuxGuest, time: int) -> None:
    session = run_like_bare(linux_i386, "translation-patch")
    technique = session.technique
    assert isinstance(technique, Patch)
    print(f"{technique.patched_sites} sites, blocks by ring: {technique.blocks_by_ring}")
    assert technique.blocks_by_ring[1] == session.exits["scan.block"].count > 10_000
    assert technique.blocks_by_ring[0] == 0
    assert 100 < technique.patched_sites <= MOST_SITES
    assert session.exits["shadow.fill"].count <= MOST_FILLS


@three_times
@pytest.mark.verify
@pytest.mark.timeout(BOOT_S * 12)
def test_the_cache_shows_no_difference_from_bare(linux_i386: LinuxGuest, time: int) -> None:
    run_like_bare(linux_i386, "translation-cache")


@pytest.mark.verify
@pytest.mark.timeout(BOOT_S)
def test_trap_and_emulate_ends_at_the_first_interrupt(linux_i386: LinuxGuest) -> None:
    """Its handler asks by PUSHF whether interrupts are off, is shown the real IF, and the kernel gives up."""
    session = run_mode(linux_i386, "trap", "boot", until=PANIC)
    assert session.result.reason == "until", (session.result, session.console[-3000:])
    assert "kernel BUG at kernel/irq_work.c" in session.console
    assert session.exits["inject.interrupt"].count == 1
    found = {finding.name for finding in session.technique.findings}
    assert {"PUSHF", "POPF", "RET", "PUSH", "MOV"} <= found


@pytest.mark.verify
@pytest.mark.timeout(BOOT_S)
def test_trapline_run_names_what_trap_and_emulate_got_wrong(linux_i386: LinuxGuest) -> None:
    options = ("--technique", "trap", "--clock", "virtual", "--expect", PANIC, "--timeout", str(BOOT_S))
    with trapline("run", *linux_options(linux_i386, "boot"), *options) as machine:
        machine.wait_for_end(BOOT_S)
        output = bytes(machine.output).decode("latin-1")
    assert PANIC in output
    assert "places where Popek and Goldberg's condition is violated" in output
    assert re.search(r"pushfd +PUSHF at [0-9a-f]{8}h showed the guest the real IF", output)
