"""What the ways to start a machine have in common: the chips a BIOS programs, and the trap port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from devices.backplane import PortDevice, PortRange
from devices.pci.setup import configure
from vmm.clock import host_ns
from vmm.config import MachineConfig
from vmm.cpu.cpuid import DEFAULT_MODEL, Cpuid, model
from vmm.firmware.mp_table import mp_table, virtual_wire
from vmm.firmware.stubs import TRAP_PORT
from vmm.firmware.tables import Table

if TYPE_CHECKING:
    from vmm.board import Board
    from vmm.machine import Machine

ELCR_PORTS: Final = 0x4D0
DMA_2_MASK: Final = 0xD4
DMA_2_MODE: Final = 0xD6
DMA_CASCADE: Final = 0xC0


class Starter(Protocol):
    """Puts a machine that was just reset under way.

    `rom` ends at 4 GiB and at 1 MiB. `option_rom` is on a PCI card of its own.
    """

    rom: bytes

    @property
    def option_rom(self) -> bytes | None:
        """What is on the card, if there is one."""

    def connect(self) -> None:
        """Plug in what the starter needs, once the machine is built."""

    def start(self) -> None:
        """Prepare the first instruction."""


def set_up_board(board: Board) -> None:
    """Do what a BIOS does to PCI, interrupt routing included, to the DMA cascade, and to APICs."""
    level = configure(board.pci)
    for number in (0, 1):
        lines = sum(1 << (irq & 7) for irq in level if irq >> 3 == number)
        board.bus.write(ELCR_PORTS + number, 1, lines)
    board.bus.write(DMA_2_MODE, 1, DMA_CASCADE)
    board.bus.write(DMA_2_MASK, 1, 0)  # channel 4 passes on what the first controller asks for
    if board.apics is not None:
        virtual_wire(board.memory)


def processor_id(config: MachineConfig) -> tuple[int, int]:
    """Return what CPUID function 1 gives in EAX and EDX."""
    name = DEFAULT_MODEL if config.cpu == "auto" else config.cpu
    eax, _, _, edx = Cpuid(model(name), has_apic=lambda: config.apic)(1, 0)
    return eax, edx


def apic_tables(config: MachineConfig) -> tuple[Table, ...]:
    """Return what the ROM has to tell of the machine's APICs."""
    return (mp_table(processor_id(config)),) if config.apic else ()


class LateProcessor:
    """The firmware is made before the processor, whose memory holds its ROM."""

    def __init__(self, machine: Machine) -> None:
        self.fetch = lambda: machine.processor.live.fetch()
        self.commit = lambda: machine.processor.live.commit()


class TrapPort:
    """The port that ROM stubs write to; counts the calls as firmware's, not as port writes."""

    name = "firmware"

    def __init__(self, machine: Machine, services: PortDevice) -> None:
        self._machine = machine
        self._services = services
        machine.bus.attach(self, PortRange(TRAP_PORT, 1))

    def read(self, offset: int, size: int) -> int:
        """Guest IN."""
        return self._services.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest OUT: a service."""
        began = host_ns()
        self._services.write(offset, size, value)
        self._machine.count_service(host_ns() - began)
