"""SCSI adapters on the board: a PCI slot each from 3 on, INTA#, registers where the BARs say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from devices.aic7870.chip import Aic7870
from devices.aic7870.faults import NEVER, Fault
from devices.aic7870.function import IO_BYTES, Aic7870Function
from devices.backplane import Clock, Device, IrqLine, PortDevice, ScatteredMemory, Tracer
from devices.pci.bus import PciBus
from devices.pci.interrupts import PciInterruptRouter
from devices.pci.option_rom import MoveWindow, OptionRom
from devices.scsi.target import ScsiTarget
from devices.virtio.function import VirtioFunction, scsi_identity
from devices.virtio.registers import IO_PORTS, MEMORY_BYTES
from devices.virtio.scsi import VirtioScsi
from vmm.scsi_config import NARROW_IDS, AdapterKind

SCSI_SLOTS: Final = range(3, 7)
INTA: Final = 1

MovePorts = Callable[[PortDevice, int, int | None, int | None], None]


@dataclass
class AdapterFitting:
    """An adapter and what is on its bus, by id; `media` are names of the images, for people.

    `rom`: what an adapter with a place for one has for a BIOS that knows no SCSI.
    `policies` and `faults` say when targets of an AIC-7870 disconnect, and how they misbehave.
    """

    kind: AdapterKind
    targets: dict[int, ScsiTarget] = field(default_factory=dict)
    media: dict[int, str] = field(default_factory=dict)
    rom: bytes | None = None
    policies: dict[int, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_wide(self) -> bool:
        """Whether some target has an id that an 8-bit bus cannot name."""
        return any(target >= NARROW_IDS for target in self.targets)


class Backplane(NamedTuple):
    """What of the board an adapter is plugged into."""

    pci: PciBus
    router: PciInterruptRouter
    memory: ScatteredMemory
    clock: Clock
    move_ports: MovePorts
    move_window: MoveWindow
    tracer: Tracer | None


def adapter_name(number: int) -> str:
    """Return what an adapter is called."""
    return f"scsi{number}"


def function_name(number: int) -> str:
    """Return what an adapter's PCI function is called."""
    return f"{adapter_name(number)} pci"


def plug_in(number: int, fitting: AdapterFitting, into: Backplane) -> list[Device[Any]]:
    """Put an adapter into its slot; return its chip, its PCI function and its targets."""
    slot = SCSI_SLOTS[number]
    chip, function = _MAKERS[fitting.kind](number, fitting, into, into.router.line(slot, INTA))
    into.pci.attach(slot, 0, function)
    return [chip, function, *fitting.targets.values()]


def _aic7870(
    number: int, fitting: AdapterFitting, into: Backplane, irq: IrqLine
) -> tuple[Aic7870, Aic7870Function]:
    chip = Aic7870(
        adapter_name(number), into.memory, into.clock, irq, fitting.targets, into.tracer, wide=fitting.is_wide
    )
    rom = None if fitting.rom is None else OptionRom(f"{adapter_name(number)} rom", fitting.rom)
    for target, peripheral in chip.bus.peripherals.items():
        peripheral.policy = fitting.policies.get(target, NEVER)
        peripheral.faults = fitting.faults
    function = Aic7870Function(
        function_name(number), chip, partial(into.move_ports, chip, IO_BYTES), into.move_window, rom
    )
    return chip, function


def _virtio(
    number: int, fitting: AdapterFitting, into: Backplane, irq: IrqLine
) -> tuple[VirtioScsi, VirtioFunction]:
    host = VirtioScsi(adapter_name(number), into.memory, into.clock, irq, fitting.targets, into.tracer)
    wires = host.transport
    function = VirtioFunction(
        function_name(number),
        scsi_identity(),
        wires,
        partial(into.move_ports, wires.io_bank, IO_PORTS),
        partial(into.move_window, wires.memory_bank, MEMORY_BYTES),
    )
    return host, function


_Maker = Callable[[int, AdapterFitting, Backplane, IrqLine], tuple[Any, Any]]
_MAKERS: Final[dict[str, _Maker]] = {"aic7870": _aic7870, "virtio": _virtio}
