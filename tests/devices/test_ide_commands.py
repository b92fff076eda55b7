"""Command codes and IDENTIFY words against the standard's tables."""

import pytest

from devices.ide import commands as ata
from devices.ide import identify as ident
from devices.ide import registers as r
from tests.devices.ide_rig import MemoryImage, Rig

# [ATA-6] table B.2 and [ATA-3] table 9, written down independently of the product's constants
CODES = {
    "NOP": 0x00,
    "DEVICE RESET": 0x08,
    "RECALIBRATE": 0x10,
    "READ SECTORS": 0x20,
    "READ SECTORS EXT": 0x24,
    "READ DMA EXT": 0x25,
    "READ NATIVE MAX ADDRESS EXT": 0x27,
    "READ MULTIPLE EXT": 0x29,
    "WRITE SECTORS": 0x30,
    "WRITE SECTORS EXT": 0x34,
    "WRITE DMA EXT": 0x35,
    "WRITE MULTIPLE EXT": 0x39,
    "READ VERIFY SECTORS": 0x40,
    "READ VERIFY SECTORS EXT": 0x42,
    "SEEK": 0x70,
    "EXECUTE DEVICE DIAGNOSTIC": 0x90,
    "INITIALIZE DEVICE PARAMETERS": 0x91,
    "PACKET": 0xA0,
    "IDENTIFY PACKET DEVICE": 0xA1,
    "SMART": 0xB0,
    "READ MULTIPLE": 0xC4,
    "WRITE MULTIPLE": 0xC5,
    "SET MULTIPLE MODE": 0xC6,
    "READ DMA": 0xC8,
    "WRITE DMA": 0xCA,
    "STANDBY IMMEDIATE": 0xE0,
    "IDLE IMMEDIATE": 0xE1,
    "STANDBY": 0xE2,
    "IDLE": 0xE3,
    "READ BUFFER": 0xE4,
    "CHECK POWER MODE": 0xE5,
    "SLEEP": 0xE6,
    "FLUSH CACHE": 0xE7,
    "WRITE BUFFER": 0xE8,
    "FLUSH CACHE EXT": 0xEA,
    "IDENTIFY DEVICE": 0xEC,
    "SET FEATURES": 0xEF,
    "READ NATIVE MAX ADDRESS": 0xF8,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_command_codes(name: str, code: int) -> None:
    assert getattr(ata, name.replace(" ", "_")) == code
    assert ata.NAMES[code] == name


def test_unnamed_commands_have_a_name_too() -> None:
    assert ata.NAMES[0xFE] == "command FEh"


@pytest.fixture
def words() -> list[int]:
    return Rig(MemoryImage(0x1_2345_6789)).identify()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (0, 0x0040),
        (1, 16383),
        (3, 16),
        (6, 63),
        (47, 0x8010),
        (48, 1),
        (49, 0x0B00),
        (51, 0x0200),
        (52, 0x0200),
        (53, 7),
        (54, 16383),
        (55, 16),
        (56, 63),
        (57, (16383 * 16 * 63) & 0xFFFF),
        (58, 16383 * 16 * 63 >> 16),
        (59, 0x0110),
        (60, 0xFFFF),
        (61, 0x0FFF),
        (63, 0x0007),
        (64, 3),
        (65, 120),
        (68, 120),
        (80, 0x00F0),
        (82, 0x4020),
        (83, 0x7400),
        (84, 0x4000),
        (85, 0x4020),
        (86, 0x3400),
        (87, 0x4000),
        (88, 0x003F),
        (93, 0x6001),
        (100, 0x6789),
        (101, 0x2345),
        (102, 0x0001),
        (103, 0),
    ],
)
def test_identify_device_word(words: list[int], word: int, value: int) -> None:
    assert words[word] == value


def test_identify_strings_are_swapped_and_space_padded(words: list[int]) -> None:
    model = b"".join(word.to_bytes(2, "big") for word in words[27:47])
    assert model == b"TRAPLINE HARDDISK".ljust(40)
    assert words[10] == ord("T") << 8 | ord("L")
    assert words[23] == ord("1") << 8 | ord(".")


def test_small_disk_has_its_capacity_in_words_60_and_100() -> None:
    words = Rig(MemoryImage(2048)).identify()
    assert (words[60], words[61], words[100]) == (2048, 0, 2048)


@pytest.mark.parametrize(
    ("mode", "word63", "word88"),
    [(0x22, 0x0407, 0x003F), (0x45, 0x0007, 0x203F), (0x0C, 0x0007, 0x003F), (0x00, 0x0007, 0x003F)],
)
def test_set_features_selects_the_transfer_mode(mode: int, word63: int, word88: int) -> None:
    rig = Rig()
    rig.lba28(ata.SET_FEATURES, 0, mode, ata.FEATURE_TRANSFER_MODE)
    assert rig.inb(r.STATUS) == 0x50
    words = rig.identify()
    assert (words[63], words[88]) == (word63, word88)


@pytest.mark.parametrize("mode", [0x02, 0x0D, 0x10, 0x23, 0x46, 0x80])
def test_modes_that_do_not_exist_abort(mode: int) -> None:
    rig = Rig()
    rig.lba28(ata.SET_FEATURES, 0, mode, ata.FEATURE_TRANSFER_MODE)
    assert rig.inb(r.ERROR) == r.ER_ABRT


@pytest.mark.parametrize("feature", [0x02, 0x82, 0x55, 0xAA, 0x66, 0xCC])
def test_features_that_are_accepted(feature: int) -> None:
    rig = Rig()
    rig.lba28(ata.SET_FEATURES, 0, 0, feature)
    assert rig.inb(r.STATUS) == 0x50


def test_write_cache_and_multiple_are_reported_back() -> None:
    rig = Rig()
    rig.lba28(ata.SET_FEATURES, 0, 0, ata.FEATURE_WRITE_CACHE_OFF)
    rig.lba28(ata.SET_MULTIPLE_MODE, 0, 4)
    words = rig.identify()
    assert (words[85], words[59]) == (0x4000, 0x0104)


@pytest.mark.parametrize("sectors", [0, 1, 62, 63, 1007, 1008, 2048, 1 << 28])
def test_default_geometry_fits_the_disk(sectors: int) -> None:
    cylinders, heads, per_track = ident.default_geometry(sectors)
    assert 1 <= cylinders <= 16383
    assert 1 <= heads <= 16
    assert 1 <= per_track <= 63
    assert cylinders * heads * per_track <= max(sectors, 1)
