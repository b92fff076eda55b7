"""The PACKET transport of a CD-ROM drive, one sentence of the standard per test."""

import pytest

from devices.ide import commands as ata
from devices.ide import registers as r
from devices.ide.events import AtapiCommand
from tests.devices.ide_rig import MemoryImage, Rig, pattern

READ_10, TEST_UNIT_READY, INQUIRY, REQUEST_SENSE = 0x28, 0x00, 0x12, 0x03
REASON_PACKET, REASON_DATA, REASON_STATUS = 1, 2, 3


@pytest.fixture
def rig() -> Rig:
    rig = Rig(disc=MemoryImage(4096))
    rig.clear_attention()
    return rig


def blocks(first: int, count: int) -> bytes:
    return b"".join(pattern(lba) for lba in range(4 * first, 4 * (first + count)))


def read_10(rig: Rig, lba: int, count: int, **options: int) -> None:
    rig.packet(READ_10, 0, 0, 0, lba >> 8, lba & 0xFF, 0, count >> 8, count & 0xFF, 0, **options)


def test_identify_packet_device() -> None:
    rig = Rig(cd=True)
    rig.out((r.DEVICE, 0xB0), (r.COMMAND, ata.IDENTIFY_PACKET_DEVICE))
    assert rig.irq.level
    words = rig.words()
    assert words[:2] == (0x85C0).to_bytes(2, "little")
    model = b"".join(words[at : at + 2][::-1] for at in range(54, 94, 2))
    assert model == b"TRAPLINE CD-ROM".ljust(40)


def test_packet_is_requested_without_interrupt(rig: Rig) -> None:
    rig.out((r.DEVICE, 0xB0), (r.COMMAND, ata.PACKET))
    assert (rig.alternate, rig.irq.level, rig.inb(r.COUNT)) == (0x48, False, REASON_PACKET)


def test_command_without_data_ends_ready_with_interrupt(rig: Rig) -> None:
    rig.packet(TEST_UNIT_READY)
    assert (rig.irq.level, rig.inb(r.COUNT), rig.inb(r.STATUS)) == (True, REASON_STATUS, 0x40)


def test_data_comes_in_blocks_of_the_byte_count_limit_with_an_interrupt_each(rig: Rig) -> None:
    read_10(rig, 3, 2, limit=3000)
    data = b""
    for count in (3000, 1096):
        assert (rig.irq.level, rig.inb(r.COUNT)) == (True, REASON_DATA)
        assert rig.inb(r.LBA_MID) | rig.inb(r.LBA_HIGH) << 8 == count
        assert rig.inb(r.STATUS) == 0x48
        data += rig.words(count // 2)
    assert data == blocks(3, 2)
    assert (rig.irq.level, rig.inb(r.COUNT), rig.inb(r.STATUS)) == (True, REASON_STATUS, 0x40)


@pytest.mark.parametrize(
    ("limit", "first"), [(0xFFFF, 0xFFFE), (0, 0xFFFE), (2049, 2048), (2048, 2048), (1, 2)]
)
def test_byte_count_limit_is_even_and_zero_is_the_most(rig: Rig, limit: int, first: int) -> None:
    read_10(rig, 0, 40, limit=limit)
    assert rig.inb(r.LBA_MID) | rig.inb(r.LBA_HIGH) << 8 == first


def test_odd_lengths_are_padded_to_a_word(rig: Rig) -> None:
    rig.packet(INQUIRY, 0, 0, 0, 5)
    assert rig.inb(r.LBA_MID) == 5
    assert rig.packet_data() == bytes([5, 0x80, 0, 0x21, 31])
    assert rig.inb(r.STATUS) == 0x40


def test_many_blocks_by_pio(rig: Rig) -> None:
    read_10(rig, 0, 300)
    assert rig.packet_data() == blocks(0, 300)


def test_read_by_dma_is_one_image_read(rig: Rig) -> None:
    rig.prds((0x2_0000, 0), (0x4_0000, 0x8000))
    rig.start(to_memory=True)
    read_10(rig, 1, 48, features=1)
    assert rig.memory.data[0x2_0000:0x3_0000] + rig.memory.data[0x4_0000:0x4_8000] == blocks(1, 48)
    assert rig.bmis == 0x04
    assert (rig.inb(r.COUNT), rig.inb(r.STATUS)) == (REASON_STATUS, 0x40)


def test_short_reply_by_dma(rig: Rig) -> None:
    rig.packet(INQUIRY, 0, 0, 0, 36, features=1)
    rig.prds((0x8000, 256))
    rig.start(to_memory=True)
    assert rig.memory.data[0x8008:0x8010] == b"TRAPLINE"
    assert rig.bmis == 0x05


def test_error_shows_check_and_the_sense_key(rig: Rig) -> None:
    rig.packet(0xFF)
    assert (rig.irq.level, rig.inb(r.COUNT)) == (True, REASON_STATUS)
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (0x41, 0x54)


def test_sense_is_kept_until_it_is_requested(rig: Rig) -> None:
    rig.packet(0xFF)
    for key in (5, 0):
        rig.packet(REQUEST_SENSE, 0, 0, 0, 18)
        assert rig.packet_data()[2] == key


def test_reset_is_reported_by_the_first_command() -> None:
    rig = Rig(disc=MemoryImage())
    rig.packet(TEST_UNIT_READY)
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (0x41, 0x64)
    rig.packet(TEST_UNIT_READY)
    assert rig.inb(r.STATUS) == 0x40
    rig.control.write(0, 1, r.DC_SRST)
    rig.control.write(0, 1, 0)
    rig.packet(TEST_UNIT_READY)
    assert rig.inb(r.ERROR) == 0x64


def test_media_change_is_no_medium_then_attention(rig: Rig) -> None:
    rig.drive.insert(MemoryImage(8))
    answers = []
    for _ in range(3):
        rig.packet(TEST_UNIT_READY)
        rig.inb(r.STATUS)
        sense = rig.drive.unit.sense
        answers.append((sense.key, sense.code))
    assert answers == [(2, 0x3A), (6, 0x28), (0, 0)]


def test_unreadable_block_is_a_medium_error_after_the_good_ones(rig: Rig) -> None:
    rig.drive.eject()
    disc = MemoryImage(4096)
    disc.bad = {4 * 100}
    rig.drive.insert(disc)
    rig.clear_attention()
    rig.clear_attention()
    read_10(rig, 90, 80)
    assert rig.packet_data() == blocks(90, 10)
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (0x41, 0x34)


def test_overlap_is_refused(rig: Rig) -> None:
    rig.out((r.DEVICE, 0xB0), (r.FEATURES, 2), (r.COMMAND, ata.PACKET))
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (0x41, r.ER_ABRT)


def test_transfer_mode_is_accepted_and_other_features_abort(rig: Rig) -> None:
    rig.out((r.DEVICE, 0xB0), (r.FEATURES, 3), (r.COUNT, 0x22), (r.COMMAND, ata.SET_FEATURES))
    assert rig.inb(r.STATUS) == 0x40
    rig.out((r.FEATURES, 2), (r.COMMAND, ata.SET_FEATURES))
    assert rig.inb(r.STATUS) == 0x41


def test_packets_are_traced(rig: Rig) -> None:
    read_10(rig, 0x102, 3)
    assert rig.events[-1] == AtapiCommand("ide0", 1, 0x28, "READ 10", 0x102, 3)


def test_locked_drive_keeps_its_disc(rig: Rig) -> None:
    rig.packet(0x1E, 0, 0, 0, 1)
    assert rig.drive.eject() is None
    assert rig.drive.eject(force=True) is not None
