"""Who runs first: a BIOS image, our own firmware, or a Linux kernel by its own entry point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from devices.backplane import PortRange
from devices.pci.setup import configure
from vmm.clock import host_ns
from vmm.config import MachineConfig
from vmm.cpu.cpuid import DEFAULT_MODEL, Cpuid, model
from vmm.firmware.bios import Bios
from vmm.firmware.host import FirmwareHost
from vmm.firmware.linux_boot import load_linux
from vmm.firmware.mp_table import mp_table, virtual_wire
from vmm.firmware.rom import ROM_ADDRESS, TABLES_START
from vmm.firmware.stubs import TRAP_PORT
from vmm.firmware.tables import Table, place_tables
from vmm.power_on import read_rom

if TYPE_CHECKING:
    from vmm.board import Board
    from vmm.machine import Machine

BIOS_UNIT: Final = 4096
BIOS_MOST: Final = 1 << 20
HALT_ROM: Final = b"\xf4" * 65536  # behind a kernel that was loaded without firmware
ELCR_PORTS: Final = 0x4D0
DMA_2_MASK: Final = 0xD4
DMA_2_MODE: Final = 0xD6
DMA_CASCADE: Final = 0xC0


class Starter(Protocol):
    """Puts a machine that was just reset under way; `rom` ends at 4 GiB and at 1 MiB."""

    rom: bytes

    def connect(self) -> None:
        """Plug in what the starter needs, once the machine is built."""

    def start(self) -> None:
        """Prepare the first instruction."""


def starter_for(machine: Machine) -> Starter:
    """Return the starter that the configuration asks for."""
    config = machine.config
    if config.kernel is not None:
        return KernelStarter(machine, config)
    if config.bios is not None:
        return BiosImage(config)
    return OurFirmware(machine)


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


def apic_tables(config: MachineConfig) -> tuple[Table, ...]:
    """Return what the ROM has to tell of the machine's APICs."""
    return (mp_table(_processor_id(config)),) if config.apic else ()


class BiosImage:
    """`--bios FILE`: it does everything itself, from the reset vector."""

    def __init__(self, config: MachineConfig) -> None:
        assert config.bios is not None
        self.rom = read_rom(config.bios, "BIOS", BIOS_UNIT, BIOS_MOST)

    def connect(self) -> None:
        """Nothing: a BIOS talks to the board."""

    def start(self) -> None:
        """Nothing: the reset vector is in the ROM."""


class OurFirmware:
    """The ROM whose entries trap to Python services."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._bios = Bios(self._host(machine))
        self.rom = self._bios.rom

    def _host(self, machine: Machine) -> FirmwareHost:
        return FirmwareHost(
            processor=_LateProcessor(machine),
            memory=machine.memory,
            bus=machine.bus,
            clock=machine.clock,
            ram_bytes=machine.memory.ram_bytes,
            drives=machine.drives.boot,
            boot_order=machine.config.boot,
            display=_Display(machine),
            set_up_board=lambda: set_up_board(machine.board),
            on_no_boot=machine.report_no_boot,
            processor_id=_processor_id(machine.config),
            tables=apic_tables(machine.config),
        )

    def connect(self) -> None:
        """Answer the trap port, counting the calls as firmware's, not as port writes."""
        self._machine.bus.attach(self, PortRange(TRAP_PORT, 1))

    name = "firmware"

    def read(self, offset: int, size: int) -> int:
        """Guest IN."""
        return self._bios.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Guest OUT: a service."""
        began = host_ns()
        self._bios.write(offset, size, value)
        self._machine.count_service(host_ns() - began)

    def start(self) -> None:
        """Nothing: the reset vector is in the ROM."""


def _processor_id(config: MachineConfig) -> tuple[int, int]:
    """Return what CPUID function 1 gives in EAX and EDX."""
    name = DEFAULT_MODEL if config.cpu == "auto" else config.cpu
    eax, _, _, edx = Cpuid(model(name), has_apic=lambda: config.apic)(1, 0)
    return eax, edx


class _LateProcessor:
    """The firmware is made before the processor, whose memory holds its ROM."""

    def __init__(self, machine: Machine) -> None:
        self.fetch = lambda: machine.processor.live.fetch()
        self.commit = lambda: machine.processor.live.commit()


class _Display:
    """What of the VGA only the monitor can reach. The board is built after the firmware."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @property
    def planes(self) -> Sequence[bytearray]:
        """The planes."""
        return self._machine.board.vga.planes

    @property
    def frame_buffer(self) -> bytearray | memoryview:
        """The linear frame buffer."""
        return self._machine.board.vga.frame_buffer

    def set_mode(self, number: int, *, clear: bool = True) -> None:
        """Program a mode, as the VGA's own ROM would."""
        self._machine.board.vga.set_mode(number, clear=clear)

    def load_glyphs(self, block: int, first: int, lines: int, glyphs: bytes) -> None:
        """Load glyphs."""
        self._machine.board.vga.load_glyphs(block, first, lines, glyphs)


class KernelStarter:
    """`--kernel`: memory and processor as Linux's boot protocol wants them; no firmware at all."""

    def __init__(self, machine: Machine, config: MachineConfig) -> None:
        assert config.kernel is not None
        rom = bytearray(HALT_ROM)
        place_tables(rom, ROM_ADDRESS, TABLES_START, len(rom), apic_tables(config))
        self.rom = bytes(rom)
        initrd = None if config.initrd is None else Path(config.initrd).read_bytes()
        self._machine = machine
        self._state = load_linux(
            Path(config.kernel).read_bytes(), initrd, config.append, config.memory_bytes, name=config.kernel
        )

    def connect(self) -> None:
        """Nothing: the kernel drives the hardware itself."""

    def start(self) -> None:
        """Load the kernel and enter it."""
        board, engine = self._machine.board, self._machine.processor.live
        set_up_board(board)
        board.vga.set_text_mode_3()
        view = engine.fetch()
        self._state.apply(view, self._machine.memory)
        engine.commit()
