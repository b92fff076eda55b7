"""Who runs first: a BIOS image, our own firmware, or a kernel that needs neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from vmm.firmware.bios import Bios
from vmm.firmware.host import FirmwareHost
from vmm.firmware.kernel import Kernel
from vmm.kernel_start import BareKernel, KernelBehindBios, read_kernel
from vmm.power_on import read_rom
from vmm.starting import LateProcessor, Starter, TrapPort, apic_tables, processor_id, set_up_board

if TYPE_CHECKING:
    from vmm.machine import Machine

BIOS_UNIT: Final = 4096
BIOS_MOST: Final = 1 << 20


def starter_for(machine: Machine) -> Starter:
    """Return the starter that the configuration asks for."""
    config = machine.config
    kernel = None if config.kernel is None else read_kernel(config)
    if config.bios is not None:
        rom = read_rom(config.bios, "BIOS", BIOS_UNIT, BIOS_MOST)
        return BiosImage(rom) if kernel is None else KernelBehindBios(machine, rom, kernel)
    if kernel is not None and not kernel.after_post:
        return BareKernel(machine, kernel)
    return OurFirmware(machine, kernel)


class BiosImage:
    """`--bios FILE`: it does everything itself, from the reset vector."""

    option_rom = None

    def __init__(self, rom: bytes) -> None:
        self.rom = rom

    def connect(self) -> None:
        """Nothing: a BIOS talks to the board."""

    def start(self) -> None:
        """Nothing: the reset vector is in the ROM."""


class OurFirmware:
    """The ROM whose entries trap to Python services."""

    option_rom = None

    def __init__(self, machine: Machine, kernel: Kernel | None) -> None:
        self._machine = machine
        self._bios = Bios(self._host(machine, kernel))
        self.rom = self._bios.rom

    def _host(self, machine: Machine, kernel: Kernel | None) -> FirmwareHost:
        return FirmwareHost(
            processor=LateProcessor(machine),
            memory=machine.memory,
            bus=machine.bus,
            clock=machine.clock,
            ram_bytes=machine.memory.ram_bytes,
            drives=machine.drives.boot,
            boot_order=machine.config.boot,
            display=_Display(machine),
            set_up_board=lambda: set_up_board(machine.board),
            on_no_boot=machine.report_no_boot,
            processor_id=processor_id(machine.config),
            kernel=kernel,
            tables=apic_tables(machine.config),
        )

    def connect(self) -> None:
        """Answer the trap port."""
        TrapPort(self._machine, self._bios)

    def start(self) -> None:
        """Nothing: the reset vector is in the ROM."""


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
