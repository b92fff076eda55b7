"""The life of one READ(10) in an AIC-7870, phase by phase, from the trace of a booting Debian.

`docs/refresh_transcripts.py --lives` writes it to docs/reference/devices/_generated, for the page of the
chip to include. The run is that of `trapline sequencer --trace-command read10`: Debian's kernel with its
unmodified aic7xxx on the machine, an empty disk at id 0. The first READ(10) is the kernel's own, which looks
for a partition table. The clock runs with the guest, so each run shows the same.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from devices.aic7870.watching import Step
from vmm.cli.sequencer_child import Seen, SequencerJob, run
from vmm.cli.sequencer_lines import HEAD, program_lines, step_text
from vmm.config import MachineConfig
from vmm.scsi_config import ScsiAdapter, ScsiDrive

FOLDER: Final = Path(__file__).with_name("reference") / "devices" / "_generated"
PARTS: Final = ("queue", "message-out", "command", "data-in", "status", "message-in", "bus-free")
READ_10: Final = 0x28
DISK_BYTES: Final = 64 << 20
MEMORY_BYTES: Final = 256 << 20
TIMEOUT_S: Final = 3000  # a busy host gives a boot a tenth of a processor


def snippets() -> dict[str, str]:
    """Boot Debian; return the trace by part, a line an instruction.

    Raises:
        tests.oracles.MissingError: Debian's kernel cannot be had.
    """
    seen = _boot()
    if seen.fault or not seen.status:
        raise SystemExit(f"no READ(10) was seen: {seen.fault or seen.ended}")
    program = program_lines(seen.program)
    parts: dict[str, list[str]] = {}
    for step in seen.steps:
        parts.setdefault(_part(step, parts), [HEAD]).append(step_text(step, program[step.pc].text))
    return {name: "\n".join(lines) + "\n" for name, lines in parts.items()}


def _boot() -> Seen:
    from tests.guests.assets.initramfs import linux_guest

    guest = linux_guest("i386")
    with tempfile.NamedTemporaryFile(prefix="trapline-", suffix=".img") as disk:
        disk.truncate(DISK_BYTES)
        config = MachineConfig(
            kernel=str(guest.kernel),
            initrd=(str(guest.initramfs),),
            append=guest.command_line("scsi"),
            memory_bytes=MEMORY_BYTES,
            engine="accelerated",
            clock="virtual",
            scsi_adapters=(ScsiAdapter("aic7870"),),
            scsi_hd=(ScsiDrive(path=disk.name),),
            snapshot=True,
        )
        return run(SequencerJob(config, 0, TIMEOUT_S, trace=True, operation=READ_10))


def _part(step: Step, parts: dict[str, list[str]]) -> str:
    """Return the phase; the bus is free before and after the connection."""
    return "queue" if step.phase in ("bus-free", "selection") and len(parts) < 2 else step.phase


def write() -> None:
    """Write the parts."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in snippets().items():
        (FOLDER / f"read10-{name}.txt").write_text(text, encoding="utf-8")
