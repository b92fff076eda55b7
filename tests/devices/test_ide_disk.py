"""ATA disks through their registers, one sentence of the standard per test."""

import pytest

from devices.ide import commands as ata
from devices.ide import registers as r
from devices.ide.events import AtaCommand
from devices.ide.identify import Geometry
from tests.devices.ide_rig import MemoryImage, Rig, pattern

READY, DATA, FAILED = 0x50, 0x58, 0x51


@pytest.fixture
def rig() -> Rig:
    return Rig()


def address(rig: Rig) -> tuple[int, ...]:
    return tuple(rig.inb(offset) for offset in (r.COUNT, r.LBA_LOW, r.LBA_MID, r.LBA_HIGH, r.DEVICE))


@pytest.mark.parametrize("opcode", [ata.READ_SECTORS, ata.READ_SECTORS_NO_RETRY, ata.READ_MULTIPLE])
def test_read_gives_the_sectors_in_order(rig: Rig, opcode: int) -> None:
    rig.lba28(opcode, 100, 20)
    assert rig.words(20 * 256) == b"".join(pattern(lba) for lba in range(100, 120))
    assert rig.inb(r.STATUS) == READY


def test_pio_in_interrupts_before_each_block(rig: Rig) -> None:
    rig.lba28(ata.READ_SECTORS, 0, 2)
    assert (rig.irq.level, rig.alternate) == (True, DATA)
    rig.inb(r.STATUS)
    rig.words(255)
    assert not rig.irq.level
    rig.words(1)
    assert (rig.irq.level, rig.alternate) == (True, DATA)
    rig.inb(r.STATUS)
    rig.words(256)
    assert (rig.irq.level, rig.alternate) == (False, READY)


def test_read_multiple_interrupts_once_a_block_and_the_last_may_be_short(rig: Rig) -> None:
    rig.lba28(ata.SET_MULTIPLE_MODE, 0, 8)
    rig.lba28(ata.READ_MULTIPLE, 0, 20)
    for sectors in (8, 8, 4):
        assert rig.irq.level
        rig.inb(r.STATUS)
        rig.words(sectors * 256)
    assert rig.alternate == READY


def test_pio_out_interrupts_after_each_block_but_not_before_the_first(rig: Rig) -> None:
    rig.lba28(ata.WRITE_SECTORS, 7, 2)
    assert (rig.irq.level, rig.alternate) == (False, DATA)
    rig.put(pattern(1000))
    assert (rig.irq.level, rig.inb(r.STATUS)) == (True, DATA)
    rig.put(pattern(1001))
    assert (rig.irq.level, rig.inb(r.STATUS)) == (True, READY)
    assert rig.image.written == {7: pattern(1000), 8: pattern(1001)}


@pytest.mark.parametrize("opcode", [ata.WRITE_MULTIPLE, ata.WRITE_SECTORS_NO_RETRY])
def test_write_stores_the_sectors(rig: Rig, opcode: int) -> None:
    rig.lba28(opcode, 40, 18)
    rig.put(b"".join(pattern(lba + 5) for lba in range(18)))
    assert rig.image.written == {40 + at: pattern(at + 5) for at in range(18)}
    assert rig.inb(r.STATUS) == READY


def test_write_multiple_hands_whole_blocks_to_the_image(rig: Rig) -> None:
    rig.lba28(ata.WRITE_MULTIPLE, 0, 20)
    rig.put(bytes(20 * 512))
    assert rig.image.writes == [(0, 16), (16, 4)]


def test_registers_name_the_last_sector_and_the_count_is_zero(rig: Rig) -> None:
    rig.lba28(ata.READ_SECTORS, 0x1FE, 3)
    rig.words(3 * 256)
    assert address(rig) == (0, 0x00, 0x02, 0x00, 0xE0)


def test_count_of_zero_is_256_sectors(rig: Rig) -> None:
    rig.lba28(ata.READ_SECTORS, 0, 0)
    rig.words(256 * 256)
    assert rig.alternate == READY
    assert address(rig)[:2] == (0, 255)


def test_ext_count_of_zero_is_65536_sectors() -> None:
    rig = Rig(MemoryImage(0x1_0001))
    rig.lba48(ata.READ_VERIFY_SECTORS_EXT, 1, 0)
    assert rig.inb(r.STATUS) == READY
    assert sum(sectors for _, sectors in rig.image.reads) == 0x1_0000


