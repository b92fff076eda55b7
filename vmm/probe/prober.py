"""Runs the probe's guest under one technique, once for each instruction and level, and keeps what it saw."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from vmm.config import MachineConfig
from vmm.errors import ConfigError, VmmError
from vmm.guests import PLACES
from vmm.machine import Machine
from vmm.probe import layout
from vmm.probe.cases import CASES, NOTHING, Case
from vmm.probe.layout import LEVELS, Level, Observation

ROM_FILE: Final = "probe/probe.bin"
MIB: Final = 1 << 20
TIMEOUT_S: Final = 10.0
DONE_IN_VM86: Final = "reflect.gp"


class Probed(msgspec.Struct, frozen=True):
    """One instruction at one level: how it ended, and which exits it took that a NOP does not."""

    key: str
    level: Level
    seen: Observation
    exits: tuple[str, ...]


class Probe(msgspec.Struct, frozen=True):
    """All of them under one technique; or why there are none."""

    technique: str
    results: tuple[Probed, ...] = ()
    fault: str = ""


def find_rom() -> Path:
    """Return the probe's ROM; ConfigError if it was not installed."""
    found = next((place / ROM_FILE for place in PLACES if (place / ROM_FILE).is_file()), None)
    if found is None:
        raise ConfigError(f"{ROM_FILE} is missing; install Trapline again")
    return found


def probe(config: MachineConfig) -> Probe:
    """Probe under the technique of a configuration."""
    name = config.full_technique
    try:
        with _Bench(config) as bench:
            return Probe(name, tuple(bench.results()))
    except VmmError as error:
        return Probe(name, fault=str(error))


class _Bench:
    """One machine, reset before each run."""

    def __init__(self, config: MachineConfig) -> None:
        config = msgspec.structs.replace(config, bios=str(find_rom()), memory_bytes=16 * MIB, clock="virtual")
        self._machine = Machine(config)

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *exception: object) -> None:
        self._machine.close()

    def results(self) -> list[Probed]:
        """Run them all."""
        found = []
        for level in LEVELS:
            ordinary = self._run(NOTHING, level)[1]
            for case in CASES:
                seen, exits = self._run(case, level)
                found.append(Probed(case.key, level, seen, _beyond(ordinary, exits, level, seen)))
        return found

    def _run(self, case: Case, level: Level) -> tuple[Observation, dict[str, int]]:
        machine = self._machine
        code = case.build(level)
        machine.reset()
        image = layout.memory_image(level, code, case.registers, case.operand)
        for address, data in image.items():
            machine.memory.write(address, data)
        before = {reason: count.count for reason, count in machine.exits.items()}
        result = machine.run(timeout_s=TIMEOUT_S)
        exits = {
            reason: count.count - before.get(reason, 0)
            for reason, count in machine.exits.items()
            if count.count > before.get(reason, 0)
        }
        if result.reason != "exit":
            return Observation(f"{result.reason}{': ' if result.detail else ''}{result.detail}"), exits
        record = machine.memory.read(layout.RECORD, layout.RECORD_DWORDS * 4)
        operand = machine.memory.read(layout.OPERAND, layout.OPERAND_BYTES)
        return layout.read_record(level, len(code), record, operand), exits


def _beyond(
    ordinary: dict[str, int], exits: dict[str, int], level: Level, seen: Observation
) -> tuple[str, ...]:
    """Return the reasons of exits that a NOP does not have.

    In VM86 a run that comes to its end does so by a #GP of its INT 81h; one that does not has none of that.
    """
    missing = 1 if level == "VM86" and seen.ended == "exception" else 0
    return tuple(
        sorted(
            reason
            for reason, count in exits.items()
            if count > ordinary.get(reason, 0) - (missing if reason == DONE_IN_VM86 else 0)
        )
    )
