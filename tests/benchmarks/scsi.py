"""SCSI: what a command costs the AIC-7870 by itself, and disks as Linux sees them, against QEMU's.

The chip runs the firmware that Linux downloads, driven by a small driver in Python; its floor is the disk
alone, which gives the same sectors. Linux reads with dd past its cache, one command after the other, and
times it by its own clock; QEMU has no AIC-7870, hence its LSI 53C895A is the peer.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from devices.aic7870.instruction import ADC, ADD, JMP, ROL, XOR, alu, branch
from disks.open import open_image
from tests.benchmarks.lab import Lab
from tests.benchmarks.rows import Goal, Row
from tests.devices.aic7870.firmware import firmware
from tests.devices.aic7870.mini_driver import BUFFER, MiniDriver, Scb, read10
from tests.devices.aic7870.sequencer_rig import Rig as SequencerRig
from tests.guests.assets.console import ConsoleProcess
from tests.guests.assets.initramfs import HALTED, LinuxGuest, linux_guest
from tests.guests.assets.qemu import ide_disk, linux_arguments, qemu
from tests.guests.assets.trapline import linux_options, trapline

SECTOR_BYTES: Final = 512
PAGE: Final = 4096
NEVER_HOT: Final = 1 << 30
CHIP_DISK_BYTES: Final = 1 << 20
WARM: Final = 100  # commands until all is compiled that will be
COMMAND_GOAL: Final = Goal("ours", 0.25)  # ms
LARGE_GOAL: Final = Goal("ours", 0.655)  # ms of 64 KiB: 100 MB/s

# 20h counts turns, 21h and 22h with it as one number, so that no state comes again; 23h mixes bits
COUNTING: Final = (
    alu(ADD, 0x20, 0x20, 1), alu(ADC, 0x21, 0x21, 0), alu(ADC, 0x22, 0x22, 0),
    alu(XOR, 0x23, 0x23, 0x5A), alu(ROL, 0x23, 0x23, 3), branch(JMP, 0x20, 0, 0),
)  # fmt: skip

DISK_BYTES: Final = 64 << 20
SPEED: Final = re.compile(rb"TRAPLINE-SPEED (\d+) (\d+) from ([\d.]+) to ([\d.]+)")
UPTIME_STEP_S: Final = 0.01  # of /proc/uptime
LINUX_S: Final = 900
VIRTIO_GOAL: Final = Goal("ratio", 2.0)


class Reading(NamedTuple):
    """A length of a command, and how many commands at full scale."""

    name: str
    length: int
    count: int


READINGS: Final = (
    Reading("64 KiB", 64 << 10, 512),
    Reading("1 MiB", 1 << 20, 48),
    Reading("4 KiB", 4 << 10, 4096),
)


class Way(NamedTuple):
    """A disk in our machine and its peer in QEMU's; `disk` is put after the last of `ours`."""

    name: str
    ours: tuple[str, ...]
    peer: str
    theirs: tuple[str, ...]
    goal: Goal | None = None


WAYS: Final = (
    Way("IDE DMA", ("--hd",), "QEMU IDE", ()),
    Way("AIC-7870", ("--scsi-adapter", "aic7870", "--scsi-hd"), "QEMU lsi53c895a", ("lsi53c895a",)),
    Way("virtio-scsi", ("--scsi-adapter", "virtio", "--scsi-hd"), "QEMU virtio-scsi",
        ("virtio-scsi-pci",), VIRTIO_GOAL),
)  # fmt: skip


def chip(lab: Lab) -> Iterator[Row]:
    """Measure commands on the chip, and the sequencer compiled and interpreted."""
    compiled, interpreted = _driver(lab), _driver(lab, hot=NEVER_HOT)
    count = lab.loops(400)
    small, disk_small, slow = lab.medians(
        lambda: _commands(compiled, PAGE, count),
        lambda: _disk_alone(compiled, PAGE, count),
        lambda: _commands(interpreted, PAGE, count),
    )
    large, disk_large = lab.medians(
        lambda: _commands(compiled, 64 << 10, count), lambda: _disk_alone(compiled, 64 << 10, count)
    )
    yield Row(
        "AIC-7870 alone, READ of 4 KiB", small * 1e3, "the disk alone", disk_small * 1e3, "ms", COMMAND_GOAL
    )
    rate = (64 << 10) / large / 1e6
    yield Row("AIC-7870 alone, READ of 64 KiB", large * 1e3, "the disk alone", disk_large * 1e3, "ms",
              LARGE_GOAL, f"{rate:.0f} MB/s")  # fmt: skip
    before = compiled.chip.instructions
    _commands(compiled, PAGE, 2)
    instructions = (compiled.chip.instructions - before) / 2
    ns = 1e9 / instructions
    yield Row("an instruction of that command, compiled", small * ns, "interpreted", slow * ns, "ns",
              note=f"{instructions:.0f} a command, with all they have the chip do")  # fmt: skip


