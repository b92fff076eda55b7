"""INT 1Ah AH=B1h: [PCIBIOS] PCI BIOS Specification 2.1, on the board's own PCI bus."""

from __future__ import annotations

import struct

import pytest

from devices.backplane import IrqLine, PortRange
from devices.pci.bus import ConfigMechanism1, PciBus
from devices.pci.display import PciDisplay
from devices.pci.host_i440fx import I440fx
from devices.pci.interrupts import PciInterruptRouter
from devices.pci.piix3 import Piix3Ide, Piix3Isa
from devices.pci.setup import configure
from devices.system_control import SystemControl
from tests.vmm.firmware.rig import STACK, Rig
from vmm.clock import MachineClock
from vmm.cpu import registers as r

ISA, IDE, DISPLAY = 0x08, 0x09, 0x10


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    pci, nobody = PciBus(), lambda *_: None
    router = PciInterruptRouter([IrqLine(nobody) for _ in range(16)])
    pci.attach(0, 0, I440fx("host", nobody))
    pci.attach(1, 0, Piix3Isa("isa", router))
    pci.attach(1, 1, Piix3Ide("ide", nobody, nobody, nobody))
    pci.attach(2, 0, PciDisplay("display", 1 << 24, nobody, None, nobody))
    configure(pci)
    control = SystemControl(MachineClock(rig.time), nobody, lambda: True, nobody, nobody)
    rig.bus.attach(ConfigMechanism1("pci", pci, control.reset_port), PortRange(0xCF8, 8))
    return rig


def test_presence_is_told_with_version_and_mechanism(rig: Rig) -> None:
    rig.call(0x1A, ax=0xB101, edx=0)
    assert (rig.carry, rig.reg("ah"), rig.reg("al")) == (False, 0, 1)
    assert rig.reg("edx") == int.from_bytes(b"PCI ", "little")
    assert (rig.reg("bx"), rig.reg("cl")) == (0x0210, 0)


def test_device_is_found_by_its_number(rig: Rig) -> None:
    rig.call(0x1A, ax=0xB102, cx=0x7010, dx=0x8086, si=0)
    assert (rig.carry, rig.reg("bx")) == (False, IDE)
    rig.call(0x1A, ax=0xB102, cx=0x7010, dx=0x8086, si=1)
    assert (rig.carry, rig.reg("ah")) == (True, 0x86)
    rig.call(0x1A, ax=0xB102, cx=0x7010, dx=0xFFFF, si=0)
    assert (rig.carry, rig.reg("ah")) == (True, 0x83)


def test_class_is_found(rig: Rig) -> None:
    rig.call(0x1A, ax=0xB103, ecx=0x030000, si=0)
    assert (rig.carry, rig.reg("bx")) == (False, DISPLAY)


@pytest.mark.parametrize(("function", "value"), [(0x08, 0x86), (0x09, 0x8086), (0x0A, 0x70108086)])
def test_configuration_is_read_in_three_sizes(rig: Rig, function: int, value: int) -> None:
    rig.call(0x1A, ax=0xB100 | function, bx=IDE, ecx=0, di=0)
    assert (rig.carry, rig.reg("ecx")) == (False, value)


@pytest.mark.parametrize(("function", "di"), [(0x09, 1), (0x0A, 2), (0x0C, 3), (0x0D, 1), (0x08, 0x100)])
def test_crooked_register_numbers_are_refused(rig: Rig, function: int, di: int) -> None:
    rig.call(0x1A, ax=0xB100 | function, bx=IDE, di=di)
    assert (rig.carry, rig.reg("ah")) == (True, 0x87)


def test_configuration_is_written(rig: Rig) -> None:
    for function, bx, di, ecx in (
        (0x0B, ISA, 0x60, 0x09),
        (0x0C, IDE, 0x40, 0x8000),
        (0x0D, IDE, 0x20, 0xD001),
    ):
        rig.call(0x1A, ax=0xB100 | function, bx=bx, di=di, ecx=ecx)
        assert not rig.carry
    rig.call(0x1A, ax=0xB108, bx=ISA, di=0x60)
    assert rig.reg("cl") == 0x09
    rig.call(0x1A, ax=0xB109, bx=IDE, di=0x40)
    assert rig.reg("cx") == 0x8000
    rig.call(0x1A, ax=0xB10A, bx=IDE, di=0x20)
    assert rig.reg("ecx") == 0xD001


def test_routing_options_are_the_table_in_rom(rig: Rig) -> None:
    rig.memory.write(0x20000, struct.pack("<HHH", 0x1000, 0x0000, 0x3000))
    rig.call(0x1A, ax=0xB10E, bx=0, di=0, es=0x2000)
    assert not rig.carry
    size = int.from_bytes(rig.memory.read(0x20000, 2), "little")
    at = rig.bios.rom.index(b"$PIR")
    assert rig.memory.read(0x30000, size) == rig.bios.rom[at + 32 : at + 32 + size]


def test_buffer_too_small_is_told_the_size_it_needs(rig: Rig) -> None:
    rig.memory.write(0x20000, struct.pack("<HHH", 16, 0x0000, 0x3000))
    rig.call(0x1A, ax=0xB10E, bx=0, di=0, es=0x2000)
    assert (rig.carry, rig.reg("ah")) == (True, 0x89)
    assert rig.memory.read(0x20000, 2) == (31 * 16).to_bytes(2, "little")


@pytest.mark.parametrize("function", [0x00, 0x04, 0x06, 0x0F, 0x7F])
def test_other_functions_are_not_supported(rig: Rig, function: int) -> None:
    rig.call(0x1A, ax=0xB100 | function)
    assert (rig.carry, rig.reg("ah")) == (True, 0x81)


def flat(rig: Rig, service: int, eax: int, ebx: int = 0) -> bool:
    """Make a far call as the 32-bit stub announces it; return CF."""
    rig.view.regs[r.RAX], rig.view.regs[r.RBX], rig.view.regs[r.RSP] = eax, ebx, STACK
    rig.memory.write(STACK, struct.pack("<II", service, 0x0003_0202))
    rig.bios.write(0, 1, 0)
    return bool(rig.memory.read(STACK + 4, 1)[0] & r.CF)


def test_directory_leads_to_the_pci_service(rig: Rig) -> None:
    flat(rig, 0xF1, int.from_bytes(b"$PCI", "little"))
    assert (rig.reg("al"), rig.reg("ebx"), rig.reg("ecx")) == (0, 0xF0000, 0x10000)
    entry = rig.reg("edx")
    assert rig.bios.rom[entry : entry + 6] == bytes.fromhex("9c 68 f2000000")  # pushfd; push F2h


def test_directory_knows_no_other_service_and_no_other_function(rig: Rig) -> None:
    flat(rig, 0xF1, int.from_bytes(b"$XYZ", "little"))
    assert rig.reg("al") == 0x80
    flat(rig, 0xF1, int.from_bytes(b"$PCI", "little"), ebx=1)
    assert rig.reg("al") == 0x81


def test_far_call_gives_the_same_answers_and_its_flag(rig: Rig) -> None:
    assert not flat(rig, 0xF2, 0xB101)
    assert rig.reg("edx") == int.from_bytes(b"PCI ", "little")
    assert flat(rig, 0xF2, 0xB10F)
    assert rig.memory.read(STACK + 6, 2) == b"\x03\x00"  # the other flags stay
