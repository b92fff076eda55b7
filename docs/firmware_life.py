"""The life of one READ(10) in an AIC-7870, phase by phase, from a trace of the firmware Debian downloads.

`docs/refresh_transcripts.py --lives` writes it to docs/reference/devices/_generated, for the page of the
chip to include. A small driver does with the chip what Linux's does (`tests/devices/aic7870/mini_driver.py`);
the instructions, what they find and what comes of them are the firmware's and the chip's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from devices.aic7870.watching import CommandWatch, Step, program_of
from devices.backplane import TraceEvent
from vmm.cli.sequencer_lines import HEAD, program_lines, step_text

FOLDER: Final = Path(__file__).with_name("reference") / "devices" / "_generated"
PARTS: Final = ("queue", "message-out", "command", "data-in", "status", "message-in", "bus-free")
READ_10: Final = 0x28
LBA: Final = 2048
SECTORS: Final = 2


class _Tap:
    """Gives the chip's events to the watch, once there is one."""

    watch: CommandWatch | None = None

    def emit(self, event: TraceEvent) -> None:
        """Take one."""
        if self.watch is not None:
            self.watch.emit(event)


def snippets() -> dict[str, str]:
    """Return the trace by part, a line an instruction.

    Raises:
        tests.oracles.MissingError: the firmware cannot be had.
    """
    from tests.devices.aic7870.firmware import firmware
    from tests.devices.aic7870.mini_driver import BUFFER, MiniDriver, Scb, read10

    tap = _Tap()
    rig = MiniDriver(firmware(), tracer=tap)
    rig.start()
    rig.ready()
    tap.watch = watch = CommandWatch(rig.chip, READ_10)
    rig.chip.sequencer.watcher = watch
    rig.run(Scb(read10(LBA, SECTORS), [(BUFFER, SECTORS * 512)]))
    program = program_lines(program_of(rig.chip))
    parts: dict[str, list[str]] = {}
    for step in watch.steps:
        parts.setdefault(_part(step, parts), [HEAD]).append(step_text(step, program[step.pc].text))
    return {name: "\n".join(lines) + "\n" for name, lines in parts.items()}


def _part(step: Step, parts: dict[str, list[str]]) -> str:
    """Return the phase; the bus is free before and after the connection."""
    return "queue" if step.phase in ("bus-free", "selection") and len(parts) < 2 else step.phase


def write() -> None:
    """Write the parts."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in snippets().items():
        (FOLDER / f"read10-{name}.txt").write_text(text, encoding="utf-8")
