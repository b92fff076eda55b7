"""An AIC-7870 with two disks and a CD, as a card for QEMU, and a notebook of what went over its bus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from devices.aic7870 import faults
from devices.aic7870.chip import Aic7870
from devices.aic7870.faults import Fault
from devices.aic7870.function import Aic7870Function
from devices.aic7870.registers import INTSTAT
from devices.backplane import TraceEvent
from devices.scsi.disk import ScsiDisk
from devices.scsi.events import ScsiCommand, ScsiStatus
from devices.scsi.inquiry import SYNC, cd_identity, disk_identity
from devices.scsi.mmc import CdRom
from devices.scsi.target import ScsiTarget
from devices.scsi.task import CHECK_CONDITION
from disks.image import BlockImage
from disks.open import open_image
from tests.guests.assets import bootdisk
from tests.guests.scsi import media
from tests.guests.scsi.proxy import Card, PciProxy

DISKS: Final = (0, 1)
CD: Final = 2

# What scsi.sh reads of the first disk
BAD_SECTOR: Final = 258000  # where no file is
HUNG_SECTOR: Final = 259000
READ_10: Final = 0x28

SEQINT: Final = 0x01
MODEL_BUGS: Final = {
    2: "PROTO_VIOLATION", 3: "NO_MATCH", 8: "PERR",
    0xB: "MISSED_BUSFREE", 0xC: "SCB_MISMATCH", 0xD: "NO_FREE_SCB",
}  # fmt: skip
"""Codes of SEQINT by which the firmware of Linux and BSD says that a target or the chip broke the rules."""


class Worn:
    """A disk image of which one sector cannot be read."""

    def __init__(self, image: BlockImage) -> None:
        self._image = image
        self.size_bytes = image.size_bytes
        self.read_only = image.read_only
        self.write, self.flush, self.close = image.write, image.flush, image.close

    def read(self, lba: int, sectors: int) -> bytes:
        if lba <= BAD_SECTOR < lba + sectors:
            raise OSError("a scratch")
        return self._image.read(lba, sectors)


class Notebook:
    """A tracer: statuses with their sense keys, and how many commands were open at once."""

    def __init__(self) -> None:
        self.commands: Counter[str] = Counter()
        self.last: dict[int, str] = {}
        self.sense: set[tuple[int, int, int]] = set()  # key, code, qualifier
        self.other: list[TraceEvent] = []
        self.most_open: Counter[int] = Counter()
        self.both_open = False
        self._open: Counter[int] = Counter()

    def emit(self, event: TraceEvent) -> None:
        if isinstance(event, ScsiCommand):
            self.commands[event.name] += 1
            self.last[event.target] = event.name
            self._open[event.target] += 1
            self.most_open[event.target] = max(self.most_open[event.target], self._open[event.target])
            self.both_open = self.both_open or all(self._open[disk] for disk in DISKS)
        elif isinstance(event, ScsiStatus):
            self._open[event.target] -= 1
            if event.status == CHECK_CONDITION:
                self.sense.add((event.sense[2] & 0xF, event.sense[12], event.sense[13]))
        else:
            self.other.append(event)


class AicCard:
    """The card with its images in `folder`; put it into `proxy`."""

    def __init__(self, folder: Path, proxy: PciProxy) -> None:
        self.notebook = Notebook()
        self.disks = [bootdisk.empty_vhd(folder / f"scsi{number}.vhd", media.DISK_MIB) for number in DISKS]
        self._images: list[BlockImage] = [open_image(path) for path in self.disks]
        self.disc = media.disc(folder)
        disc = open_image(self.disc, read_only=True)
        units = {
            number: ScsiDisk(
                f"disk{number}", Worn(image) if number == 0 else image, disk_identity(f"D{number}", SYNC)
            )
            for number, image in zip(DISKS, self._images, strict=True)
        }
        targets = {number: ScsiTarget({0: unit}) for number, unit in units.items()}
        targets[CD] = ScsiTarget({0: CdRom("cd", disc, cd_identity(SYNC))})
        self._images.append(disc)
        self.chip = Aic7870("aic7870", proxy.memory, proxy.clock, proxy.irq, targets, self.notebook)
        function = Aic7870Function("aic7870", self.chip, _moved, lambda *window: None)
        proxy.insert(Card(function.config, self.chip.window, self._reset))
        self._function = function
        self.hang = Fault(faults.HANG, target=0, operation=READ_10, lba=HUNG_SECTOR)
        self.complaints: list[str] = []
        self.most_disconnected = 0
        self._listen()

    def close(self) -> None:
        """Close the images."""
        for image in self._images:
            image.close()

    def _reset(self) -> None:
        self._function.config.reset()
        self.chip.reset()

    def _listen(self) -> None:
        """Hear what the firmware says by SEQINT, and how many commands have let go of the bus."""
        self.chip.bus.on_phase = self._on_phase
        for number in DISKS:
            self.chip.bus.peripherals[number].policy = faults.MID_DATA
        self.chip.bus.peripherals[0].faults.append(self.hang)
        writers = self.chip.registers.writers
        write = writers[INTSTAT]
        assert write is not None

        def write_intstat(value: int) -> None:
            if value & SEQINT and value >> 4 in MODEL_BUGS:
                self.complaints.append(MODEL_BUGS[value >> 4])
            write(value)

        writers[INTSTAT] = write_intstat

    def _on_phase(self) -> None:
        waiting = sum(len(self.chip.bus.peripherals[number].disconnected) for number in DISKS)
        self.most_disconnected = max(self.most_disconnected, waiting)


def _moved(old: int | None, new: int | None) -> None:
    """QEMU moves the BARs."""
