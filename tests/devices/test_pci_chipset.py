"""i440FX, PIIX3, interrupt routing and power-on setup, one data-sheet sentence per test."""

from collections.abc import Callable
from functools import partial

import pytest

from devices.backplane import IrqLine, PortBank
from devices.pci import config as c
from devices.pci import piix3
from devices.pci.bus import ConfigMechanism1, PciBus
from devices.pci.host_i440fx import PAM0, I440fx, pam_segments
from devices.pci.interrupts import PciInterruptRouter, pirq_of
from devices.pci.setup import configure
from vmm.clock import MachineClock


class Rig:
    """The chipset on its bus, with lists of everything it did outside."""

    def __init__(self) -> None:
        self.pam: list[bytes] = []
        self.irqs: list[tuple[int, bool]] = []
        self.decoded: list[tuple[int, bool]] = []
        self.master: list[bool] = []
        self.moves: list[tuple[int | None, int | None]] = []
        self.router = PciInterruptRouter([IrqLine(self._irq_sink(irq)) for irq in range(16)])
        self.host = I440fx("host", self.pam.append)
        self.isa = piix3.Piix3Isa("isa", self.router)
        self.ide = piix3.Piix3Ide(
            "ide",
            lambda channel, on: self.decoded.append((channel, on)),
            self.master.append,
            lambda old, new: self.moves.append((old, new)),
        )
        self.bus = PciBus()
        for slot, function, device in ((0, 0, self.host), (1, 0, self.isa), (1, 1, self.ide)):
            self.bus.attach(slot, function, device)
        self.ports = ConfigMechanism1("pci", self.bus)

    def _irq_sink(self, irq: int) -> Callable[[bool], None]:
        return lambda level: self.irqs.append((irq, level))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def _contract(slot: int, function: int, *writes: tuple[int, int, int]) -> Callable[[MachineClock], object]:
    def make(clock: MachineClock) -> tuple[object, object, object]:
        device = Rig().bus.functions[slot, function]
        registers = PortBank("configuration space", device.config.read, device.config.write)
        return device, [(registers, 256)], [partial(device.config.write, *write) for write in writes]

    return make


CONTRACT = [
    ("i440fx", _contract(0, 0, (PAM0, 1, 0x30), (PAM0 + 3, 1, 0x11))),
    ("piix3 isa", _contract(1, 0, (piix3.PIRQRCA, 4, 0x0B0B_0A0A))),
    ("piix3 ide", _contract(1, 1, (c.COMMAND, 2, 5), (c.BAR4, 4, 0xC000), (0x40, 4, 0x8000_8000))),
]


@pytest.mark.parametrize(
    ("function", "identity", "class_code", "header"),
    [
        ((0, 0), 0x1237_8086, 0x060000, 0x00),
        ((1, 0), 0x7000_8086, 0x060100, 0x80),
        ((1, 1), 0x7010_8086, 0x010180, 0x00),
    ],
)
def test_identities(rig: Rig, function: tuple[int, int], identity: int, class_code: int, header: int) -> None:
    config = rig.bus.functions[function].config
    assert config.read(c.VENDOR_ID, 4) == identity
    assert config.read(c.CLASS_CODE, 3) == class_code
    assert config.read(c.HEADER_TYPE, 1) == header


def test_seabios_knows_the_host_bridge_by_its_subsystem(rig: Rig) -> None:
    assert rig.host.config.read(c.SUBSYSTEM_VENDOR_ID, 4) == 0x1100_1AF4


def test_pam_is_told_at_power_on_and_at_every_change(rig: Rig) -> None:
    rig.host.config.write(PAM0, 1, 0x30)
    rig.host.config.write(PAM0, 1, 0x30)
    rig.host.config.write(PAM0 + 1, 4, 0x3333_3333)
    assert rig.pam == [bytes(7), b"\x30" + bytes(6), b"\x30\x33\x33\x33\x33\0\0"]


def test_pam_keeps_no_reserved_bits(rig: Rig) -> None:
    rig.host.config.write(PAM0, 4, 0xFFFF_FFFF)
    assert rig.host.config.read(PAM0, 2) == 0x7770


def test_pam_segments_cover_c0000_to_fffff(rig: Rig) -> None:
    segments = pam_segments(bytes([0x30, 0x21, 0, 0, 0, 0, 0x10]))
    assert [segment.address for segment in segments] == [*range(0xC0000, 0xF0000, 0x4000), 0xF0000]
    assert sum(segment.length for segment in segments) == 0x40000
    assert segments[0] == (0xC0000, 0x4000, True, False)
    assert segments[1] == (0xC4000, 0x4000, False, True)
    assert segments[11] == (0xEC000, 0x4000, True, False)
    assert segments[12] == (0xF0000, 0x10000, True, True)


def test_reset_closes_the_pam(rig: Rig) -> None:
    rig.host.config.write(PAM0, 1, 0x30)
    rig.host.reset()
    assert rig.pam[-1] == bytes(7)


