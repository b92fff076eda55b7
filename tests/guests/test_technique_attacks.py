"""Guests that attack the monitor, under every technique: contained, ended, and nobody hurt but themselves.

They are in `techniques/attack_*.asm`. What a full technique shows them is what bare shows them; under
trap-and-emulate and para the guest may differ, and must still end in good order or be stopped from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.guests.technique_rig import (
    DISK_BYTES,
    FULL,
    TECHNIQUES,
    config_of,
    image_of,
    require_engine,
)
from vmm.machine import Machine
from vmm.memory import MONITOR_BASE
from vmm.techniques import shadow_pager
from vmm.techniques.translation import patch

pytestmark = pytest.mark.guest

TIMEOUT_S: Final = 60
SENTINEL: Final = bytes(range(1, 256)) * 16
ATTACKS: Final = ("attack_memory", "attack_modes", "attack_tables", "attack_selectors")
LONG: Final[dict[str, tuple[str, ...]]] = {
    # what `make test` leaves out of each
    "attack_memory": ("-DSTEP=0x4000000",),
    "attack_modes": ("-DTURNS=100",),
    "attack_selectors": ("-DSTRIDE=61",),
}
LAST_LINE: Final = {
    "attack_memory": "unpaged",
    "attack_modes": "real",
    "attack_tables": "code",
    "attack_selectors": "vectors",
}
MONITORED: Final = tuple(name for name in TECHNIQUES if name != "bare")


@contextmanager
def neighbour(folder: Path) -> Iterator[Machine]:
    """Another machine of the process, which knows nothing of the attack."""
    disk = folder / "neighbour.img"
    disk.write_bytes(image_of("gdt").ljust(DISK_BYTES, b"\0"))
    with Machine(config_of(disk, "bare", "auto")) as machine:
        yield machine


def attack(
    name: str, technique: str, engine: str, folder: Path, defines: tuple[str, ...] = ()
) -> tuple[str, list[str]]:
    """Run an attack; a page of the monitor's own must stay as it is. Return how it ended, and its lines."""
    disk = folder / "disk.img"
    disk.write_bytes(image_of(name, defines))
    with Machine(config_of(disk, technique, engine)) as machine:
        own = getattr(machine.technique, "hidden", None)
        page = None
        if own is not None:
            page = own.allocate() - MONITOR_BASE
            own.bytes[page : page + len(SENTINEL)] = SENTINEL
        result = machine.run(timeout_s=TIMEOUT_S)
        if page is not None:
            assert bytes(own.bytes[page : page + len(SENTINEL)]) == SENTINEL
        machine.registers()
        return result.reason, machine.debug_output().decode("latin1").splitlines()


def contained(name: str, technique: str, engine: str, folder: Path, defines: tuple[str, ...]) -> None:
    """Assert what every technique owes."""
    require_engine(engine, technique)
    with neighbour(folder) as other:
        reason, lines = attack(name, technique, engine, folder, defines)
        assert reason != "timeout", lines
        assert other.run(timeout_s=TIMEOUT_S).reason == "exit"
        assert other.debug_output().endswith(b"done\n")
    if technique in FULL:
        wanted_reason, wanted = attack(name, "bare", engine, folder, defines)
        assert wanted_reason == "exit"
        assert any(line.startswith(LAST_LINE[name]) for line in wanted)
        if technique == "translation-cache" and reason == "unsupported":
            return  # it needs a hole in the linear space, and this guest has mapped all
        assert (reason, lines) == (wanted_reason, wanted)


@pytest.mark.verify
@pytest.mark.parametrize("technique", MONITORED)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_contained(name: str, technique: str, tmp_path: Path) -> None:
    contained(name, technique, "accelerated", tmp_path, LONG.get(name, ()))


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("technique", MONITORED)
@pytest.mark.parametrize("name", sorted(LONG))
def test_an_attack_in_full_is_contained(name: str, technique: str, tmp_path: Path) -> None:
    contained(name, technique, "accelerated", tmp_path, ())


@pytest.mark.verify
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("technique", MONITORED)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_contained_on_the_portable_engine(name: str, technique: str, tmp_path: Path) -> None:
    contained(name, technique, "portable", tmp_path, LONG.get(name, ()))


@pytest.mark.parametrize("technique", MONITORED)
def test_a_triple_fault_ends_the_guest_and_nobody_else(technique: str, tmp_path: Path) -> None:
    require_engine("accelerated", technique)
    assert attack("attack_triple", technique, "accelerated", tmp_path) == (
        "triple-fault",
        ["before 60000028"],  # CR0, and the selector of LTR in its low half
    )


@pytest.mark.verify
@pytest.mark.parametrize("technique", ["translation-patch", "translation-cache", "hardware-shadow", "trap"])
def test_a_monitor_short_of_memory_drops_and_goes_on(
    technique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_pager, "_REVERSE_MOST", 500)
    contained("attack_tables", technique, "accelerated", tmp_path, ())


def test_a_guest_with_sensitive_code_everywhere_does_not_use_up_the_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch, "_MOST_COPIES", 100)
    contained("attack_tables", "translation-patch", "accelerated", tmp_path, ())
