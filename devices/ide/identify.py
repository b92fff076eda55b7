"""The 256 words of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE.

Sources:
    [ATA-6] T13/1410D revision 3b, §8.15 table 27 and §8.16 table 30.
    [ATA-2] X3T10/948D revision 4c, §8.9, for the geometry words.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from devices.ide.registers import LBA28_SECTORS, SECTOR

WORDS: Final = 256
MAX_MULTIPLE: Final = 16  # sectors a DRQ block of READ/WRITE MULTIPLE
MAX_CYLINDERS: Final = 16383
MAX_HEADS: Final = 16
MAX_SECTORS: Final = 63

PACKET_CONFIGURATION: Final = 0x85C0  # CD-ROM, removable, DRQ within 50 us, 12-byte packets
NOP_SUPPORTED: Final = 0x4000  # words 82 and 85
WRITE_CACHE: Final = 0x0020


class Geometry(NamedTuple):
    """Cylinders, heads and sectors a track."""

    cylinders: int
    heads: int
    sectors: int


class DriveIdentity(NamedTuple):
    """The strings by which a drive introduces itself."""

    model: str = "TRAPLINE HARDDISK"
    serial: str = "TL00001"
    firmware: str = "1.0"


class TransferModes(NamedTuple):
    """The selected DMA modes, a bit a mode as in words 63 and 88; at most one bit is set."""

    multiword: int = 0
    ultra: int = 0


class DiskSettings(NamedTuple):
    """What a host changed and IDENTIFY DEVICE reports back."""

    translation: Geometry
    multiple: int
    modes: TransferModes
    write_cache: bool


def default_geometry(sectors: int) -> Geometry:
    """Return the power-on translation of a disk of `sectors`, [ATA-2] annex B."""
    per_track = max(1, min(MAX_SECTORS, sectors))
    heads = max(1, min(MAX_HEADS, sectors // per_track))
    cylinders = max(1, min(MAX_CYLINDERS, sectors // (heads * per_track)))
    return Geometry(cylinders, heads, per_track)


def text_words(text: str, words: int) -> list[int]:
    """Return `text` as the standard stores it: space padded, first character in the high byte."""
    data = text.encode("ascii", "replace").ljust(2 * words)[: 2 * words]
    return list(struct.unpack(f">{words}H", data))


def identify_device(
    identity: DriveIdentity, sectors: int, geometry: Geometry, settings: DiskSettings
) -> bytes:
    """Return the IDENTIFY DEVICE data of a disk of `sectors` with default `geometry`."""
    words = [0] * WORDS
    words[0] = 0x0040  # fixed disk
    words[1], words[3], words[6] = geometry
    words[20], words[21], words[22] = 3, 512, 4  # buffer type and sectors; bytes of READ LONG
    _put_strings(words, identity)
    words[47] = 0x8000 | MAX_MULTIPLE
    words[48] = 1  # 32-bit data accesses
    words[49] = 0x0B00  # IORDY, LBA, DMA
    words[50] = 0x4000
    words[51] = words[52] = 0x0200  # PIO and DMA timing modes of old
    words[53] = 0x0007  # words 54-58, 64-70 and 88 are valid
    current = settings.translation
    words[54:57] = current
    _put_number(words, 57, 2, current.cylinders * current.heads * current.sectors)
    words[59] = 0x0100 | settings.multiple if settings.multiple else 0
    _put_number(words, 60, 2, min(sectors, LBA28_SECTORS))
    _put_modes(words, settings.modes)
    words[80] = 0x00F0  # ATA/ATAPI-4 to -7
    words[82] = NOP_SUPPORTED | WRITE_CACHE
    words[83] = 0x7400  # FLUSH CACHE EXT, FLUSH CACHE, 48-bit addresses
    words[84] = 0x4000
    words[85] = NOP_SUPPORTED | (WRITE_CACHE if settings.write_cache else 0)
    words[86] = 0x3400
    words[87] = 0x4000
    words[93] = 0x6001  # hardware reset result: 80-conductor cable, device 0 passed
    _put_number(words, 100, 4, sectors)
    return _pack(words)


def identify_packet_device(identity: DriveIdentity, modes: TransferModes) -> bytes:
    """Return the IDENTIFY PACKET DEVICE data of a CD-ROM drive."""
    words = [0] * WORDS
    words[0] = PACKET_CONFIGURATION
    _put_strings(words, identity)
    words[49] = 0x0B00
    words[50] = 0x4000
    words[51] = words[52] = 0x0200
    words[53] = 0x0007
    _put_modes(words, modes)
    words[71] = words[72] = 30  # ns to bus release, to clear BSY after SERVICE
    words[80] = 0x001E  # up to ATA/ATAPI-4
    words[82] = words[85] = NOP_SUPPORTED | 0x0210  # DEVICE RESET, PACKET
    words[83] = words[84] = words[87] = 0x4000
    words[93] = 0x6001
    return _pack(words)


def _put_strings(words: list[int], identity: DriveIdentity) -> None:
    words[10:20] = text_words(identity.serial, 10)
    words[23:27] = text_words(identity.firmware, 4)
    words[27:47] = text_words(identity.model, 20)


def _put_modes(words: list[int], modes: TransferModes) -> None:
    words[63] = 0x0007 | modes.multiword << 8  # multiword DMA 0 to 2
    words[64] = 0x0003  # PIO 3 and 4
    words[65:69] = [120, 120, 120, 120]  # ns a cycle
    words[88] = 0x003F | modes.ultra << 8  # Ultra DMA 0 to 5


def _put_number(words: list[int], first: int, length: int, value: int) -> None:
    for index in range(length):
        words[first + index] = value >> 16 * index & 0xFFFF


def _pack(words: list[int]) -> bytes:
    data = struct.pack(f"<{WORDS}H", *words)
    assert len(data) == SECTOR
    return data
