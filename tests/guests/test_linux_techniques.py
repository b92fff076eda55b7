"""Debian's i686 Linux, a kernel that nobody here wrote, under every technique: as on bare, or why not.

Where a technique hides itself the console is bare's, times and counters masked. Trap-and-emulate cannot:
the kernel meets an interrupt it cannot return from, and what led there is named.
"""

from __future__ import annotations

import difflib
from functools import cache

import pytest

from tests.guests.assets.initramfs import HALTED, LinuxGuest
from tests.guests.assets.sessions import BOOT_S, COMPLAINTS, Session, run_commands, run_mode
from vmm.techniques.translation.patch import Patch

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("accelerated")]

HARDWARE = ("hardware-nested", "hardware-shadow")
TRANSLATION = ("translation-patch", "translation-cache")
MOST_EXITS = 200_000
MOST_FILLS = 60_000
MOST_SITES = 200
TIMES = (1, 2, 3)

three_times = pytest.mark.parametrize("time", TIMES)


@cache
def bare(guest: LinuxGuest) -> Session:
    """The reference, once a session."""
    session = run_commands(guest, "bare")
    check(session)
    assert session.lines.count("status 3") == 1
    assert "slept" in session.lines
    return session


def check(session: Session) -> None:
    """The kernel came to its end and found nothing wrong."""
    assert session.result.reason == "halted", (session.result, session.console[-3000:])
    assert HALTED.decode() in session.console
    assert not COMPLAINTS.search(session.console), session.console


def check_like_bare(session: Session, guest: LinuxGuest) -> None:
    """The same console as bare, checksums and all. Kernel messages may come in another order."""
    print(session.table())
    check(session)
    reference = bare(guest)
    assert session.answers == reference.answers
    difference = difflib.unified_diff(sorted(reference.lines), sorted(session.lines), "bare", "here", n=0)
    assert not list(difference)
    assert not session.technique.findings


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
    guest = request.getfixturevalue(fixture)
    session = run_commands(guest, technique)
    check_like_bare(session, guest)
    if fixture == "linux_i386":
        assert session.exits_without_io <= MOST_EXITS, session.table()


@three_times
@pytest.mark.verify
@pytest.mark.timeout(BOOT_S * 12)
def test_patching_shows_no_difference_from_bare(linux_i386: LinuxGuest, time: int) -> None:
    session = run_commands(linux_i386, "translation-patch")
    check_like_bare(session, linux_i386)
    technique = session.technique
    assert isinstance(technique, Patch)
    print(f"{technique.patched_sites} sites, blocks by ring: {technique.blocks_by_ring}")
    assert technique.blocks_by_ring[1] == session.exits["scan.block"].count > 10_000
    assert technique.blocks_by_ring[0] == 0
    assert 100 < technique.patched_sites <= MOST_SITES


@pytest.mark.verify
@pytest.mark.timeout(BOOT_S)
def test_patching_boots_within_its_budget(linux_i386: LinuxGuest) -> None:
    session = run_mode(linux_i386, "translation-patch", "boot")
    print(session.table())
    check(session)
    assert session.exits["shadow.fill"].count <= MOST_FILLS


@three_times
@pytest.mark.verify
@pytest.mark.timeout(BOOT_S * 12)
def test_the_cache_shows_no_difference_from_bare(linux_i386: LinuxGuest, time: int) -> None:
    check_like_bare(run_commands(linux_i386, "translation-cache"), linux_i386)