@pytest.mark.parametrize(("slot", "pin", "pirq"), [(1, 1, 0), (1, 4, 3), (2, 1, 1), (3, 1, 2), (4, 2, 0)])
def test_pins_are_swizzled_over_the_slots(slot: int, pin: int, pirq: int) -> None:
    assert pirq_of(slot, pin) == pirq


def test_pirq_routing_is_off_after_reset(rig: Rig) -> None:
    assert rig.isa.config.read(piix3.PIRQRCA, 4) == 0x8080_8080
    rig.router.line(1, 1).set_level(True)
    assert rig.irqs == []


def test_pirq_follows_its_route_register(rig: Rig) -> None:
    rig.isa.config.write(piix3.PIRQRCA, 1, 11)
    line = rig.router.line(1, 1)
    line.set_level(True)
    line.set_level(False)
    assert rig.irqs == [(11, True), (11, False)]


def test_changing_a_route_moves_an_asserted_level(rig: Rig) -> None:
    rig.isa.config.write(piix3.PIRQRCA, 1, 10)
    rig.router.line(1, 1).set_level(True)
    rig.isa.config.write(piix3.PIRQRCA, 1, 5)
    rig.isa.config.write(piix3.PIRQRCA, 1, 0x80)
    assert rig.irqs == [(10, True), (10, False), (5, True), (5, False)]


def test_two_pirqs_on_one_irq_are_wired_or(rig: Rig) -> None:
    rig.isa.config.write(piix3.PIRQRCA, 2, 0x0A0A)
    first, second = rig.router.line(1, 1), rig.router.line(2, 1)
    first.set_level(True)
    second.set_level(True)
    first.set_level(False)
    assert rig.irqs == [(10, True)]
    second.set_level(False)
    assert rig.irqs == [(10, True), (10, False)]


@pytest.mark.parametrize("irq", [0, 1, 2, 8, 13])
def test_reserved_interrupts_cannot_be_routed_to(rig: Rig, irq: int) -> None:
    rig.isa.config.write(piix3.PIRQRCA, 1, irq)
    rig.router.line(1, 1).set_level(True)
    assert rig.irqs == []


def test_loading_the_bridge_restores_routes(rig: Rig) -> None:
    rig.isa.config.write(piix3.PIRQRCA, 1, 11)
    state = rig.isa.save()
    rig.isa.reset()
    rig.isa.load(state)
    rig.router.line(1, 1).set_level(True)
    assert rig.irqs == [(11, True)]


def test_ide_reset_values(rig: Rig) -> None:
    config = rig.ide.config
    assert (config.read(c.COMMAND, 2), config.read(c.STATUS, 2)) == (0, 0x0280)
    assert config.read(c.BAR4, 4) == 0x01
    assert [config.read(offset, 4) for offset in range(0x10, 0x20, 4)] == [0, 0, 0, 0]


def test_legacy_bars_of_ide_stay_zero(rig: Rig) -> None:
    rig.ide.config.write(0x10, 4, 0xFFFF_FFFF)
    assert rig.ide.config.read(0x10, 4) == 0


def test_ide_command_has_only_io_and_master(rig: Rig) -> None:
    rig.ide.config.write(c.COMMAND, 2, 0xFFFF)
    assert rig.ide.config.read(c.COMMAND, 2) == 0x0005


def test_channel_is_decoded_by_idetim_and_io_enable_together(rig: Rig) -> None:
    rig.ide.config.write(piix3.IDETIM_SECONDARY, 2, 0x8000)
    assert rig.decoded == []
    rig.ide.config.write(c.COMMAND, 2, 1)
    rig.ide.config.write(piix3.IDETIM_SECONDARY, 2, 0)
    assert rig.decoded == [(1, True), (1, False)]


def test_bus_master_follows_its_enable_and_bar4(rig: Rig) -> None:
    rig.ide.config.write(c.BAR4, 4, 0xC001)
    rig.ide.config.write(c.COMMAND, 2, 5)
    assert rig.master == [True]
    assert rig.moves == [(None, 0xC000)]


def test_setup_gives_every_function_what_a_bios_would(rig: Rig) -> None:
    moved: list[tuple[int | None, int | None]] = []
    bars = [
        c.Bar(0x10, 0x100, True, lambda old, new: moved.append((old, new))),
        c.Bar(0x14, 0x1000, False, lambda old, new: moved.append((old, new))),
    ]
    scsi = c.PciFunction(
        "scsi", c.ConfigSpace(c.FunctionIdentity(0x9004, 0x7078, 0x010000, interrupt_pin=1), (), bars)
    )
    rig.bus.attach(3, 0, scsi)
    assert configure(rig.bus) == {10, 11}
    assert rig.decoded == [(0, True), (1, True)]
    assert rig.master == [True]
    assert rig.moves == [(None, 0xC000)]
    assert moved == [(None, 0xC100), (None, 0xFEBF_F000)]
    assert scsi.config.read(c.INTERRUPT_LINE, 1) == 11
    rig.router.line(3, 1).set_level(True)
    assert rig.irqs == [(11, True)]
