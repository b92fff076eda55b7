"""Configuration spaces and mechanism #1, one sentence of the specification per test."""

import pytest

from devices.backplane import PortBank
from devices.pci import config as c
from devices.pci.bus import ConfigMechanism1, PciBus
from vmm.clock import MachineClock

IO_BAR, MEMORY_BAR, ROM_BAR = 0x10, 0x14, 0x30
SCRATCH, FLAGS = 0x40, 0x44


class Rig:
    """A function at slot 3 with one BAR of each kind, a scratch register and write-to-clear flags."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, int | None, int | None]] = []
        self.heard = 0
        bars = [
            c.Bar(IO_BAR, 0x20, True, lambda old, new: self.moves.append(("io", old, new))),
            c.Bar(MEMORY_BAR, 0x1000, False, lambda old, new: self.moves.append(("memory", old, new))),
            c.Bar(ROM_BAR, 0x4000, False, lambda old, new: self.moves.append(("rom", old, new))),
        ]
        registers = [c.Register(SCRATCH, 4, 0x1234_5678, 0x00FF_FF00), c.Register(FLAGS, 1, 0xF0, 0, 0xF0)]
        identity = c.FunctionIdentity(0x9004, 0x7078, 0x010000, revision=3, interrupt_pin=1)
        self.config = c.ConfigSpace(identity, registers, bars)
        self.config.watch(SCRATCH, 4, self._hear)
        self.function = c.PciFunction("scsi", self.config)
        self.bus = PciBus()
        self.bus.attach(3, 0, self.function)
        self.reset_writes: list[int] = []
        port = PortBank("cf9", lambda offset, size: 0x06, lambda offset, size, v: self.reset_writes.append(v))
        self.ports = ConfigMechanism1("pci", self.bus, port)
        self.heard = 0

    def _hear(self) -> None:
        self.heard += 1

    def select(self, register: int, slot: int = 3, function: int = 0, bus: int = 0) -> None:
        address = 0x8000_0000 | bus << 16 | slot << 11 | function << 8 | register
        self.ports.write(0, 4, address)

    def read(self, register: int, size: int = 4) -> int:
        self.select(register & ~3)
        return self.ports.read(4 + (register & 3), size)

    def write(self, register: int, size: int, value: int) -> None:
        self.select(register & ~3)
        self.ports.write(4 + (register & 3), size, value)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def make_mechanism_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig()
    return rig.ports, [(rig.ports, 8)], [lambda: rig.select(0x10), lambda: rig.select(4, slot=31)]


def make_function_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig()
    registers = PortBank("configuration space", rig.config.read, rig.config.write)
    exercises = [lambda: rig.write(IO_BAR, 4, 0xD000), lambda: rig.write(c.COMMAND, 2, 7)]
    return rig.function, [(registers, 256)], exercises


CONTRACT = [
    ("pci mechanism 1", make_mechanism_for_contract),
    ("pci function", make_function_for_contract),
]


def test_header_shows_the_identity(rig: Rig) -> None:
    assert rig.read(c.VENDOR_ID) == 0x7078_9004
    assert rig.read(c.REVISION_ID) == 0x0100_0003
    assert rig.read(c.INTERRUPT_PIN, 1) == 1


def test_identity_is_read_only(rig: Rig) -> None:
    rig.write(c.VENDOR_ID, 4, 0)
    assert rig.read(c.VENDOR_ID) == 0x7078_9004


def test_bytes_and_words_select_within_the_register(rig: Rig) -> None:
    assert rig.read(SCRATCH + 1, 1) == 0x56
    assert rig.read(SCRATCH + 2, 2) == 0x1234


def test_only_writable_bits_change(rig: Rig) -> None:
    rig.write(SCRATCH, 4, 0xFFFF_FFFF)
    assert rig.read(SCRATCH) == 0x12FF_FF78


def test_byte_write_leaves_the_neighbours(rig: Rig) -> None:
    rig.write(SCRATCH + 2, 1, 0xAA)
    assert rig.read(SCRATCH) == 0x12AA_5678


def test_writing_ones_clears_a_flag_and_zeros_keep_it(rig: Rig) -> None:
    rig.write(FLAGS, 1, 0x30)
    assert rig.read(FLAGS, 1) == 0xC0


def test_watcher_hears_writes_of_its_registers_only(rig: Rig) -> None:
    rig.write(SCRATCH + 3, 1, 0)
    rig.write(FLAGS, 1, 0)
    assert rig.heard == 1


def test_confadd_takes_32_bit_accesses_only(rig: Rig) -> None:
    rig.select(0x10)
    rig.ports.write(0, 1, 0xFF)
    rig.ports.write(0, 2, 0xFFFF)
    assert rig.ports.read(0, 4) == 0x8000_1810
    assert rig.ports.read(0, 2) == 0xFFFF


def test_linux_probe_of_mechanism_1(rig: Rig) -> None:
    rig.ports.write(3, 1, 0x01)
    rig.ports.write(0, 4, 0x8000_0000)
    assert rig.ports.read(0, 4) == 0x8000_0000


def test_byte_at_cf9_reaches_the_reset_control(rig: Rig) -> None:
    rig.ports.write(1, 1, 0x06)
    assert rig.reset_writes == [0x06]
    assert rig.ports.read(1, 1) == 0x06


@pytest.mark.parametrize(("slot", "function", "bus"), [(4, 0, 0), (3, 1, 0), (3, 0, 1)])
def test_function_that_does_not_exist_reads_as_ones(rig: Rig, slot: int, function: int, bus: int) -> None:
    rig.select(0, slot, function, bus)
    rig.ports.write(4, 4, 0)
    assert rig.ports.read(4, 4) == 0xFFFF_FFFF
    assert rig.ports.read(6, 2) == 0xFFFF


def test_disabled_address_reads_as_ones(rig: Rig) -> None:
    rig.ports.write(0, 4, 3 << 11)
    assert rig.ports.read(4, 4) == 0xFFFF_FFFF


def test_access_across_the_data_window_floats_beyond_it(rig: Rig) -> None:
    rig.select(SCRATCH)
    assert rig.ports.read(7, 2) == 0xFF12


def test_sizing_a_bar_shows_its_size_and_kind(rig: Rig) -> None:
    for bar in (IO_BAR, MEMORY_BAR, ROM_BAR):
        rig.write(bar, 4, 0xFFFF_FFFF)
    assert rig.read(IO_BAR) == 0xFFFF_FFE1
    assert rig.read(MEMORY_BAR) == 0xFFFF_F000
    assert rig.read(ROM_BAR) == 0xFFFF_C001


def test_bar_decodes_only_while_command_enables_it(rig: Rig) -> None:
    rig.write(IO_BAR, 4, 0xC000)
    assert rig.moves == []
    rig.write(c.COMMAND, 2, c.COMMAND_IO)
    rig.write(c.COMMAND, 2, 0)
    assert rig.moves == [("io", None, 0xC000), ("io", 0xC000, None)]


def test_moving_a_bar_tells_old_and_new(rig: Rig) -> None:
    rig.write(c.COMMAND, 2, c.COMMAND_MEMORY)
    rig.write(MEMORY_BAR, 4, 0xFEB0_0000)
    rig.write(MEMORY_BAR, 4, 0xFFFF_FFFF)
    rig.write(MEMORY_BAR, 4, 0xFEC0_0000)
    assert rig.moves == [
        ("memory", None, 0xFEB0_0000),
        ("memory", 0xFEB0_0000, None),
        ("memory", None, 0xFEC0_0000),
    ]


def test_rom_decodes_only_with_its_own_enable(rig: Rig) -> None:
    rig.write(c.COMMAND, 2, c.COMMAND_MEMORY)
    rig.write(ROM_BAR, 4, 0xFEA0_0000)
    assert rig.moves == []
    rig.write(ROM_BAR, 4, 0xFEA0_0001)
    assert rig.moves == [("rom", None, 0xFEA0_0000)]


def test_reset_takes_bars_off_the_bus(rig: Rig) -> None:
    rig.write(IO_BAR, 4, 0xC000)
    rig.write(c.COMMAND, 2, c.COMMAND_IO)
    rig.function.reset()
    assert rig.moves[-1] == ("io", 0xC000, None)


def test_load_puts_bars_where_they_were(rig: Rig) -> None:
    rig.write(IO_BAR, 4, 0xC000)
    rig.write(c.COMMAND, 2, c.COMMAND_IO)
    twin = Rig()
    twin.function.load(rig.function.save())
    assert twin.moves == [("io", None, 0xC000)]
    assert twin.function.save() == rig.function.save()


def test_a_taken_slot_is_refused_by_name(rig: Rig) -> None:
    with pytest.raises(ValueError, match=r"nic.*03\.0.*scsi"):
        rig.bus.attach(3, 0, c.PciFunction("nic", c.ConfigSpace(c.FunctionIdentity(1, 2, 3))))