def test_lba48_takes_the_older_bytes_as_high_half() -> None:
    rig = Rig(MemoryImage(0x1234_0000))
    rig.lba48(ata.READ_SECTORS_EXT, 0x1233_5678, 0x101)
    rig.words(0x101 * 256)
    assert rig.image.reads[0][0] == 0x1233_5678
    assert address(rig)[1:4] == (0x78, 0x57, 0x33)
    rig.control.write(0, 1, r.DC_HOB)
    assert address(rig)[:4] == (0, 0x12, 0, 0)


def test_any_command_block_write_clears_hob(rig: Rig) -> None:
    rig.out((r.LBA_LOW, 0x11), (r.LBA_LOW, 0x22))
    rig.control.write(0, 1, r.DC_HOB)
    assert rig.inb(r.LBA_LOW) == 0x11
    rig.out((r.COUNT, 0))
    assert rig.inb(r.LBA_LOW) == 0x22


def test_chs_counts_sectors_from_one() -> None:
    rig = Rig(geometry=Geometry(8, 16, 16))
    rig.chs(ata.READ_SECTORS, 3, 5, 7, 2)
    assert rig.words(512) == pattern((3 * 16 + 5) * 16 + 6) + pattern((3 * 16 + 5) * 16 + 7)
    assert address(rig) == (0, 8, 3, 0, 0xA5)


@pytest.mark.parametrize(("cylinder", "head", "sector"), [(0, 0, 0), (0, 0, 17), (0, 4, 1), (500, 0, 1)])
def test_chs_off_the_translation_is_not_found(cylinder: int, head: int, sector: int) -> None:
    rig = Rig(geometry=Geometry(8, 4, 16))
    rig.chs(ata.READ_SECTORS, cylinder, head, sector)
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (FAILED, r.ER_IDNF)


def test_initialize_device_parameters_changes_the_translation(rig: Rig) -> None:
    rig.out((r.DEVICE, 0xA3), (r.COUNT, 32), (r.COMMAND, ata.INITIALIZE_DEVICE_PARAMETERS))
    assert rig.inb(r.STATUS) == READY
    rig.chs(ata.READ_SECTORS, 2, 1, 5)
    assert rig.words() == pattern((2 * 4 + 1) * 32 + 4)
    words = rig.identify()
    assert words[54:59] == [16, 4, 32, 2048, 0]
    assert (words[1], words[3], words[6]) == (2, 16, 63)


def test_translation_of_no_sectors_is_refused(rig: Rig) -> None:
    rig.out((r.DEVICE, 0xAF), (r.COUNT, 0), (r.COMMAND, ata.INITIALIZE_DEVICE_PARAMETERS))
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (FAILED, r.ER_ABRT)


@pytest.mark.parametrize("opcode", sorted(ata.TRANSFERS - ata.EXT_TRANSFERS))
def test_28_bit_range_off_the_disk_is_not_found(rig: Rig, opcode: int) -> None:
    rig.lba28(opcode, 2047, 2)
    assert rig.irq.level
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (FAILED, r.ER_IDNF)


@pytest.mark.parametrize("opcode", sorted(ata.EXT_TRANSFERS))
def test_48_bit_range_off_the_disk_is_not_found(rig: Rig, opcode: int) -> None:
    rig.lba48(opcode, 1 << 40, 1)
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (FAILED, r.ER_IDNF)


def test_unreadable_sector_is_uncorrectable_at_its_address(rig: Rig) -> None:
    rig.image.bad = {12}
    rig.lba28(ata.READ_SECTORS, 10, 4)
    assert rig.words(512) == pattern(10) + pattern(11)
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (FAILED, r.ER_UNC)
    assert address(rig)[:2] == (2, 12)


def test_verify_finds_the_unreadable_sector(rig: Rig) -> None:
    rig.image.bad = {12}
    rig.lba28(ata.READ_VERIFY_SECTORS, 10, 4)
    assert (rig.inb(r.ERROR), rig.inb(r.LBA_LOW)) == (r.ER_UNC, 12)


