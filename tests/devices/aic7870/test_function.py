"""The PCI function of an AIC-7870."""

from __future__ import annotations

from devices.aic7870 import registers as r
from devices.aic7870.function import BAR1, DEVCONFIG, Aic7870Function
from devices.backplane import PortBank, PortDevice
from devices.pci.config import BAR0, CACHE_LINE_SIZE, COMMAND, EXPANSION_ROM, INTERRUPT_PIN, STATUS
from devices.pci.option_rom import OptionRom
from tests.devices.aic7870.rig import Rig
from tests.devices.timed_rig import TimedRig
from vmm.clock import MachineClock


class Slot:
    """A function whose base registers are written down."""

    def __init__(self, rom: OptionRom | None = None, clock: MachineClock | None = None) -> None:
        self.rig = Rig(clock)
        self.ports: list[tuple[int | None, int | None]] = []
        self.windows: list[tuple[PortDevice, int, int | None, int | None]] = []
        self.function = Aic7870Function(
            "scsi0 function",
            self.rig.chip,
            lambda old, new: self.ports.append((old, new)),
            lambda *move: self.windows.append(move),
            rom,
        )
        self.config = self.function.config


def test_identity() -> None:
    config = Slot().config
    assert config.read(0, 4) == 0x7078_9004
    assert config.read(8, 4) == 0x0100_0003
    assert config.read(0x2C, 4) == 0
    assert config.read(STATUS, 2) == 0x0280
    assert config.read(INTERRUPT_PIN, 1) == 1


def test_the_cache_line_size_is_hardwired_to_0() -> None:
    config = Slot().config
    config.write(CACHE_LINE_SIZE, 2, 0xFFFF)
    assert config.read(CACHE_LINE_SIZE, 2) == 0xFC00


def test_command_keeps_what_the_chip_has() -> None:
    config = Slot().config
    config.write(COMMAND, 2, 0xFFFF)
    assert config.read(COMMAND, 2) == 0x0157


def test_the_upper_status_byte_cannot_be_set() -> None:
    config = Slot().config
    config.write(STATUS, 2, 0xFFFF)
    assert config.read(STATUS, 2) == 0x0280


def test_devconfig_says_that_there_is_no_external_scb_ram() -> None:
    config = Slot().config
    config.write(DEVCONFIG, 4, 0x8000_0680)
    assert config.read(DEVCONFIG, 4) == 0x8000_0480


def test_both_base_registers_are_sized_and_placed() -> None:
    slot = Slot()
    for bar, mask, size in ((BAR0, 0xFFFF_FFFC, 256), (BAR1, 0xFFFF_FFF0, 4096)):
        slot.config.write(bar, 4, 0xFFFF_FFFF)
        assert -(slot.config.read(bar, 4) & mask) & 0xFFFF_FFFF == size
    slot.config.write(BAR0, 4, 0xC000)
    slot.config.write(BAR1, 4, 0xE000_0000)
    slot.config.write(COMMAND, 2, 0x0003)
    assert slot.ports == [(None, 0xC000)]
    assert slot.windows == [(slot.rig.chip.window, 4096, None, 0xE000_0000)]


def test_the_registers_are_mirrored_through_the_memory_window() -> None:
    rig = Rig()
    rig.write(r.SCRATCH_RAM, 0x5A)
    assert rig.chip.window.read(0xF00 + r.SCRATCH_RAM, 1) == 0x5A
    rig.chip.window.write(0x100 + r.SCRATCH_RAM, 1, 0x77)
    assert rig.read(r.SCRATCH_RAM) == 0x77


def test_bus_mastering_follows_command() -> None:
    slot = Slot()
    slot.rig.chip.set_master(False)
    slot.rig.memory.data[0x500:0x508] = b"12345678"
    slot.rig.write(r.HADDR, 0x500, 4)
    slot.rig.write(r.HCNT, 8, 2)
    slot.rig.write(r.DFCNTRL, r.HDMAEN | r.DIRECTION)
    assert not slot.rig.read(r.DFSTATUS) & r.HDONE
    slot.config.write(COMMAND, 2, 0x0004)
    assert slot.rig.read(r.DFSTATUS) & r.HDONE


def test_an_expansion_rom_is_behind_its_register_where_there_is_one() -> None:
    rom = OptionRom("rom", b"\x55\xaa" + bytes(20000))
    slot = Slot(rom)
    slot.config.write(EXPANSION_ROM, 4, 0xE010_0001)
    slot.config.write(COMMAND, 2, 0x0002)
    assert slot.windows == [(rom, 32768, None, 0xE010_0000)]
    bare = Slot()
    bare.config.write(EXPANSION_ROM, 4, 0xFFFF_FFFF)
    assert bare.config.read(EXPANSION_ROM, 4) == 0


def make_for_contract(clock: MachineClock) -> tuple[Aic7870Function, list, list]:
    slot = Slot(clock=TimedRig(clock).clock)
    config = slot.config
    exercises = [lambda: config.write(COMMAND, 2, 7), lambda: config.write(BAR0, 4, 0xC000)]
    return slot.function, [(PortBank("configuration space", config.read, config.write), 256)], exercises


CONTRACT = [("aic7870 function", make_for_contract)]
