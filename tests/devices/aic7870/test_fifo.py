"""The data path of an AIC-7870: FIFO, host DMA, SCSI DMA (08h-0Ah, 14h-17h, 88h-99h)."""

from __future__ import annotations

import random

import pytest

from devices.aic7870 import registers as r
from devices.aic7870.nexus import COMMAND, DATA_IN, DATA_OUT, STATUS
from tests.devices.aic7870.rig import Rig, pattern, read10, write10

SCSI_DMA = r.SCSIEN | r.SDMAEN


def in_data(length: int, out: bool = False) -> Rig:
    """A rig whose target 0 is in its data phase."""
    rig = Rig()
    rig.select(0)
    rig.send(0x80)
    rig.send(*(write10(length) if out else read10(length)))
    rig.write(r.SXFRCTL0, r.CLRSTCNT | r.CLRCHN)
    rig.write(r.SCSISIGO, DATA_OUT if out else DATA_IN)
    return rig


def counters(rig: Rig, address: int, hcnt: int, stcnt: int) -> None:
    rig.write(r.HADDR, address, 4)
    for at in range(3):
        rig.write(r.HCNT + at, hcnt >> 8 * at & 0xFF)
        rig.write(r.STCNT + at, stcnt >> 8 * at & 0xFF)


def left(rig: Rig, register: int) -> int:
    return sum(rig.read(register + at) << 8 * at for at in range(3))


def popped(rig: Rig, length: int) -> bytes:
    return bytes(rig.read(r.DFDAT) for _ in range(length))


# --- registers -----------------------------------------------------------------------------------


def test_writing_haddr_loads_shaddr() -> None:
    rig = Rig()
    rig.write(r.HADDR, 0x12345678, 4)
    assert rig.read(r.SHADDR, 4) == 0x12345678


def test_shaddr_cannot_be_written() -> None:
    rig = Rig()
    rig.write(r.SHADDR, 0x12345678, 4)
    assert rig.read(r.SHADDR, 4) == 0


def test_strobes_of_dfcntrl_read_0() -> None:
    rig = Rig()
    rig.write(r.DFCNTRL, 0x7F)
    assert rig.read(r.DFCNTRL) == 0x7C


@pytest.mark.parametrize(
    ("level", "bits"),
    [
        (0, r.FIFOEMP | r.FIFOQWDEMP | r.HDONE),
        (1, r.FIFOQWDEMP | r.HDONE),
        (8, r.HDONE),
        (192, r.HDONE | r.DFTHRESH),
        (256, r.HDONE | r.DFTHRESH | r.FIFOFULL),
    ],
)
def test_dfstatus_tells_the_level(level: int, bits: int) -> None:
    rig = Rig()
    rig.write(r.DSPCISTATUS, 0x80)
    for at in range(level):
        rig.write(r.DFDAT, at & 0xFF)
    assert rig.read(r.DFSTATUS) == bits


def test_hdone_is_hcnt_0() -> None:
    rig = Rig()
    rig.write(r.HCNT + 2, 1)
    assert not rig.read(r.DFSTATUS) & r.HDONE


def test_what_is_pushed_is_popped_in_order() -> None:
    rig = Rig()
    for byte in (3, 1, 2):
        rig.write(r.DFDAT, byte)
    assert popped(rig, 4) == b"\3\1\2\0"


def test_a_full_fifo_takes_no_more() -> None:
    rig = Rig()
    for at in range(300):
        rig.write(r.DFDAT, at & 0xFF)
    assert popped(rig, 257) == bytes(range(256)) + b"\0"


def test_fiforeset_empties() -> None:
    rig = Rig()
    rig.write(r.DFDAT, 1)
    rig.write(r.DFCNTRL, r.FIFORESET)
    assert rig.read(r.DFSTATUS) & r.FIFOEMP


# --- host DMA alone ------------------------------------------------------------------------------


def test_host_memory_comes_to_the_fifo_until_hcnt_is_0() -> None:
    rig = Rig()
    rig.memory.data[0x500:0x520] = pattern(32)
    counters(rig, 0x500, 32, 0)
    rig.write(r.DFCNTRL, r.HDMAEN | r.DIRECTION | r.FIFORESET)
    assert rig.read(r.DFSTATUS) & r.HDONE
    assert rig.read(r.HADDR, 4) == 0x520
    assert popped(rig, 32) == pattern(32)


def test_more_than_the_fifo_holds_follows_as_it_is_popped() -> None:
    rig = Rig()
    rig.memory.data[0x500 : 0x500 + 600] = pattern(600)
    counters(rig, 0x500, 600, 0)
    rig.write(r.DFCNTRL, r.HDMAEN | r.DIRECTION | r.FIFORESET)
    assert left(rig, r.HCNT) == 600 - 256
    assert popped(rig, 600) == pattern(600)
    assert rig.read(r.DFSTATUS) & (r.HDONE | r.FIFOEMP) == r.HDONE | r.FIFOEMP


