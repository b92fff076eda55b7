"""INT 18h, INT 19h and El Torito."""

from __future__ import annotations

import struct

import pytest

from tests.vmm.firmware.rig import RamDisk, Rig, hard_disk
from vmm.firmware.host import BootDrive

BOOT_SECTOR = b"\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa"
CATALOG_BLOCK, IMAGE_BLOCK = 19, 20


def bootable() -> RamDisk:
    return RamDisk(bytearray(BOOT_SECTOR.ljust(64 * 512, b"\0")))


def disc(segment: int = 0, sectors: int = 4, media: int = 0, damage: int | None = None) -> RamDisk:
    """A disc with a boot catalog; `damage` is the offset of a catalog byte to change."""
    data = bytearray(32 * 2048)
    data[17 * 2048 : 17 * 2048 + 30] = b"\0CD001\1EL TORITO SPECIFICATION"
    struct.pack_into("<I", data, 17 * 2048 + 0x47, CATALOG_BLOCK)
    validation = struct.pack("<BBH24sHBB", 1, 0, 0, b"", 0, 0x55, 0xAA)
    checksum = -sum(struct.unpack("<16H", validation)) & 0xFFFF
    validation = struct.pack("<BBH24sHBB", 1, 0, 0, b"", checksum, 0x55, 0xAA)
    entry = struct.pack("<BBHBBHI", 0x88, media, segment, 0, 0, sectors, IMAGE_BLOCK).ljust(32, b"\0")
    data[CATALOG_BLOCK * 2048 : CATALOG_BLOCK * 2048 + 64] = validation + entry
    if damage is not None:
        data[CATALOG_BLOCK * 2048 + damage] ^= 0xFF
    data[IMAGE_BLOCK * 2048 : (IMAGE_BLOCK + 4) * 2048] = b"\x90" * (4 * 2048)
    return RamDisk(data)


def test_boot_sector_is_loaded_and_returned_into() -> None:
    rig = Rig([hard_disk(bootable())])
    rig.call(0x19)
    assert rig.memory.read(0x7C00, 512) == BOOT_SECTOR
    assert rig.target == (0, 0x7C00)
    assert rig.reg("dl") == 0x80


def test_boot_order_decides_and_falls_through() -> None:
    rig = Rig([hard_disk(RamDisk(bytearray(512))), BootDrive(0xE0, "cd", disc())])
    rig.call(0x19)
    assert rig.reg("dl") == 0xE0
    assert rig.memory.read(0x7C00, 4 * 512) == b"\x90" * 2048


def test_el_torito_load_segment_is_honoured_in_canonical_form() -> None:
    rig = Rig([BootDrive(0xE0, "cd", disc(segment=0x2000))])
    rig.call(0x19)
    assert rig.memory.read(0x20000, 1) == b"\x90"
    assert rig.target == (0x2000, 0)


def test_el_torito_status_tells_where_the_image_is() -> None:
    rig = Rig([BootDrive(0xE0, "cd", disc())])
    rig.call(0x13, ax=0x4B01, dx=0xE0, si=0x600, ds=0)
    assert rig.memory.read(0x600, 19) == struct.pack(
        "<BBBBIHHHHBBB", 19, 0, 0xE0, 0, 20, 0, 0, 0x7C0, 4, 0, 0, 0
    )


def test_cd_packets_count_in_2048_byte_blocks() -> None:
    rig = Rig([BootDrive(0xE0, "cd", disc())])
    rig.memory.write(0x600, struct.pack("<BBHHHQ", 16, 0, 1, 0, 0x2000, IMAGE_BLOCK))
    rig.call(0x13, ax=0x4200, dx=0xE0, si=0x600, ds=0)
    assert rig.memory.read(0x20000, 2049) == b"\x90" * 2048 + b"\0"


@pytest.mark.parametrize(
    "image",
    [
        disc(damage=0),
        disc(damage=4),
        disc(damage=30),
        disc(damage=32),
        disc(media=5),
        RamDisk(bytearray(2048)),
    ],
    ids=["header", "checksum", "key", "not bootable", "unknown medium", "short"],
)
def test_discs_without_a_usable_entry_are_refused(image: RamDisk) -> None:
    rig = Rig([BootDrive(0xE0, "cd", image)])
    rig.call(0x19)
    assert rig.reasons == ["no bootable device (cd E0h: no El Torito boot entry for a PC)"]


def test_nothing_to_boot_halts_with_the_reasons() -> None:
    broken = bootable()
    broken.broken = True
    rig = Rig([hard_disk(RamDisk(bytearray(1024))), hard_disk(broken, number=0x81)])
    rig.call(0x19)
    segment, offset = rig.target
    assert segment == 0xF000
    assert rig.bios.rom[offset : offset + 2] == bytes.fromhex("fa f4")  # cli; hlt
    assert "80h: no boot sector (55AAh missing)" in rig.reasons[0]
    assert "81h: cannot be read" in rig.reasons[0]


def test_int_18h_says_that_the_machine_is_halted() -> None:
    rig = Rig()
    rig.call(0x18)
    assert "No bootable device: the machine is halted." in [rig.line(row) for row in range(25)]


def test_every_kind_has_its_turn_and_is_named_on_the_screen() -> None:
    rig = Rig(
        [
            BootDrive(0, "floppy", RamDisk(bytearray(1440 * 1024))),
            BootDrive(0xE0, "cd", RamDisk(bytearray(2048))),
            hard_disk(bootable()),
        ],
        boot_order=("floppy", "cd", "hd"),
    )
    rig.call(0x19)
    assert [rig.line(row) for row in (1, 2, 3)] == [
        "floppy disk 00h: no boot sector (55AAh missing)",
        "CD-ROM E0h: no El Torito boot entry for a PC",
        "Booting from hard disk 80h",
    ]


def test_boot_program_that_gives_up_by_int_18h_makes_way_for_the_next() -> None:
    rig = Rig([hard_disk(bootable()), hard_disk(bootable(), number=0x81)])
    rig.call(0x19)
    assert rig.reg("dl") == 0x80
    rig.call(0x18)
    assert (rig.reg("dl"), rig.target) == (0x81, (0, 0x7C00))
    rig.call(0x18)
    assert rig.target[0] == 0xF000
    assert rig.reasons == ["no bootable device (boot program returned)"]


def test_int_19h_starts_from_the_first_again() -> None:
    rig = Rig([hard_disk(bootable()), hard_disk(bootable(), number=0x81)])
    rig.call(0x19)
    rig.call(0x18)
    rig.call(0x19)
    assert rig.reg("dl") == 0x80
