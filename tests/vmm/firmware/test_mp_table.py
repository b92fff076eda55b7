"""The MP table, walked as [MPS] chapter 4 says."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.pci.interrupts import pirq_of
from tests.vmm.firmware.test_linux_boot import kernel as linux_kernel
from vmm.config import DriveConfig, MachineConfig
from vmm.firmware.mp_table import IO_APIC_ID, mp_table
from vmm.firmware.rom import ROM_ADDRESS, build_rom
from vmm.machine import Machine

CORE_2 = (0x6FB, 0x0FCB_FBFF)
SIZES = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}
PCI, ISA = 0, 1


def pointer_in(rom: bytes) -> int:
    """The only 16-byte boundary with `_MP_`."""
    places = [at for at in range(0, len(rom), 16) if rom.startswith(b"_MP_", at)]
    assert len(places) == 1
    return places[0]


@pytest.fixture(scope="module")
def rom() -> bytes:
    return build_rom((mp_table(CORE_2),)).data


@pytest.fixture(scope="module")
def table(rom: bytes) -> bytes:
    at = pointer_in(rom)
    address = struct.unpack_from("<I", rom, at + 4)[0] - ROM_ADDRESS
    length = struct.unpack_from("<H", rom, address + 4)[0]
    return rom[address : address + length]


def entries(table: bytes) -> Iterator[bytes]:
    at = 44
    while at < len(table):
        yield table[at : at + SIZES[table[at]]]
        at += SIZES[table[at]]
    assert at == len(table)


def interrupts(table: bytes, entry_type: int) -> list[tuple[int, ...]]:
    """Kind, flags, bus, source, destination APIC, pin."""
    return [struct.unpack("<xBHBBBB", entry) for entry in entries(table) if entry[0] == entry_type]


def test_floating_pointer(rom: bytes) -> None:
    """§4.1: a paragraph, revision 4, checksum 0; feature byte 1 is 0 with a table, byte 2 without IMCR."""
    at = pointer_in(rom)
    pointer = rom[at : at + 16]
    assert sum(pointer) & 0xFF == 0
    assert struct.unpack_from("<BB", pointer, 8) == (1, 4)
    assert pointer[11:] == bytes(5)


def test_header(table: bytes) -> None:
    """§4.2."""
    assert table[:4] == b"PCMP"
    assert sum(table) & 0xFF == 0
    assert table[6] == 4
    assert table[8:28] == b"TRAPLINEPC          "
    count, local_apic = struct.unpack_from("<HI", table, 34)
    assert (count, local_apic) == (len(list(entries(table))), 0xFEE0_0000)


def test_entries_are_in_the_order_of_their_types(table: bytes) -> None:
    """§4.3: ascending by entry type."""
    types = [entry[0] for entry in entries(table)]
    assert types == sorted(types)
    assert [types.count(entry_type) for entry_type in range(5)] == [1, 2, 1, 1 + 15 + 31 * 4, 2]


def test_processor_buses_and_io_apic(table: bytes) -> None:
    processor, pci, isa, io_apic, *_ = entries(table)
    assert struct.unpack("<BBBBII8x", processor) == (0, 0, 0x14, 3, 0x6FB, CORE_2[1])
    assert (pci, isa) == (b"\x01\x00PCI   ", b"\x01\x01ISA   ")
    assert struct.unpack("<BBBBI", io_apic) == (2, IO_APIC_ID, 0x11, 1, 0xFEC0_0000)


def test_isa_interrupts_are_on_the_pin_of_their_number_but_the_timers(table: bytes) -> None:
    found = {source: pin for kind, _, bus, source, _, pin in interrupts(table, 3) if (kind, bus) == (0, ISA)}
    assert found == {0: 2, 1: 1, **{irq: irq for irq in range(3, 16)}}


def test_pci_interrupts_are_on_the_pin_of_their_pirq(table: bytes) -> None:
    """§D.3: the source is the device number in bits 6 to 2 and the pin in bits 1 and 0."""
    found = [(source, pin) for _, _, bus, source, _, pin in interrupts(table, 3) if bus == PCI]
    assert len(found) == 124
    assert all(pin == 16 + pirq_of(source >> 2, (source & 3) + 1) for source, pin in found)


def test_the_8259_and_nmi(table: bytes) -> None:
    assert [entry for entry in interrupts(table, 3) if entry[0] == 3] == [(3, 0, ISA, 0, IO_APIC_ID, 0)]
    assert interrupts(table, 4) == [(3, 0, ISA, 0, 0xFF, 0), (1, 0, ISA, 0, 0xFF, 1)]


@pytest.mark.parametrize("apic", [False, True])
@pytest.mark.parametrize("kernel", [False, True])
def test_the_table_is_in_the_f_segment_of_machines_with_apics(
    tmp_path: Path, apic: bool, kernel: bool
) -> None:
    """Also where a kernel is entered without firmware."""
    image = tmp_path / "image"
    image.write_bytes(linux_kernel() if kernel else bytes(1 << 20))
    if kernel:
        config = MachineConfig(kernel=str(image), apic=apic, engine="portable")
    else:
        config = MachineConfig(hd=(DriveConfig(path=str(image)),), apic=apic, engine="portable")
    with Machine(config) as machine:
        segment = machine.memory.read(ROM_ADDRESS, 0x10000)
    assert segment.count(b"_MP_") == apic
    if apic:
        at = pointer_in(segment)
        assert segment[at + 16 : at + 20] == b"PCMP"
