"""The channel: selection, presence, resets, interrupts and the data port, a sentence per test."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.backplane import IrqLine
from devices.ide import commands as ata
from devices.ide import registers as r
from devices.ide.channel import IdeChannel
from devices.ide.disk import AtaDisk
from tests.devices.ide_rig import MemoryImage, Rig, pattern
from vmm.clock import MachineClock

SIGNATURE_DISK, SIGNATURE_PACKET = (1, 1, 0x00, 0x00), (1, 1, 0x14, 0xEB)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def pair() -> Rig:
    return Rig(disc=MemoryImage())


def signature(rig: Rig, device: int) -> tuple[int, ...]:
    rig.out((r.DEVICE, device))
    return tuple(rig.inb(offset) for offset in (r.COUNT, r.LBA_LOW, r.LBA_MID, r.LBA_HIGH))


def soft_reset(rig: Rig, control: int = 0) -> None:
    rig.control.write(0, 1, r.DC_SRST | control)
    rig.control.write(0, 1, control)


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(MemoryImage(keeps_writes=False), MemoryImage())
    exercises = [
        lambda: rig.lba28(ata.READ_SECTORS, 4, 3),
        lambda: rig.words(100),
        lambda: soft_reset(rig),
        lambda: rig.lba28(ata.WRITE_MULTIPLE, 4, 3),
        lambda: rig.put(bytes(700)),
        lambda: rig.control.write(0, 1, r.DC_SRST | r.DC_NIEN),
        lambda: rig.control.write(0, 1, 0),
        lambda: rig.packet(0x03, 0, 0, 0, 18),
        lambda: rig.words(2),
    ]
    return rig.channel, [(rig.ports, 8), (rig.control, 1)], exercises


CONTRACT = [("ide channel", make_for_contract)]


def test_seabios_finds_a_drive_by_its_registers(rig: Rig) -> None:
    rig.out((r.DEVICE, 0xA0), (r.COUNT, 0x55), (r.LBA_LOW, 0xAA))
    assert [rig.inb(at) for at in (r.COUNT, r.LBA_LOW, r.DEVICE)] == [0x55, 0xAA, 0xA0]


def test_device_register_reads_bits_7_and_5_as_ones(rig: Rig) -> None:
    rig.out((r.DEVICE, 0x00))
    assert rig.inb(r.DEVICE) == 0xA0


def test_writes_reach_both_devices(pair: Rig) -> None:
    pair.out((r.DEVICE, 0xA0), (r.LBA_MID, 0x77), (r.DEVICE, 0xB0))
    assert (pair.inb(r.LBA_MID), pair.inb(r.DEVICE)) == (0x77, 0xB0)


def test_empty_channel_floats() -> None:
    channel = IdeChannel("ide1", IrqLine(lambda level: None))
    channel.command_bank.write(r.COUNT, 1, 0x55)
    channel.command_bank.write(r.COMMAND, 1, ata.IDENTIFY_DEVICE)
    assert {channel.command_bank.read(offset, 1) for offset in range(8)} == {0xFF}
    assert channel.control_bank.read(0, 1) == 0xFF


def test_absent_slave_shows_status_zero_and_the_masters_registers(rig: Rig) -> None:
    rig.out((r.DEVICE, 0xB0), (r.COUNT, 0x55), (r.COMMAND, ata.IDENTIFY_DEVICE))
    assert (rig.inb(r.STATUS), rig.alternate, rig.inb(r.COUNT)) == (0, 0, 0x55)
    assert not rig.irq.level


def test_absent_master_shows_status_zero() -> None:
    channel = IdeChannel("ide1", IrqLine(lambda level: None))
    channel.attach(1, AtaDisk("hdd", MemoryImage()))
    assert channel.command_bank.read(r.STATUS, 1) == 0
    channel.command_bank.write(r.DEVICE, 1, 0xB0)
    assert channel.command_bank.read(r.STATUS, 1) == 0x50


def test_a_taken_position_is_refused(rig: Rig) -> None:
    with pytest.raises(ValueError, match="hda"):
        rig.channel.attach(0, AtaDisk("hdx", MemoryImage()))


def test_reading_status_clears_the_interrupt_and_alternate_status_does_not(rig: Rig) -> None:
    rig.out((r.COMMAND, ata.IDLE))
    assert rig.alternate == 0x50
    assert rig.irq.level
    rig.inb(r.STATUS)
    assert not rig.irq.level


def test_writing_command_clears_the_interrupt(rig: Rig) -> None:
    rig.out((r.COMMAND, ata.IDLE))
    rig.lba28(ata.WRITE_SECTORS, 0, 1)
    assert rig.edges == [True, False]


def test_nien_gates_the_pin_but_not_the_pending_interrupt(rig: Rig) -> None:
    rig.control.write(0, 1, r.DC_NIEN)
    rig.out((r.COMMAND, ata.IDLE))
    assert rig.edges == []
    rig.control.write(0, 1, 0)
    assert rig.edges == [True]


def test_only_the_selected_device_drives_the_interrupt(pair: Rig) -> None:
    pair.out((r.DEVICE, 0xA0), (r.COMMAND, ata.IDLE), (r.DEVICE, 0xB0))
    assert not pair.irq.level
    pair.out((r.DEVICE, 0xA0))
    assert pair.irq.level


def test_registers_ignore_writes_while_data_is_requested(rig: Rig) -> None:
    rig.lba28(ata.READ_SECTORS, 9, 1)
    rig.out((r.LBA_LOW, 0x55), (r.DEVICE, 0xB0), (r.COMMAND, ata.IDENTIFY_DEVICE))
    assert (rig.inb(r.LBA_LOW), rig.inb(r.DEVICE)) == (9, 0xE0)
    assert rig.words() == pattern(9)


def test_srst_holds_both_devices_busy_and_ends_in_signatures(pair: Rig) -> None:
    pair.lba28(ata.READ_SECTORS, 9, 1)
    pair.control.write(0, 1, r.DC_SRST)
    assert (pair.alternate, pair.irq.level) == (r.SR_BSY, False)
    pair.control.write(0, 1, 0)
    assert (pair.inb(r.STATUS), pair.inb(r.ERROR), pair.inb(r.DEVICE)) == (0x50, 1, 0xA0)
    assert signature(pair, 0xA0) == SIGNATURE_DISK
    assert signature(pair, 0xB0) == SIGNATURE_PACKET
    assert (pair.inb(r.STATUS), pair.inb(r.ERROR)) == (0x00, 1)


def test_srst_selects_device_0_and_leaves_nien_as_written(pair: Rig) -> None:
    pair.out((r.DEVICE, 0xB0))
    soft_reset(pair, r.DC_NIEN)
    assert pair.inb(r.DEVICE) == 0xA0
    pair.out((r.COMMAND, ata.IDLE))
    assert not pair.irq.level


def test_diagnostic_passes_on_both_devices_without_err(pair: Rig) -> None:
    pair.out((r.DEVICE, 0xB0), (r.COMMAND, ata.EXECUTE_DEVICE_DIAGNOSTIC))
    assert (pair.irq.level, pair.inb(r.STATUS), pair.inb(r.ERROR)) == (True, 0x50, 0x01)
    assert signature(pair, 0xA0) == SIGNATURE_DISK
    assert signature(pair, 0xB0) == SIGNATURE_PACKET


def test_packet_device_is_ready_only_after_a_packet_command(pair: Rig) -> None:
    pair.out((r.DEVICE, 0xB0))
    assert pair.inb(r.STATUS) == 0x00
    pair.out((r.COMMAND, ata.IDENTIFY_PACKET_DEVICE))
    pair.words()
    assert pair.inb(r.STATUS) == r.SR_DRDY


@pytest.mark.parametrize("opcode", [ata.IDENTIFY_DEVICE, ata.READ_SECTORS])
def test_disk_commands_to_a_packet_device_abort_with_its_signature(pair: Rig, opcode: int) -> None:
    pair.out((r.DEVICE, 0xB0), (r.LBA_MID, 0), (r.LBA_HIGH, 0), (r.COMMAND, opcode))
    assert (pair.inb(r.STATUS), pair.inb(r.ERROR)) == (0x41, r.ER_ABRT)
    assert signature(pair, 0xB0) == SIGNATURE_PACKET


def test_device_reset_works_on_a_packet_device_with_data_requested(pair: Rig) -> None:
    pair.out((r.DEVICE, 0xB0), (r.COMMAND, ata.PACKET))
    assert pair.alternate & r.SR_DRQ
    pair.out((r.COMMAND, ata.DEVICE_RESET))
    assert (pair.alternate, pair.irq.level) == (0x00, False)
    assert signature(pair, 0xB0) == SIGNATURE_PACKET


def test_32_bit_data_access_is_two_words(rig: Rig) -> None:
    rig.lba28(ata.READ_SECTORS, 0x203, 1)
    rig.ports.read(0, 2)
    assert rig.ports.read(0, 4) == 0x0203_0000


def test_32_bit_access_crosses_into_the_next_block(rig: Rig) -> None:
    rig.lba28(ata.READ_SECTORS, 0x201, 2)
    rig.words(255)
    assert rig.ports.read(0, 4) == 0x0202_0000
    assert rig.edges == [True]
    rig.words(255)
    assert rig.alternate == 0x50


def test_8_bit_access_takes_the_low_half_of_a_word(rig: Rig) -> None:
    rig.lba28(ata.READ_SECTORS, 0x0203, 1)
    assert rig.ports.read(0, 1) == 0x03
    assert rig.ports.read(0, 2) == 0x0000


def test_data_port_without_data_floats(rig: Rig) -> None:
    assert rig.ports.read(0, 2) == 0xFFFF
    rig.put(b"\1\2")
    assert rig.ports.read_block is not None
    assert rig.ports.read_block(2, 10) == b""


def test_wide_access_beside_the_data_port_is_byte_accesses(rig: Rig) -> None:
    rig.ports.write(r.COUNT, 2, 0xBBAA)
    assert (rig.inb(r.COUNT), rig.inb(r.LBA_LOW)) == (0xAA, 0xBB)
    assert rig.ports.read(r.COUNT, 2) == 0xBBAA
    assert rig.ports.read(r.STATUS, 2) == 0xFF50


def probe(rig: Rig) -> tuple[object, ...]:
    return rig.alternate, tuple(rig.edges), rig.channel.save(), rig.image.written


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([ata.READ_SECTORS, ata.READ_MULTIPLE, ata.WRITE_SECTORS, ata.WRITE_MULTIPLE]),
    st.integers(1, 40),
    st.lists(st.tuples(st.sampled_from([2, 4]), st.integers(1, 700)), max_size=12),
)
def test_blocks_do_exactly_what_single_accesses_do(
    opcode: int, count: int, moves: list[tuple[int, int]]
) -> None:
    single, block = Rig(), Rig()
    for rig in (single, block):
        rig.lba28(opcode, 3, count)
    for size, length in moves:
        if opcode in (ata.READ_SECTORS, ata.READ_MULTIPLE):
            data = block.ports.read_block(size, length)
            assert data == b"".join(
                single.ports.read(0, size).to_bytes(size, "little") for _ in range(len(data) // size)
            )
        else:
            data = bytes(range(256)) * (size * length // 256 + 1)
            data = data[: size * length]
            for at in range(block.ports.write_block(size, data)):
                single.ports.write(0, size, int.from_bytes(data[size * at : size * at + size], "little"))
        assert probe(block) == probe(single)
