"""Bus-master DMA, one sentence of the programming interface per test."""

from __future__ import annotations

import random

import pytest

from devices.backplane import DeviceState
from devices.ide import commands as ata
from devices.ide import registers as r
from devices.ide.busmaster import BusMasterState
from devices.ide.channel import IdeChannelState
from tests.devices.ide_rig import MemoryImage, Rig, pattern
from vmm.clock import MachineClock

ACTIVE, ERROR, INTERRUPT = 0x01, 0x02, 0x04


@pytest.fixture
def rig() -> Rig:
    return Rig()


class Both:
    """Channel and bus master as one device, for the contract suite."""

    def __init__(self, rig: Rig) -> None:
        self.name, self.rig = "ide function", rig

    def reset(self) -> None:
        self.rig.channel.reset()
        self.rig.bus_master.reset()

    def save(self) -> BothState:
        return BothState(channel=self.rig.channel.save(), master=self.rig.bus_master.save())

    def load(self, state: BothState) -> None:
        self.rig.channel.load(state.channel)
        self.rig.bus_master.load(state.master)


class BothState(DeviceState, frozen=True, kw_only=True):
    channel: IdeChannelState
    master: BusMasterState


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(MemoryImage(keeps_writes=False), MemoryImage())
    rig.memory.data[:] = random.Random(1).randbytes(len(rig.memory.data))
    rig.memory.write = lambda address, data: None  # type: ignore[method-assign]
    exercises = [
        lambda: rig.bus_master.write(4, 4, 0x1000),
        lambda: rig.start(to_memory=True),
        lambda: rig.lba28(ata.READ_DMA, 0, 200),
        lambda: rig.start(to_memory=False),
        lambda: rig.channel.reset(),
        lambda: rig.lba28(ata.WRITE_DMA, 0, 200),
    ]
    banks = [(rig.bus_master.bank, 8), (rig.ports, 8), (rig.control, 1)]
    return Both(rig), banks, exercises


CONTRACT = [("ide bus master", make_for_contract)]


@pytest.mark.parametrize("command_first", [True, False])
def test_command_and_start_may_come_in_either_order(rig: Rig, command_first: bool) -> None:
    rig.prds((0x8000, 1024))
    steps = [lambda: rig.lba28(ata.READ_DMA, 5, 2), lambda: rig.start(to_memory=True)]
    for step in steps if command_first else steps[::-1]:
        step()
    assert rig.memory.data[0x8000:0x8400] == pattern(5) + pattern(6)
    assert rig.bmis == INTERRUPT
    assert (rig.irq.level, rig.inb(r.STATUS)) == (True, 0x50)


def test_read_is_one_image_read_and_one_memory_write_a_region(rig: Rig) -> None:
    rig.prds((0x8000, 0x4000), (0x2_0000, 0x1_0000), (0x1_0000, 0x4000))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 0, 192)
    assert rig.image.reads == [(0, 192)]
    assert rig.memory.writes == [(0x8000, 0x4000), (0x2_0000, 0x1_0000), (0x1_0000, 0x4000)]
    assert rig.bmis == INTERRUPT


def test_write_is_one_image_write(rig: Rig) -> None:
    rig.memory.data[0x8000:0x8200] = pattern(77)
    rig.memory.data[0x9000:0x9200] = pattern(78)
    rig.prds((0x8000, 512), (0x9000, 512))
    rig.lba28(ata.WRITE_DMA, 9, 2)
    rig.start(to_memory=False)
    assert rig.image.written == {9: pattern(77), 10: pattern(78)}
    assert rig.image.writes == [(9, 2)]
    assert (rig.bmis, rig.inb(r.STATUS)) == (INTERRUPT, 0x50)


def test_ext_commands_move_by_dma_too(rig: Rig) -> None:
    rig.prds(*[(0x2_0000 + 0x1_0000 * at, 0) for at in range(3)])
    rig.lba48(ata.READ_DMA_EXT, 10, 384)
    rig.start(to_memory=True)
    assert rig.memory.data[0x2_0000:0x5_0000] == b"".join(pattern(lba) for lba in range(10, 394))
    rig.prds((0x2_0000, 512))
    rig.lba48(ata.WRITE_DMA_EXT, 0, 1)
    rig.start(to_memory=False)
    assert rig.image.written == {0: pattern(10)}


def test_registers_name_the_last_sector_after_dma(rig: Rig) -> None:
    rig.prds((0x8000, 1024))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 5, 2)
    assert (rig.inb(r.COUNT), rig.inb(r.LBA_LOW)) == (0, 6)


def test_longer_table_than_transfer_ends_active_with_interrupt(rig: Rig) -> None:
    rig.prds((0x8000, 1024))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 5, 1)
    assert rig.bmis == ACTIVE | INTERRUPT


