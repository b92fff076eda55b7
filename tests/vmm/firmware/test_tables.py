"""What operating systems search the F-segment for."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from devices.pci.interrupts import pirq_of
from tests.oracles import run_tool
from tests.vmm.firmware.rig import Rig
from vmm.firmware.rom import ROM_ADDRESS, build_rom
from vmm.firmware.smbios import smbios, structures

MIB = 1 << 20
CORE_2: tuple[int, int] = (0x6FB, 0x0FCBFBFD)


def found(rom: bytes, signature: bytes) -> int:
    """The only 16-byte boundary that has `signature`."""
    places = [at for at in range(0, len(rom), 16) if rom.startswith(signature, at)]
    assert len(places) == 1
    return places[0]


def test_service_directory_has_its_checksum_and_points_to_code() -> None:
    rom = build_rom().data
    at = found(rom, b"_32_")
    header = rom[at : at + 16]
    entry, revision, paragraphs = struct.unpack_from("<IBB", header, 4)
    assert (revision, paragraphs, sum(header) & 0xFF) == (0, 1, 0)
    assert rom[entry - ROM_ADDRESS :][:2] == bytes.fromhex("9c68")


def test_routing_table_has_each_slots_pins_on_the_wires_of_the_board() -> None:
    rom = Rig().bios.rom
    at = found(rom, b"$PIR")
    version, size, bus, router = struct.unpack_from("<HHBB", rom, at + 4)
    table = rom[at : at + size]
    assert (version, bus, router, sum(table) & 0xFF) == (0x0100, 0, 0x08, 0)
    for slot in range(32, size, 16):
        _, device, *pins = struct.unpack_from("<BBBHBHBHBH", table, slot)
        links, masks = pins[::2], pins[1::2]
        assert links == [0x60 + pirq_of(device >> 3, pin) for pin in range(1, 5)]
        assert set(masks) == {0xDEF8}


def test_more_tables_find_their_place_and_learn_it() -> None:
    addresses: list[int] = []

    def table(address: int) -> bytes:
        addresses.append(address)
        return b"_TEST_" + address.to_bytes(4, "little")

    rom = build_rom((table, table)).data
    for address in addresses:
        assert address % 16 == 0
        assert rom[address - ROM_ADDRESS :][:10] == b"_TEST_" + address.to_bytes(4, "little")
    assert addresses[1] - addresses[0] == 16


def test_structures_are_those_that_the_specification_requires() -> None:
    parts = structures(64 * MIB, CORE_2)
    assert [part[0] for part in parts] == [0, 1, 3, 4, 16, 17, 19, 32, 127]
    assert len({part[2:4] for part in parts}) == len(parts)
    assert all(part.endswith(b"\0\0") for part in parts)


@pytest.mark.parametrize(
    ("size", "word"), [(64 * MIB, 64), (MIB + 512 * 1024, 0x8000 | 1536), (3584 * MIB, 3584)]
)
def test_memory_device_has_the_size_of_memory(size: int, word: int) -> None:
    device = structures(size, CORE_2)[5]
    assert int.from_bytes(device[0x0C:0x0E], "little") == word


@pytest.mark.oracle
def test_dmidecode_reads_the_tables_without_a_complaint(tmp_path: Path) -> None:
    rom = build_rom((smbios(64 * MIB, CORE_2),)).data
    at = found(rom, b"_SM_")
    dump = tmp_path / "memory"
    dump.write_bytes(bytes(ROM_ADDRESS) + rom)
    text = run_tool("dmidecode", "--no-sysfs", "-d", dump)
    assert "SMBIOS 2.4 present." in text
    assert "9 structures occupying" in text
    for line in (
        "Vendor: Trapline", "Product Name: Virtual PC/AT", "Type: Desktop", "Socket Designation: CPU 0",
        "ID: FB 06 00 00 FD FB CB 0F", "Current Speed: 1000 MHz", "Maximum Capacity: 64 MB", "Size: 64 MB",
        "Range Size: 64 MB", "Status: No errors detected", "Boot from CD is supported", "EDD is supported",
        "End Of Table",
    ):  # fmt: skip
        assert line in text, line
    for complaint in ("wrong", "Wrong", "bad", "OUT OF SPEC", "truncated", "Invalid"):
        assert complaint not in text, text
    assert at % 16 == 0
