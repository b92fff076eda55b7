"""The same calls of INT 11h-16h and 1Ah on our firmware and on QEMU with SeaBIOS: the same outcomes.

Only what the manuals settle is asked. Left out, as SeaBIOS 1.16 differs from them:

- status 01h for a sector, head or cylinder that is not there: 04h, [PTL] INT 13h, ID not found;
- packets of more than 127 blocks, which it moves, and the count in a packet after an error: [EDD] §8.2;
- packets of less than 16 bytes: 01h, [EDD] §8.2;
- AH=41h without 55AAh in BX, and its bit 1 (removable) for every disk;
- INT 13h AH=08h and 15h of drives that are not there: 07h, and AH=00h, [PTL]; the change line of floppies
  (15h, 16h), and 17h, 18h;
- the last cylinder of a hard disk, which it keeps for diagnostics as the PC/AT did;
- INT 1Ah AX=B102h of vendor FFFFh, and registers beyond 255 or not aligned: 83h and 87h, [PCIBIOS] §4;
- INT 15h AH=80h-82h and 85h, which fail, ZF of 87h; the memory its ACPI tables take; APM, not here;
- INT 16h AH=00h and 01h with keys of newer keyboards: thrown away, [XT286].

[PTL] IBM PS/2 and PC BIOS Interface Technical Reference; [EDD] BIOS Enhanced Disk Drive Specification 3.0;
[PCIBIOS] PCI BIOS Specification 2.1; [XT286] IBM Personal Computer XT Model 286 BIOS listing, "KYBD".
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.guests.assets.script import DISK_BYTES, Script
from vmm.config import DriveConfig

pytestmark = [pytest.mark.guest, pytest.mark.oracle]

PACKET, RESULT = 0x600, 0x680
BUFFER = 0x5000
SECTORS = DISK_BYTES // 512
FLOPPY_BYTES = 1440 << 10
SMAP = 0x534D_4150
DESCRIPTOR = struct.Struct("<HHBBH")
HD, ABSENT = 0x80, (0x81, 0x8F, 0xFF, 0x7F)


def agree(script: Script, folder: Path) -> None:
    assert script.on_trapline(folder) == script.on_qemu(folder)


def packet(script: Script, blocks: int, lba: int, size: int = 16) -> None:
    script.store(0, PACKET, struct.pack("<BBHHHQ", size, 0, blocks, 0, BUFFER, lba))


def status(script: Script, drive: int) -> None:
    script.call(0x13, "ah", "carry", ax=0x0100, dx=drive)


def test_hard_disk_by_cylinder_head_and_sector(tmp_path: Path) -> None:
    script = Script()
    for function in (0x00, 0x01, 0x0D, 0x10, 0x11, 0x14, 0x16, 0x55):
        script.call(0x13, "ah", "cx", "dx", "carry", ax=function << 8, dx=HD)
        status(script, HD)
    script.call(0x13, "ah", "dx", "carry", ax=0x0800, dx=HD)
    script.call(0x13, "ah", "carry", ax=0x1500, dx=HD)
    script.call(0x13, "ah", "carry", ax=0x0C01, cx=1, dx=HD)
    for function in (0x02, 0x04, 0x03):
        for count, sector, head in ((1, 2, 0), (2, 5, 1), (3, 63, 2), (128, 1, 3), (1, 0x101, 0)):
            script.call(
                0x13, "ax", "cx", "dx", "es", "carry",
                ax=function << 8 | count, cx=sector, dx=head + 8 << 8 | HD, es=BUFFER,
            )  # fmt: skip
            status(script, HD)
            script.sum(BUFFER, 0, 1024)
        script.call(0x13, "ah", "carry", ax=function << 8, cx=1, dx=HD, es=BUFFER)
        for sector, head in ((0, 0), (0x40, 0), (1, 16), (0xFFFF, 0), (0xC101, 0)):
            script.call(0x13, "carry", ax=function << 8 | 1, cx=sector, dx=head << 8 | HD, es=BUFFER)
        script.fill(BUFFER, 0, 1024)
    for count in (129, 255):
        for function in (0x02, 0x03):
            script.call(0x13, "ah", "carry", ax=function << 8 | count, cx=1, dx=HD, es=BUFFER)
    agree(script, tmp_path)


def test_hard_disk_by_packets(tmp_path: Path) -> None:
    script = Script()
    script.call(0x13, "ah", "bx", "carry", ax=0x4100, bx=0x55AA, dx=HD)
    for function in (0x42, 0x44, 0x47, 0x43):
        for blocks, lba, size in (
            (1, 600, 16),
            (0, 600, 16),
            (127, 600, 16),
            (1, SECTORS - 1, 16),
            (1, 600, 24),
        ):
            packet(script, blocks, lba, size)
            script.call(0x13, "ah", "dx", "si", "carry", ax=function << 8, dx=HD, si=PACKET)
            script.load(0, PACKET + 2, 2)
            script.sum(BUFFER, 0, 1024)
        script.fill(BUFFER, 0, 1024)
    for function in (0x42, 0x43):
        for blocks, lba in ((1, SECTORS), (2, SECTORS - 1), (1, 1 << 40)):
            packet(script, blocks, lba)
            script.call(0x13, "carry", ax=function << 8, dx=HD, si=PACKET)
    for room in (0x19, 0x1A, 0x1D, 0x1E):
        script.store(0, RESULT, bytes((room, 0)) + bytes(0x20))
        script.call(0x13, "ah", "carry", ax=0x4800, dx=HD, si=RESULT)
        script.load(0, RESULT, 0x1A)
    agree(script, tmp_path)


def test_drives_that_are_not_there(tmp_path: Path) -> None:
    script = Script()
    for drive in ABSENT:
        packet(script, 1, 0)
        for function in (0x01, 0x02, 0x03, 0x04, 0x41, 0x42, 0x48):
            script.call(
                0x13, "ah", "carry",
                ax=function << 8 | 1, bx=0x55AA, cx=1, dx=drive, si=PACKET, es=BUFFER,
            )  # fmt: skip
            status(script, drive)
    agree(script, tmp_path)


def test_diskettes(tmp_path: Path) -> None:
    script = Script()
    for function in (0x00, 0x01, 0x41, 0x42, 0x48, 0x0C, 0x55):
        script.call(0x13, "ah", "carry", ax=function << 8, bx=0x55AA, dx=0, si=PACKET)
    script.call(0x13, "ax", "bx", "cx", "dx", "carry", ax=0x0800, dx=0)
    script.call(0x13, "carry", ax=0x1500, dx=0)
    for function in (0x02, 0x04, 0x03):
        for count, sector, head in ((1, 1, 0), (18, 1, 0), (1, 1, 1), (2, 17, 0), (1, 0x4F12, 1)):
            script.call(
                0x13, "ax", "cx", "dx", "es", "carry",
                ax=function << 8 | count, cx=sector, dx=head << 8, es=BUFFER,
            )  # fmt: skip
            status(script, 0)
            script.sum(BUFFER, 0, 1024)
        script.call(0x13, "ah", "carry", ax=function << 8, cx=1, es=BUFFER)
        for sector, head in ((19, 0), (0, 0), (0x5001, 0), (1, 2)):
            script.call(0x13, "carry", ax=function << 8 | 1, cx=sector, dx=head << 8, es=BUFFER)
        script.fill(BUFFER, 0, 1024)
    for drive in (1, 2):
        for function in (0x02, 0x04):
            script.call(0x13, "ah", "carry", ax=function << 8 | 1, cx=1, dx=drive, es=BUFFER)
    ours, theirs = tmp_path / "ours.img", tmp_path / "theirs.img"
    for image in (ours, theirs):
        image.write_bytes(bytes(range(255)) * (FLOPPY_BYTES // 255 + 1))
        with image.open("r+b") as file:
            file.truncate(FLOPPY_BYTES)
    here = script.on_trapline(tmp_path, floppy=(DriveConfig(path=str(ours), format="raw"),))
    assert here == script.on_qemu(tmp_path, "-drive", f"file={theirs},format=raw,if=floppy")
    assert ours.read_bytes() == theirs.read_bytes()


def test_system_services(tmp_path: Path) -> None:
    script = Script()
    for ax in (
        0x2400,
        0x2402,
        0x2401,
        0x2402,
        0x2403,
        0x2404,
        0x24FF,
        0xC000,
        0xC100,
        0xE800,
        0xE802,
        0x0000,
    ):
        keep = ("ah", "carry") if ax in (0xC000, 0xC100) else ("ax", "bx", "cx", "dx", "carry")
        script.call(0x15, *keep, ax=ax)
    for ax in (0x0100, 0x4F1E, 0xD800, 0xEC00, 0x8400, 0xFF00):
        script.call(0x15, "ax", "carry", ax=ax)
    for ax in (0x8800, 0xE801, 0x9000, 0x9100):
        script.call(0x15, "carry", ax=ax)
    script.fill(BUFFER, 0, 256)
    for source, target in ((BUFFER << 4, 0x10_0000), (0x10_0000, (BUFFER << 4) + 0x8000)):
        ends = (DESCRIPTOR.pack(0xFFFF, at & 0xFFFF, at >> 16, 0x93, 0) for at in (source, target))
        script.store(0, PACKET, bytes(16) + b"".join(ends) + bytes(16))
        script.call(0x15, "ah", "carry", ax=0x8700, cx=128, si=PACKET)
    script.sum(BUFFER, 0x8000, 256)
    agree(script, tmp_path)


def test_memory_map(tmp_path: Path) -> None:
    script = Script()
    for index in range(3):  # the memory below 640 KiB and the ROM
        script.call(0x15, "eax", "ebx", "ecx", "edx", "carry", ax=0xE820, bx=index, cx=20, dx=SMAP, es=BUFFER)
        script.load(BUFFER, 0, 20)
    for room, signature in ((19, SMAP), (20, 0)):
        script.call(0x15, "carry", ax=0xE820, cx=room, dx=signature, es=BUFFER)
    script.call(0x15, "eax", "ecx", "carry", ax=0xE820, cx=24, dx=SMAP, es=BUFFER)
    agree(script, tmp_path)


def test_keys_through_the_ring(tmp_path: Path) -> None:
    script = Script()
    script.call(0x16, "zero", ax=0x0100)
    script.call(0x16, "zero", ax=0x1100)
    for word in (0x1E61, 0xE00D, 0xE02F, 0xE00A, 0x47E0, 0x00E0, 0x00F0, 0, 0x3B00, 0x8400, 0x0001, 0x1200):
        # SeaBIOS makes a character E0h without a scan code 0; [XT286] passes it on
        old = () if word == 0x00E0 else ("ax",)
        script.call(0x16, "al", ax=0x0500, cx=word)
        script.call(0x16, "ax", "zero", ax=0x1100)
        script.call(0x16, "zero", *old, ax=0x0100)
        script.call(0x16, *old, ax=0x0000)
        script.call(0x16, "zero", ax=0x0100)
        script.call(0x16, "al", ax=0x0500, cx=word)
        script.call(0x16, "ax", ax=0x1000)
    script.call(0x16, "al", ax=0x0500, cx=0x57F0)
    script.call(0x16, "ax", ax=0x1000)
    for word in range(17):  # the ring holds 15
        script.call(0x16, "al", ax=0x0500, cx=0x1E61 + word)
    for _ in range(15):
        script.call(0x16, "ax", ax=0x1000)
    script.call(0x16, "zero", ax=0x1100)
    for ax in (0x0200, 0x1200, 0x0A00, 0x9200):
        script.call(0x16, "ax", "bx", ax=ax)
    agree(script, tmp_path)


def test_clock(tmp_path: Path) -> None:
    script = Script()
    script.call(0x1A, "carry", ax=0x0100, cx=0x12, dx=0x3456)
    script.call(0x1A, "al", "cx", ax=0x0000)
    script.call(0x1A, "carry", ax=0x0300, cx=0x2358, dx=0x1000)
    script.call(0x1A, "cx", "dl", "carry", ax=0x0200)
    script.call(0x1A, "carry", ax=0x0500, cx=0x2026, dx=0x1128)
    script.call(0x1A, "cx", "dx", "carry", ax=0x0400)
    for ax in (0x0A00, 0x0B00, 0x8000, 0xFF00):
        script.call(0x1A, "carry", ax=ax)
    agree(script, tmp_path)


def test_pci_bios(tmp_path: Path) -> None:
    script = Script()
    script.call(0x1A, "eax", "ebx", "ecx", "edx", "carry", ax=0xB101)
    for ax in (0xB100, 0xB104, 0xB1FF):
        script.call(0x1A, "ah", "carry", ax=ax)
    for device, index in ((0x1237, 0), (0x1237, 1), (0x7000, 0), (0x7010, 0), (0x1234, 0)):
        script.call(0x1A, "ah", "bx", "carry", ax=0xB102, cx=device, dx=0x8086, si=index)
    for kind in (0x060000, 0x060100, 0x010180, 0x030000, 0x123456):
        script.call(0x1A, "ah", "bx", "carry", ax=0xB103, cx=kind)
    for function, size, register in ((0x08, 1, "cl"), (0x09, 2, "cx"), (0x0A, 4, "ecx")):
        for at in range(0, 16, size):
            keep = () if at in (4, 5, 6, 7) else (register,)  # command and status are the BIOS's affair
            script.call(0x1A, "ah", "carry", *keep, ax=0xB100 | function, bx=0x08, di=at)
        for at in range(0, 8, size):
            script.call(0x1A, "ah", "carry", register, ax=0xB100 | function, bx=0xF8, di=at)
    for function, value in ((0x0B, 0x80), (0x0C, 0x8080), (0x0D, 0x8080_8080)):  # PIRQ routing
        script.call(0x1A, "ah", "carry", ax=0xB100 | function, bx=0x08, cx=value, di=0x60)
        script.call(0x1A, "ecx", ax=0xB10A, bx=0x08, di=0x60)
    agree(script, tmp_path)


def test_equipment_and_serial_ports(tmp_path: Path) -> None:
    # Without function 02h, which waits a second of virtual time for what never comes
    script = Script()
    script.call(0x11, "carry")
    script.call(0x12, "carry")
    for ax in (0x00E3, 0x0300, 0x0141, 0x0300):
        script.call(0x14, "ah", ax=ax)
    for ax in (0x0300, 0xFF00):
        script.call(0x14, "ax", ax=ax, dx=3)
    assert script.on_trapline(tmp_path) == script.on_qemu(tmp_path, "-serial", "null")