def test_shorter_table_than_transfer_ends_inactive_without_interrupt(rig: Rig) -> None:
    rig.prds((0x8000, 512))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 5, 2)
    assert (rig.bmis, rig.irq.level) == (0, False)
    assert rig.alternate & r.SR_DRQ


def test_a_new_table_goes_on_with_the_rest(rig: Rig) -> None:
    rig.prds((0x8000, 512))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 5, 2)
    rig.prds((0xA000, 512))
    rig.start(to_memory=True)
    assert rig.memory.data[0xA000:0xA200] == pattern(6)
    assert rig.bmis == INTERRUPT


def test_stop_clears_active(rig: Rig) -> None:
    rig.start(to_memory=True)
    assert rig.bmis == ACTIVE
    rig.bus_master.write(0, 1, 0x08)
    assert rig.bmis == 0


def test_start_needs_an_edge(rig: Rig) -> None:
    rig.prds((0x8000, 512))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 5, 1)
    rig.bus_master.write(0, 1, 0x09)
    assert not rig.bmis & ACTIVE


def test_count_of_zero_is_64_kib(rig: Rig) -> None:
    rig.prds((0x2_0000, 0))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 0, 128)
    assert rig.bmis == INTERRUPT
    assert rig.memory.writes == [(0x2_0000, 0x1_0000)]


def test_odd_addresses_and_counts_lose_bit_0(rig: Rig) -> None:
    rig.prds((0x8001, 0x201))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 0, 1)
    assert rig.memory.writes == [(0x8000, 0x200)]


def test_table_ends_at_its_64_kib_boundary_with_an_error(rig: Rig) -> None:
    rig.prds((0x8000, 2), table=0xFFF8, last=False)
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 0, 1)
    assert rig.bmis == ERROR


def test_device_against_the_direction_bit_waits(rig: Rig) -> None:
    rig.prds((0x8000, 512))
    rig.start(to_memory=False)
    rig.lba28(ata.READ_DMA, 0, 1)
    assert (rig.bmis, rig.memory.writes) == (ACTIVE, [])


def test_transfer_waits_for_the_bus_master_enable(rig: Rig) -> None:
    rig.bus_master.set_master(False)
    rig.prds((0x8000, 512))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 0, 1)
    assert rig.memory.writes == []
    rig.bus_master.set_master(True)
    assert rig.bmis == INTERRUPT


def test_interrupt_bit_is_set_by_pio_commands_too(rig: Rig) -> None:
    rig.out((r.COMMAND, ata.IDLE))
    assert rig.bmis == INTERRUPT
    rig.bus_master.write(2, 1, INTERRUPT)
    assert rig.bmis == 0


def test_status_write_rule(rig: Rig) -> None:
    rig.start(to_memory=True)
    rig.out((r.COMMAND, ata.IDLE))
    rig.bus_master.write(2, 1, 0xFF & ~INTERRUPT)
    assert rig.bmis == 0x60 | ACTIVE | INTERRUPT
    rig.bus_master.write(2, 1, INTERRUPT)
    assert rig.bmis == ACTIVE


def test_command_keeps_start_and_direction_only(rig: Rig) -> None:
    rig.bus_master.write(0, 1, 0xFF)
    assert rig.bus_master.read(0, 1) == 0x09


def test_table_pointer_is_dword_aligned(rig: Rig) -> None:
    rig.bus_master.write(4, 4, 0x1234_5677)
    assert rig.bus_master.read(4, 4) == 0x1234_5674
    assert rig.bus_master.read(0, 4) == 0


def test_bad_sector_ends_the_transfer_with_uncorrectable(rig: Rig) -> None:
    rig.image.bad = {7}
    rig.prds((0x8000, 2048))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 5, 4)
    assert rig.bmis == ACTIVE | INTERRUPT
    assert (rig.inb(r.STATUS), rig.inb(r.ERROR), rig.inb(r.LBA_LOW)) == (0x51, r.ER_UNC, 7)
    assert rig.memory.data[0x8000:0x8400] == pattern(5) + pattern(6)


def test_failed_write_is_a_device_fault(rig: Rig) -> None:
    rig.image.bad = {7}
    rig.prds((0x8000, 512))
    rig.start(to_memory=False)
    rig.lba28(ata.WRITE_DMA, 7, 1)
    assert rig.inb(r.STATUS) == 0x51 | r.SR_DF


def test_save_in_the_middle_and_go_on_in_another_machine(rig: Rig) -> None:
    rig.prds((0x8000, 512))
    rig.start(to_memory=True)
    rig.lba28(ata.READ_DMA, 5, 2)
    twin = Rig()
    twin.channel.load(rig.channel.save())
    twin.bus_master.load(rig.bus_master.save())
    twin.prds((0xA000, 512))
    twin.start(to_memory=True)
    assert twin.memory.data[0xA000:0xA200] == pattern(6)
    assert twin.bmis == INTERRUPT
