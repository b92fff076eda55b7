"""What every technique is: something that stands between a guest and the processor, or nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

from disks.image import BlockImage
from vmm.cpu import registers as r
from vmm.cpu.encoding import MAX_LENGTH
from vmm.cpu.processor import Processor
from vmm.cpu.software_int import CodeView, read_code
from vmm.cpu.state import CpuView
from vmm.memory import Memory
from vmm.techniques.exits import ExitBook, ExitRow, Finding
from vmm.trace.events import Mode


class Place(NamedTuple):
    """Where the guest was when it was left, as it believes. `code`: the bytes there, or none."""

    cs: int
    ip: int
    cpl: int
    mode: Mode
    code: bytes


def mode_of(view: CpuView) -> Mode:
    """Return the mode a processor is in."""
    if not view.cr[0] & r.CR0_PE:
        return "real"
    if view.interrupt_flags() & r.VM:
        return "vm86"
    flags = view.segs[r.CS].flags
    if view.efer & r.EFER_LMA:
        return "long" if flags & r.DESC_L else "compat"
    return "prot32" if flags & r.DESC_B else "prot16"


def place_of(view: CodeView, code: bytes) -> Place:
    """Say where a processor is; `code` is the bytes there, where they are known."""
    code = code or read_code(view, view.code_address(), MAX_LENGTH)
    return Place(view.segs[r.CS].selector, view.rip, view.cpl, mode_of(view), code)


Report = Callable[[str, Place, str, int], None]  # reason, place, what was done, host ns


class Reporter(Protocol):
    """A trace."""

    def technique_exit(self, reason: str, place: Place, detail: str, host_ns: int) -> None:
        """Take an exit."""

    def finding(self, finding: Finding) -> None:
        """Take a finding."""


class FullCalls(Protocol):
    """VMCALL of a guest that runs as on a bare machine."""

    def row(self, view: CpuView) -> ExitRow:
        """Return where the call at RIP is counted."""

    def serve(self, view: CpuView, code: bytes, linear: int) -> bool:
        """Carry it out; False: there is none."""


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
        self.on_finding: Callable[[Finding], None] | None = None
        """Told of each finding, once, while a trace runs."""
        self.on_unsupported: Callable[[str], object] = str
        """Told why the guest cannot go on under this technique."""

    def a20_changed(self) -> None:  # noqa: B027 - most have nothing to forget
        """Address line 20 was gated or let through; the processor knows already."""

    def tell(self, reporter: Reporter | None) -> None:
        """Tell a trace of exits and findings from now on; None ends that."""
        self.report = None if reporter is None else reporter.technique_exit
        self.on_finding = None if reporter is None else reporter.finding

    def found(self, finding: Finding) -> None:
        """Keep a finding, and tell of it."""
        self.findings.append(finding)
        if self.on_finding is not None:
            self.on_finding(finding)

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
