"""Guests that attack the monitor, under every technique: contained, ended, and nobody hurt but themselves.

They are in `techniques/attack_*.asm`. What a full technique shows them is what bare shows them; under
trap-and-emulate and para values may differ, and the guest must still come to its end. The monitor's own
memory is looked at after each: `attack_checks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.guests.attack_checks import Sentinels, check, hidden_of
from tests.guests.technique_rig import (
    DISK_BYTES,
    FULL,
    config_of,
    image_of,
    require_engine,
)
from vmm.config import FULL_TECHNIQUES
from vmm.cpu.descriptors import ACCESS_BYTE
from vmm.cpu.paging import PTE_P, PTE_W
from vmm.machine import Machine
from vmm.memory import MONITOR_BASE
from vmm.techniques import shadow_pager
from vmm.techniques.translation import patch
from vmm.techniques.trap import Trap

pytestmark = pytest.mark.guest

TIMEOUT_S: Final = 60
FULL_S: Final = 1500  # every selector of both tables, and each load makes the monitor copy 64 KiB of table
DATA0: Final = 0x10  # the guests' selector
ATTACKS: Final = ("attack_memory", "attack_modes", "attack_tables", "attack_selectors")
LONG: Final[dict[str, tuple[str, ...]]] = {
    # what `make test` leaves out of each
    "attack_memory": ("-DSTEP=0x4000000",),
    "attack_modes": ("-DTURNS=100",),
    "attack_selectors": ("-DSTRIDE=61",),
}
RESULTS: Final = {  # what each says, by name; the values are compared where they must be bare's
    "attack_memory": ["large", "pae", "unpaged", "done"],
    "attack_modes": ["paged", "real", "done"],
    "attack_tables": ["aliases", "code", "done"],
    "attack_selectors": ["loaded", "bases", "vectors", "done"],
}
MONITORED: Final = tuple(name for name in FULL_TECHNIQUES if name != "bare")


@contextmanager
def neighbour(folder: Path) -> Iterator[Machine]:
    """Another machine of the process, which knows nothing of the attack."""
    disk = folder / "neighbour.img"
    disk.write_bytes(image_of("gdt").ljust(DISK_BYTES, b"\0"))
    with Machine(config_of(disk, "bare", "auto")) as machine:
        yield machine


def attack(
    name: str,
    technique: str,
    engine: str,
    folder: Path,
    defines: tuple[str, ...] = (),
    timeout_s: float = TIMEOUT_S,
) -> tuple[str, list[str]]:
    """Run an attack, and look at the monitor's own memory. Return how it ended, and its lines."""
    disk = folder / "disk.img"
    disk.write_bytes(image_of(name, defines))
    with Machine(config_of(disk, technique, engine)) as machine:
        own = hidden_of(machine.technique)
        assert (own is None) == (technique == "bare")
        sentinels = None if own is None else Sentinels(own)
        result = machine.run(timeout_s=timeout_s)
        if sentinels is not None:
            sentinels.check()
            check(machine.technique)
        machine.registers()
        return result.reason, machine.debug_output().decode("latin1").splitlines()


def contained(
    name: str,
    technique: str,
    engine: str,
    folder: Path,
    defines: tuple[str, ...],
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Assert what every technique owes."""
    require_engine(engine, technique)
    with neighbour(folder) as other:
        reason, lines = attack(name, technique, engine, folder, defines, timeout_s)
        assert other.run(timeout_s=TIMEOUT_S).reason == "exit"
        assert other.debug_output().endswith(b"done\n")
    if technique == "translation-cache" and name == "attack_memory":
        assert reason == "unsupported"  # it needs a hole in the linear space, and this guest has mapped all
    else:
        assert reason == "exit", lines
        assert [line.split()[0] for line in lines] == RESULTS[name]
    if technique in FULL:
        wanted_reason, wanted = attack(name, "bare", engine, folder, defines)
        assert wanted_reason == "exit"
        assert [line.split()[0] for line in wanted] == RESULTS[name]
        assert lines == wanted[: len(lines)]


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
    contained(name, technique, "accelerated", tmp_path, (), FULL_S)


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


def test_the_checks_see_what_they_look_for(tmp_path: Path) -> None:
    require_engine("accelerated", "trap")
    disk = tmp_path / "disk.img"
    disk.write_bytes(image_of("attack_triple"))
    with Machine(config_of(disk, "trap", "accelerated")) as machine:
        technique = machine.technique
        assert isinstance(technique, Trap)
        own, pager = technique.hidden, technique.pager
        sentinels = Sentinels(own)
        machine.run(timeout_s=TIMEOUT_S)
        sentinels.check()
        check(technique)
        table = pager._enter(0x7000_0000, 0x5000, PTE_W, 0)
        own.words[table.words] = MONITOR_BASE | PTE_P
        with pytest.raises(AssertionError, match="0x70000000"):
            check(technique)
        pager.drop_all()
        check(technique)
        own.bytes[technique.descriptors._at + DATA0 + ACCESS_BYTE] = 0x92  # of ring 0
        with pytest.raises(AssertionError):
            check(technique)
        own.bytes[own._next + 0x10_0000 - MONITOR_BASE] = 1  # a page that is nobody's
        with pytest.raises(AssertionError):
            sentinels.check()


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