def test_the_fifo_goes_to_memory_with_fifoflush() -> None:
    rig = Rig()
    rig.write(r.DFCNTRL, r.FIFORESET)
    for byte in range(32):
        rig.write(r.DFDAT, byte)
    counters(rig, 0x700, 32, 0)
    rig.write(r.DFCNTRL, r.HDMAEN | r.FIFOFLUSH)
    assert rig.memory.data[0x700:0x720] == bytes(range(32))
    assert rig.read(r.DFSTATUS) & (r.HDONE | r.FIFOEMP) == r.HDONE | r.FIFOEMP


def test_below_the_threshold_the_fifo_waits_for_its_flush() -> None:
    rig = Rig()
    rig.write(r.DSPCISTATUS, 0xC0)
    for byte in range(32):
        rig.write(r.DFDAT, byte)
    counters(rig, 0x700, 32, 0)
    rig.write(r.DFCNTRL, r.HDMAEN)
    assert not rig.read(r.DFSTATUS) & r.HDONE
    rig.write(r.DFCNTRL, r.HDMAEN | r.FIFOFLUSH)
    assert rig.read(r.DFSTATUS) & r.HDONE


def test_without_bus_mastering_host_dma_waits() -> None:
    rig = Rig()
    rig.chip.set_master(False)
    rig.memory.data[0x500:0x508] = pattern(8)
    counters(rig, 0x500, 8, 0)
    rig.write(r.DFCNTRL, r.HDMAEN | r.DIRECTION)
    assert not rig.read(r.DFSTATUS) & r.HDONE
    rig.chip.set_master(True)
    assert popped(rig, 8) == pattern(8)


# --- SCSI DMA ------------------------------------------------------------------------------------


def test_a_segment_ends_with_dmadone_and_the_next_goes_on() -> None:
    rig = in_data(3000)
    counters(rig, 0x1000, 1000, 1000)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN | r.FIFORESET)
    assert rig.status0(r.DMADONE)
    assert not rig.status1(r.PHASEMIS)
    rig.write(r.DFCNTRL, 0)
    counters(rig, 0x9000, 2000, 2000)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN)
    assert rig.memory.data[0x1000 : 0x1000 + 1000] == pattern(3000)[:1000]
    assert rig.memory.data[0x9000 : 0x9000 + 2000] == pattern(3000)[1000:]
    assert rig.phase == STATUS


def test_a_target_that_leaves_the_phase_early_leaves_the_rest_in_the_counters() -> None:
    rig = in_data(100)
    counters(rig, 0x1000, 300, 300)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN)
    assert rig.status1(r.PHASEMIS)
    assert not rig.status0(r.SDONE)
    assert (left(rig, r.STCNT), left(rig, r.HCNT)) == (200, 200)
    assert rig.read(r.SHADDR, 4) == 0x1000 + 100
    assert rig.read(r.DFSTATUS) & r.FIFOEMP


def test_data_moves_in_slices_as_long_as_a_counter_can_say() -> None:
    rig = in_data(0xFFFF)
    counters(rig, 0x1000, 0xFF_FFFF, 0xFF_FFFF)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN)
    assert rig.memory.data[0x1000 : 0x1000 + 0xFFFF] == pattern(0xFFFF)
    assert left(rig, r.STCNT) == 0xFF_FFFF - 0xFFFF


def test_nothing_moves_in_a_phase_that_is_not_expected() -> None:
    rig = in_data(100)
    rig.write(r.SCSISIGO, COMMAND)
    counters(rig, 0x1000, 100, 100)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN)
    assert left(rig, r.STCNT) == 100
    rig.write(r.SCSISIGO, DATA_IN)
    assert left(rig, r.STCNT) == 0


def test_nothing_moves_against_the_direction() -> None:
    rig = in_data(100)
    counters(rig, 0x1000, 100, 100)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN | r.DIRECTION)
    assert left(rig, r.STCNT) == 100


def test_without_host_dma_data_in_fills_the_fifo() -> None:
    rig = in_data(1000)
    counters(rig, 0, 0, 1000)
    rig.write(r.DFCNTRL, SCSI_DMA | r.FIFORESET)
    assert rig.read(r.DFSTATUS) & r.FIFOFULL
    assert left(rig, r.STCNT) == 1000 - 256
    assert popped(rig, 1000) == pattern(1000)
    assert rig.status0(r.SDONE)


def test_data_out_comes_from_memory_by_segments() -> None:
    rig = in_data(600, out=True)
    rig.memory.data[0x100 : 0x100 + 600] = pattern(600)
    counters(rig, 0x100, 200, 200)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN | r.DIRECTION)
    counters(rig, 0x100 + 200, 400, 400)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN | r.DIRECTION)
    assert rig.target.written == pattern(600)
    assert rig.read(r.SHADDR, 4) == 0x100 + 600