def sequencer(lab: Lab) -> Iterator[Row]:
    """Measure instructions that have no chip do anything: a loop that counts in scratch RAM."""
    count = lab.loops(200_000)
    rigs = (SequencerRig(hot=0), SequencerRig(hot=NEVER_HOT))
    for rig in rigs:
        rig.load(list(COUNTING))
        rig.run(WARM * len(COUNTING))
    compiled, interpreted = lab.medians(*(partial(_instructions, rig, count) for rig in rigs))
    what = "an instruction that only counts, compiled"
    yield Row(what, compiled * 1e9, "interpreted", interpreted * 1e9, "ns")


def _instructions(rig: SequencerRig, count: int) -> float:
    """Return the processor seconds of an instruction."""
    began = time.thread_time()
    executed = rig.run(count)
    took = time.thread_time() - began
    assert executed >= count, "the loop was taken for waiting"
    return took / executed


def _driver(lab: Lab, hot: int | None = None) -> MiniDriver:
    path = lab.folder / "chip.img"
    path.write_bytes(bytes(CHIP_DISK_BYTES))
    driver = MiniDriver(firmware(), image=open_image(path, read_only=True))
    if hot is not None:
        driver.chip.sequencer.hot = hot
    driver.start()
    driver.ready()
    for length in (PAGE, 64 << 10):
        _commands(driver, length, lab.loops(WARM))
    return driver


def _commands(driver: MiniDriver, length: int, count: int) -> float:
    """Return the processor seconds of one READ by pages."""
    scb = Scb(read10(0, length // SECTOR_BYTES), [(BUFFER + at, PAGE) for at in range(0, length, PAGE)])
    began = time.thread_time()
    for _ in range(count):
        driver.run(scb)
    return (time.thread_time() - began) / count


def _disk_alone(driver: MiniDriver, length: int, count: int) -> float:
    """Return the processor seconds of the same READ at the target."""
    cdb = read10(0, length // SECTOR_BYTES)
    began = time.thread_time()
    for _ in range(count):
        task = driver.targets[0].start(0, cdb)
        left = length
        while left:
            left -= len(task.give(left))
    return (time.thread_time() - began) / count


def linux(lab: Lab) -> Iterator[Row]:
    """Boot Linux on every way to a disk, ours and QEMU's in turns; time of a command."""
    guest = linux_guest("i386")
    disk = lab.folder / "disk.img"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    reads = ",".join(f"{reading.length}:{lab.loops(reading.count)}" for reading in READINGS)
    for way in WAYS:
        ours, theirs = lab.turns(
            lambda way=way: _times(lambda: _trapline(guest, way, disk, reads)),  # type: ignore[misc]
            lambda way=way: _times(lambda: _qemu(guest, way, disk, reads)),  # type: ignore[misc]
            rounds=lab.runs(3),
        )
        for reading in READINGS:
            our_s, their_s = (
                statistics.median(run[reading.length] for run in side) for side in (ours, theirs)
            )
            note = f"{1 / our_s:.0f} IOPS, {reading.length / our_s / 1e6:.1f} MB/s"
            what = f"Linux, {way.name}, reads of {reading.name}"
            yield Row(what, our_s * 1e3, way.peer, their_s * 1e3, "ms", way.goal, note)


def _times(start: Callable[[], ConsoleProcess]) -> dict[int, float]:
    """Return the seconds of a command by its length, by the guest's clock."""
    with start() as machine:
        machine.wait_for(HALTED, LINUX_S)
        found = SPEED.findall(bytes(machine.output))
    return {
        int(length): max(float(ends) - float(begins), UPTIME_STEP_S) / int(count)
        for length, count, begins, ends in found
    }


def _trapline(guest: LinuxGuest, way: Way, disk: Path, reads: str) -> ConsoleProcess:
    options = linux_options(guest, f"speed trapline.reads={reads}")
    return trapline("run", *options, "--engine", "accelerated", *way.ours, disk)


def _qemu(guest: LinuxGuest, way: Way, disk: Path, reads: str) -> ConsoleProcess:
    if not way.theirs:
        drive = ide_disk(disk, "raw")
    else:
        drive = ["-drive", f"file={disk},format=raw,if=none,id=disk"]
        drive += ["-device", way.theirs[0], "-device", "scsi-hd,drive=disk"]
    return qemu(*linux_arguments(guest, f"speed trapline.reads={reads}"), *drive)
