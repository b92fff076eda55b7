"""`--kernel`: without a BIOS, or behind one that is not ours."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from devices.pci.option_rom import BOOT_ROM
from vmm.config import MachineConfig, split_module
from vmm.cpu.cpuid import DEFAULT_MODEL, Cpuid, model
from vmm.errors import ConfigError
from vmm.firmware.host import FirmwareHost
from vmm.firmware.kernel import Kernel, KernelRequest, Module, unpacked
from vmm.firmware.kernel_service import KernelTrap
from vmm.firmware.loaders import kernel_for
from vmm.firmware.option_rom import kernel_rom
from vmm.firmware.post_state import PostState
from vmm.firmware.rom import ROM_ADDRESS, TABLES_START
from vmm.firmware.tables import place_tables
from vmm.load_address import parse_load_address
from vmm.starting import LateProcessor, TrapPort, apic_tables, set_up_board

if TYPE_CHECKING:
    from vmm.machine import Machine

HALT_ROM: Final = b"\xf4" * 65536  # behind a kernel that was loaded without firmware
LONG_MODE_LEAF: Final = 0x8000_0001
LONG_MODE: Final = 1 << 29  # in EDX


def read_kernel(config: MachineConfig) -> Kernel:
    """Return the kernel of a configuration, checked as far as can be before a BIOS has run.

    Raises:
        ConfigError: it cannot be loaded.
    """
    assert config.kernel is not None
    most = config.memory_bytes
    request = KernelRequest(
        name=config.kernel,
        data=unpacked(_contents(config.kernel, most), config.kernel, most),
        modules=tuple(_module(text, most) for text in config.initrd),
        append=config.append,
        entry=config.entry,
        load_address=None if config.load_address is None else parse_load_address(config.load_address),
        long_mode=has_long_mode(config),
    )
    kernel = kernel_for(request)
    kernel.boot(PostState.expected(most))
    return kernel


def _module(text: str, most: int) -> Module:
    path, arguments = split_module(text)
    return Module(path, _contents(path, most), arguments)


def _contents(path: str, most: int) -> bytes:
    """Return a file's bytes; a block device may have any number."""
    file = Path(path)
    with file.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        kind = "block device" if stat.S_ISBLK(file.stat().st_mode) else "file"
        raise ConfigError(f"{path}: the {kind} has more bytes than the machine has memory ({most >> 20} MiB)")
    return data


def has_long_mode(config: MachineConfig) -> bool:
    """Whether the processor has a 64-bit mode."""
    name = DEFAULT_MODEL if config.cpu == "auto" else config.cpu
    return bool(Cpuid(model(name))(LONG_MODE_LEAF, 0)[3] & LONG_MODE)


class BareKernel:
    """A kernel that needs no firmware, on a machine that has none."""

    option_rom = None

    def __init__(self, machine: Machine, kernel: Kernel) -> None:
        rom = bytearray(HALT_ROM)
        place_tables(rom, ROM_ADDRESS, TABLES_START, len(rom), apic_tables(machine.config))
        self.rom = bytes(rom)
        self._machine = machine
        self._state = kernel.boot(PostState.expected(machine.config.memory_bytes))

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


class KernelBehindBios:
    """A kernel that a BIOS image boots from the option ROM of a card."""

    def __init__(self, machine: Machine, rom: bytes, kernel: Kernel) -> None:
        self.rom = rom
        self.option_rom = kernel_rom(BOOT_ROM, f"kernel {Path(kernel.name).name}")
        self._machine = machine
        host = FirmwareHost(
            processor=LateProcessor(machine),
            memory=machine.memory,
            bus=machine.bus,
            clock=machine.clock,
            ram_bytes=machine.memory.ram_bytes,
            on_no_boot=machine.report_no_boot,
        )
        self._trap = KernelTrap(host, kernel)

    def connect(self) -> None:
        """Answer the option ROM's calls."""
        TrapPort(self._machine, self._trap)

    def start(self) -> None:
        """Nothing: the reset vector is in the BIOS."""
