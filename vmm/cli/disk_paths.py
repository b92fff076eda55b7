"""`trapline compare --disk-paths`: the same work by every way to a disk that a guest has drivers for.

Snare brings its own drivers and goes by those; a kernel that is given has to have an initramfs that
does the work and says so, as `vmm.cli.disk_path_child` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec

from vmm.cli.disk_path_child import PathJob, PathOutcome, Work
from vmm.cli.image_argument import machine_of
from vmm.cli.work_child import ask
from vmm.config import DriveConfig, MachineConfig
from vmm.errors import UsageError
from vmm.scsi_config import ScsiAdapter, ScsiDrive

CHILD: Final = "vmm.cli.disk_path_child"
SNARE: Final = "guest:snare"
PROMPT: Final = "snare> "
TYPED: Final = "measure\n"
DISK_BYTES: Final = 64 << 20  # of a given kernel's disk, empty at first
SECTOR_BYTES: Final = 512

GROUPS: Final = {
    "port": ("io.",),
    "MMIO": ("mmio.",),
    "interrupt": ("interrupt", "nmi"),
    "hypercall": ("hypercall.",),
}
"""Beginnings of the keys of `vmm.trace.reasons`; what is in none is `other`."""


class DiskPath(NamedTuple):
    """A way to a disk. `words` go to the command line of a kernel that is given."""

    name: str
    title: str
    adapter: str = ""  # "": IDE
    words: str = ""
    paravirtual: bool = False


IDE_PIO: Final = DiskPath("ide-pio", "IDE, PIO", words="libata.dma=0")
AIC: Final = DiskPath("aic7870", "AIC-7870", "aic7870")
SNARE_PATHS: Final = (IDE_PIO, AIC, DiskPath("ring", "hypercall ring", paravirtual=True))
KERNEL_PATHS: Final = (
    IDE_PIO,
    DiskPath("ide-dma", "IDE, DMA"),
    AIC,
    DiskPath("virtio-scsi", "virtio-scsi", "virtio"),
)


class Measured(NamedTuple):
    """A path and what came of it."""

    path: DiskPath
    outcome: PathOutcome

    def facts(self) -> dict[str, Any]:
        """Return it for JSON."""
        work = {way: work_facts(work) for way, work in self.outcome.work.items()}
        return {"path": self.path.name, "title": self.path.title, "fault": self.outcome.fault, **work}


def work_facts(work: Work) -> dict[str, Any]:
    """Return what was counted, and the same for one sector."""
    count = sum(entry.count for entry in work.exits.values())
    groups = grouped(work)
    return {
        "sectors": work.sectors,
        "exits": {reason: {"count": e.count, "host_ns": e.host_ns} for reason, e in work.exits.items()},
        "exits_per_sector": count / work.sectors,
        "by_group_per_sector": {name: number / work.sectors for name, number in groups.items()},
        "bytes_per_exit": work.sectors * SECTOR_BYTES / count if count else None,
        "interrupts": groups["interrupt"],
        "host_us_per_sector": work.host_ns / 1e3 / work.sectors,
    }


def grouped(work: Work) -> dict[str, int]:
    """Return how many exits there were of each group."""
    found = dict.fromkeys((*GROUPS, "other"), 0)
    for reason, entry in work.exits.items():
        found[next((name for name, starts in GROUPS.items() if reason.startswith(starts)), "other")] += (
            entry.count
        )
    return found


def measured(
    image: Path | None, changes: dict[str, Any], timeout_s: float, tell: Callable[[str], None]
) -> Iterator[Measured]:
    """Run the guest by each path; `changes` are fields of its machine, `tell` says what is going on."""
    if image is not None and str(image) != SNARE:
        raise UsageError(f"--disk-paths {image}: expected {SNARE}, or --kernel and --initrd")
    if image is not None and "kernel" in changes:
        raise UsageError(f"--disk-paths: {SNARE} has a kernel; leave out --kernel or the image")
    paths = KERNEL_PATHS if "kernel" in changes else SNARE_PATHS
    for number, path in enumerate(paths, 1):
        tell(f"{path.title} ({number} of {len(paths)})")
        with ExitStack() as cleanup:
            job = _kernel_job(path, changes, timeout_s, cleanup) if "kernel" in changes else None
            job = job or _snare_job(path, changes, timeout_s, cleanup)
            answer = ask(CHILD, job.pack(), timeout_s)
        outcome = PathOutcome(fault=answer.fault)
        yield Measured(path, outcome if answer.fault else msgspec.json.decode(answer.data, type=PathOutcome))


def _snare_job(path: DiskPath, changes: dict[str, Any], timeout_s: float, cleanup: ExitStack) -> PathJob:
    base = machine_of(Path(SNARE), cleanup, paravirtual=path.paravirtual)
    if path.paravirtual:
        base = msgspec.structs.replace(base, technique="para")
    image = base.hd[0].path
    return PathJob(_machine(base, path, image, changes), timeout_s, PROMPT, TYPED)


def _kernel_job(path: DiskPath, changes: dict[str, Any], timeout_s: float, cleanup: ExitStack) -> PathJob:
    folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="trapline-")))
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    words = (changes.get("append", ""), f"trapline.disk-path={path.name}", path.words)
    command_line = " ".join(word for word in words if word)
    return PathJob(
        _machine(MachineConfig(), path, str(image), {**changes, "append": command_line}), timeout_s
    )


def _machine(base: MachineConfig, path: DiskPath, image: str, changes: dict[str, Any]) -> MachineConfig:
    """Return `base` with the image where the path leads; its clock runs with the guest, so counts repeat."""
    disks: dict[str, Any] = {"hd": (DriveConfig(path=image),)}
    if path.adapter:
        adapters = (ScsiAdapter(path.adapter),)  # type: ignore[arg-type]
        disks = {"hd": (), "scsi_adapters": adapters, "scsi_hd": (ScsiDrive(path=image),)}
    return msgspec.structs.replace(base, **disks, **changes, clock="virtual", snapshot=True).check()
