"""What every technique is: something that stands between a guest and the processor, or nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from disks.image import BlockImage
from vmm.cpu.processor import Processor
from vmm.cpu.state import CpuView
from vmm.memory import Memory
from vmm.techniques.exits import ExitBook, Finding
from vmm.trace.events import Mode


class Place(NamedTuple):
    """Where the guest was when it was left, as it believes. `code`: the bytes there, or none."""

    cs: int
    ip: int
    cpl: int
    mode: Mode
    code: bytes


Report = Callable[[str, Place, str, int], None]  # reason, place, what was done, host ns


class Technique(ABC):
    """One machine's technique. `start` is called at power-on and after each reset, before the guest runs."""

    name: str
    hidden_bytes = 0
    """How much memory of its own it needs."""

    def __init__(self, processor: Processor, memory: Memory) -> None:
        self.processor, self.memory = processor, memory
        self.exits = ExitBook()
        self.findings: list[Finding] = []
        self.report: Report | None = None
        """Told of each exit while a trace runs."""
        self.on_unsupported: Callable[[str], object] = str
        """Told why the guest cannot go on under this technique."""

    @abstractmethod
    def start(self) -> None:
        """Take the processor as a reset (or a loader) left it."""

    def use_disk(self, image: BlockImage | None) -> None:  # noqa: B027 - most have no use for it
        """Take the machine's first hard disk, for a guest that asks the monitor and not the drive."""

    @property
    def view(self) -> CpuView:
        """The processor the guest believes to have."""
        return self.processor.live.fetch()

    @property
    def interruptible(self) -> bool:
        """Whether the guest lets interrupts come, as it believes: what ends its HLT."""
        return self.processor.real_interruptible

    @property
    def counts_its_own(self) -> bool:
        """Whether its exits are all there is: an exception that the guest gets by itself is none."""
        return False


class Bare(Technique):
    """The physical machine: no monitor below the guest. The reference."""

    name = "bare"

    def start(self) -> None:
        """Nothing: the processor is the guest's."""