def test_failed_write_is_a_device_fault(rig: Rig) -> None:
    rig.image.bad = {3}
    rig.lba28(ata.WRITE_SECTORS, 3, 1)
    rig.put(bytes(512))
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (FAILED | r.SR_DF, r.ER_ABRT)


@pytest.mark.parametrize(
    "opcode", [ata.WRITE_SECTORS, ata.WRITE_MULTIPLE, ata.WRITE_DMA, ata.WRITE_DMA_NO_RETRY]
)
def test_writes_to_a_read_only_image_abort(opcode: int) -> None:
    rig = Rig(MemoryImage(read_only=True))
    rig.lba28(opcode, 0, 1)
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (FAILED, r.ER_ABRT)


@pytest.mark.parametrize("opcode", [ata.FLUSH_CACHE, ata.FLUSH_CACHE_EXT, ata.STANDBY_IMMEDIATE, ata.SLEEP])
def test_flush_reaches_the_image(rig: Rig, opcode: int) -> None:
    rig.out((r.COMMAND, opcode))
    assert (rig.image.flushes, rig.irq.level, rig.inb(r.STATUS)) == (1, True, READY)


def test_failed_flush_is_a_device_fault(rig: Rig) -> None:
    rig.image.bad = {-1}
    rig.out((r.COMMAND, ata.FLUSH_CACHE))
    assert rig.inb(r.STATUS) == FAILED | r.SR_DF


def test_without_write_cache_a_write_is_durable_when_it_ends(rig: Rig) -> None:
    rig.lba28(ata.SET_FEATURES, 0, 0, ata.FEATURE_WRITE_CACHE_OFF)
    rig.image.flushes = 0
    rig.lba28(ata.WRITE_SECTORS, 0, 1)
    rig.put(bytes(512))
    assert rig.image.flushes == 1


@pytest.mark.parametrize("count", [3, 32, 0x55])
def test_set_multiple_refuses_other_counts_and_disables_multiple(rig: Rig, count: int) -> None:
    rig.lba28(ata.SET_MULTIPLE_MODE, 0, count)
    assert rig.inb(r.ERROR) == r.ER_ABRT
    rig.lba28(ata.READ_MULTIPLE, 0, 1)
    assert rig.inb(r.ERROR) == r.ER_ABRT


@pytest.mark.parametrize("opcode", [0x00, 0x08, 0xA0, 0xA1, 0xB0, 0xF5, 0xFF])
def test_what_a_disk_does_not_know_aborts_with_an_interrupt(rig: Rig, opcode: int) -> None:
    rig.out((r.COMMAND, opcode))
    assert rig.irq.level
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR)) == (FAILED, r.ER_ABRT)


def test_check_power_mode_says_active(rig: Rig) -> None:
    rig.out((r.COMMAND, ata.CHECK_POWER_MODE))
    assert rig.inb(r.COUNT) == 0xFF


@pytest.mark.parametrize("opcode", [0x10, 0x1F, 0x70, 0x7F, ata.IDLE, ata.IDLE_IMMEDIATE, ata.STANDBY])
def test_commands_without_data_end_at_once(rig: Rig, opcode: int) -> None:
    rig.out((r.DEVICE, 0xE0), (r.COMMAND, opcode))
    assert (rig.irq.level, rig.inb(r.STATUS)) == (True, READY)
    assert rig.inb(r.DEVICE) == 0xE0


def test_read_native_max_address(rig: Rig) -> None:
    rig.lba28(ata.READ_NATIVE_MAX_ADDRESS, 0, 0)
    assert address(rig)[1:] == (0xFF, 0x07, 0x00, 0xE0)
    rig.lba48(ata.READ_NATIVE_MAX_ADDRESS_EXT, 0, 0)
    assert address(rig)[1:4] == (0xFF, 0x07, 0x00)


def test_write_buffer_then_read_buffer(rig: Rig) -> None:
    rig.out((r.COMMAND, ata.WRITE_BUFFER))
    rig.put(pattern(77))
    rig.out((r.COMMAND, ata.READ_BUFFER))
    assert rig.words() == pattern(77)
    assert rig.image.writes == []


def test_commands_are_traced(rig: Rig) -> None:
    rig.lba28(ata.READ_SECTORS, 5, 2)
    assert rig.events == [AtaCommand("ide0", 0, 0x20, "READ SECTORS", 5, 2)]