def test_data_out_may_come_from_the_fifo() -> None:
    rig = in_data(20, out=True)
    counters(rig, 0, 0, 20)
    rig.write(r.DFCNTRL, SCSI_DMA | r.DIRECTION | r.FIFORESET)
    for byte in pattern(20):
        rig.write(r.DFDAT, byte)
    assert rig.target.written == pattern(20)
    assert rig.status0(r.SDONE)


def test_a_command_block_is_pushed_through_the_fifo() -> None:
    rig = Rig()
    rig.select(0)
    rig.send(0x80)
    rig.write(r.SCSISIGO, COMMAND)
    counters(rig, 0, 0, 10)
    rig.write(r.DFCNTRL, SCSI_DMA | r.DIRECTION | r.FIFORESET)
    for byte in read10(512) + b"\xee\xee":
        rig.write(r.DFDAT, byte)
    rig.write(r.DFCNTRL, SCSI_DMA | r.DIRECTION | r.FIFOFLUSH)
    assert rig.target.commands == [(0, read10(512))]
    assert rig.status0(r.SDONE)
    assert rig.phase == DATA_IN


def test_fifoflush_sends_less_than_a_quadword() -> None:
    rig = Rig()
    rig.select(0)
    rig.send(0x80)
    rig.write(r.SCSISIGO, COMMAND)
    counters(rig, 0, 0, 12)
    rig.write(r.DFCNTRL, SCSI_DMA | r.DIRECTION | r.FIFORESET)
    for byte in bytes(6):
        rig.write(r.DFDAT, byte)
    assert rig.phase == COMMAND
    rig.write(r.DFCNTRL, SCSI_DMA | r.DIRECTION | r.FIFOFLUSH)
    assert rig.phase == STATUS


def test_spiordy_does_not_rise_in_dma() -> None:
    rig = in_data(100)
    rig.write(r.SXFRCTL0, r.SPIOEN)
    counters(rig, 0x1000, 10, 10)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN)
    assert not rig.status0(r.SPIORDY)


def test_memory_that_is_not_there_reads_as_ones_and_swallows_writes() -> None:
    rig = in_data(64)
    counters(rig, 0xFFFF_FFF0, 64, 64)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN)
    assert rig.read(r.HADDR, 4) == 0x30
    assert rig.phase == STATUS


def test_messages_by_dma_without_end_do_not_hold_the_host() -> None:
    rig = Rig()
    rig.select(0)
    rig.write(r.SCSISIGO, 0xA0)
    counters(rig, 0, 0xFF_FFFF, 0xFF_FFFF)
    rig.memory.data[:] = bytes([0x08]) * len(rig.memory.data)
    rig.write(r.DFCNTRL, SCSI_DMA | r.HDMAEN | r.DIRECTION)
    assert 0 < 0xFF_FFFF - left(rig, r.STCNT) < 20_000


# --- several bytes at once -----------------------------------------------------------------------


def ready_for_anything(draw: random.Random) -> Rig:
    """A rig with a target that asks for something, or none, and the engines as they come."""
    rig = draw.choice((Rig, lambda: in_data(40), lambda: in_data(40, out=True), awaiting_command))()
    counters(rig, 0x1000, draw.choice((0, 7, 20, 300)), draw.choice((0, 3, 10, 300)))
    rig.write(r.SIMODE0, draw.choice((0, 0, 0, r.SDONE)))
    return rig


def awaiting_command() -> Rig:
    rig = Rig()
    rig.select(0)
    rig.send(0x80)
    rig.write(r.SXFRCTL0, r.CLRSTCNT | r.CLRCHN)
    rig.write(r.SCSISIGO, COMMAND)
    return rig


@pytest.mark.parametrize("seed", range(60))
def test_bytes_pushed_and_popped_at_once_are_what_single_ones_are(seed: int) -> None:
    several, single = (ready_for_anything(random.Random(seed)) for _ in range(2))
    registers = several.chip.registers, single.chip.registers
    queue, draw = registers[0].queues[r.DFDAT], random.Random(seed)
    for _ in range(20):
        registers[0].attention = registers[1].attention = False
        count, what = draw.choice((1, 2, 3, 5, 7, 20, 60)), draw.random()
        if what < 0.3:
            control = draw.choice((0, 0x34, 0x35, 0x3C, 0x08, 0x0C, draw.randrange(0x40)))
            several.write(r.DFCNTRL, control)
            single.write(r.DFCNTRL, control)
        elif what < 0.7:
            data = draw.randbytes(count)
            for value in data[: queue.put(data)]:
                registers[1].write(r.DFDAT, value)
        else:
            taken = queue.take(count)
            if taken is not None:
                assert taken == bytes(registers[1].read(r.DFDAT) for _ in range(count))
        assert several.chip.save() == single.chip.save()
        assert (registers[0].epoch, registers[0].attention) == (registers[1].epoch, registers[1].attention)
        assert several.memory.data == single.memory.data
