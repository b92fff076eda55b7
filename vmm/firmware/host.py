"""What the firmware is given: the processor, memory, the bus, and the disks it may boot from.

`vmm/machine.py` makes one `FirmwareHost`; the firmware reaches nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from devices.backplane import Clock, GuestMemory
from disks.image import BlockImage
from vmm.bus import PortBus
from vmm.cpu.state import CpuView
from vmm.firmware.kernel import Kernel
from vmm.firmware.tables import Table

DriveKind = Literal["hd", "cd", "floppy"]


class Geometry(NamedTuple):
    """A disk's shape in cylinders, heads and sectors a track."""

    cylinders: int
    heads: int
    sectors: int


class ScsiPlace(NamedTuple):
    """Where a SCSI drive is: the PCI slot of its adapter, its id and its logical unit."""

    slot: int
    target: int
    lun: int = 0


class FloppyUnit(Protocol):
    """A floppy drive, as far as INT 13h shares it with the controller."""

    image: BlockImage | None
    changed: bool  # the change line; a step with a disk in the drive ends it


class BootDrive(msgspec.Struct, frozen=True):
    """A disk as INT 13h knows it.

    `number` is what callers put in DL: 80h and up for hard disks, E0h and up for CD-ROMs, 0 and up
    for floppies. `geometry` is the drive's own, as IDENTIFY tells it (None: the usual one), `logical` the
    one INT 13h shows (None: worked out). `place` is the drive's on the IDE controller, 0 to 3, `scsi` its
    place on a SCSI adapter. A floppy drive whose disk may be changed gives its `unit`, and then `image`
    is not looked at.
    """

    number: int
    kind: DriveKind
    image: BlockImage
    geometry: Geometry | None = None
    logical: Geometry | None = None
    place: int | None = None
    unit: FloppyUnit | None = None
    scsi: ScsiPlace | None = None

    @property
    def medium(self) -> BlockImage | None:
        """What is in the drive now."""
        return self.image if self.unit is None else self.unit.image


class Processor(Protocol):
    """The engine, as far as a service needs it."""

    def fetch(self) -> CpuView:
        """Return the processor's state, up to date, inside a port callback."""

    def commit(self) -> None:
        """Make the general registers written since `fetch` the guest's."""


class Display(Protocol):
    """What of the display only the VGA's own ROM would know."""

    @property
    def planes(self) -> Sequence[bytearray]:
        """The four planes of the VGA's memory."""

    @property
    def frame_buffer(self) -> bytearray | memoryview:
        """The linear frame buffer."""

    def set_mode(self, number: int, *, clear: bool = True) -> None:
        """Set registers, palette, and in a text mode the font, for a mode of the VGA's BIOS."""

    def load_glyphs(self, block: int, first: int, lines: int, glyphs: bytes) -> None:
        """Put glyphs into a font block of the character generator."""


class FirmwareHost(msgspec.Struct, frozen=True):
    """Everything the firmware may touch.

    `boot_order` lists kinds, the first first; within a kind drives go by number. `set_up_board` is
    run at power-on, before all else: it places PCI devices and routes their interrupts.
    `on_no_boot` hears why nothing could be booted. `processor_id` is what CPUID function 1 gives in
    EAX and EDX. `tables` are put into the ROM beside the firmware's own. With a `kernel` no drive is tried.
    """

    processor: Processor
    memory: GuestMemory
    bus: PortBus
    clock: Clock
    ram_bytes: int
    drives: Sequence[BootDrive] = ()
    boot_order: Sequence[DriveKind] = ("floppy", "cd", "hd")
    display: Display | None = None
    set_up_board: Callable[[], None] | None = None
    on_no_boot: Callable[[str], None] | None = None
    processor_id: tuple[int, int] = (0, 0)
    tables: Sequence[Table] = ()
    kernel: Kernel | None = None

    def drive(self, number: int) -> BootDrive | None:
        """Return the drive that DL names, if there is one."""
        return next((drive for drive in self.drives if drive.number == number), None)

    def numbers(self, kind: DriveKind) -> list[int]:
        """Return the drive numbers of one kind, ascending."""
        return sorted(drive.number for drive in self.drives if drive.kind == kind)
