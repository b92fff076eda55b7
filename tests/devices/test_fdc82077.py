"""82077AA controller and its drives, one data-sheet sentence per test."""

from __future__ import annotations

import pytest

from devices import dma8237 as d
from devices.backplane import PortBank
from devices.floppy import fdc82077 as f
from devices.floppy import registers as r
from devices.floppy.drive import FORMATS, FloppyDrive
from tests.devices.ide_rig import MemoryImage, pattern
from tests.devices.test_dma8237 import Rig as DmaRig
from tests.devices.timed_rig import TimedRig
from vmm.clock import MachineClock

DOR, MSR, DSR, FIFO = 2, 4, 4, 5
BUFFER = 0x2000
READ, WRITE = 0x46, 0x45  # MFM
MULTI = 0x80
SECOND = 1_000_000_000


class Rig(TimedRig):
    """A controller with a 1.44-MB disk in drive 0 and an empty drive 1, out of reset."""

    def __init__(
        self, clock: MachineClock | None = None, sectors: int = 2880, read_only: bool = False
    ) -> None:
        super().__init__(clock)
        self.image = MemoryImage(sectors, read_only=read_only)
        self.drive = FloppyDrive(self.image)
        self.dma = DmaRig()
        self.fdc = f.Fdc82077(self.clock, self.line, self.dma.dma.channel(2), [self.drive, FloppyDrive()])
        self.ports: PortBank = self.fdc.ports

    def start(self) -> None:
        self.ports.write(DOR, 1, 0x1C)
        self.advance(SECOND)
        for _ in range(4):
            self.command(0x08)
        self.command(0x03, 0xAF, 0x02)  # SPECIFY: DMA
        self.fdc.dir_port.write(0, 1, 0)

    @property
    def status(self) -> int:
        return self.ports.read(MSR, 1)

    def command(self, *data: int) -> list[int]:
        """Give a command, let it end, and read its result."""
        for byte in data:
            assert self.status & 0xC0 == 0x80, hex(self.status)
            self.ports.write(FIFO, 1, byte)
        self.advance(SECOND)
        return self.result()

    def result(self) -> list[int]:
        found = []
        while self.status & 0xC0 == 0xC0:
            found.append(self.ports.read(FIFO, 1))
        return found

    def open(self, mode: int, length: int) -> None:
        self.dma.program(2, 0x40 | mode, BUFFER, length)

    def transfer(self, code: int, sector: int, last: int = 18, head: int = 0, cylinder: int = 0) -> list[int]:
        return self.command(code, head << 2, cylinder, head, sector, 2, last, 0x1B, 0xFF)


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.start()
    return made


def test_after_reset_each_drive_tells_that_its_ready_line_changed() -> None:
    rig = Rig()
    rig.ports.write(DOR, 1, 0x0C)
    rig.advance(SECOND)

    assert rig.irq
    assert [rig.command(0x08)[0] for _ in range(5)] == [0xC0, 0xC1, 0xC2, 0xC3, 0x80]
    assert not rig.irq


def test_polling_can_be_switched_off(rig: Rig) -> None:
    rig.command(0x13, 0, 0x10, 0)
    rig.command(0x94)  # LOCK keeps it over a reset by DOR
    rig.ports.write(DOR, 1, 0x18)
    rig.ports.write(DOR, 1, 0x1C)
    rig.advance(SECOND)

    assert not rig.irq
    assert rig.command(0x08) == [0x80]


def test_the_controller_in_reset_takes_nothing(rig: Rig) -> None:
    rig.ports.write(DOR, 1, 0x18)

    assert rig.status == 0


def test_dsr_resets_and_comes_out_by_itself(rig: Rig) -> None:
    rig.ports.write(DSR, 1, 0x80)
    rig.advance(SECOND)

    assert rig.irq
    assert rig.command(0x08) == [0xC0, 0]


def test_version_and_lock_answer_at_once(rig: Rig) -> None:
    assert rig.command(0x10) == [0x90]
    assert rig.command(0x94) == [0x10]
    assert rig.command(0x14) == [0x00]
    assert not rig.irq


def test_a_command_that_does_not_exist_is_invalid(rig: Rig) -> None:
    assert rig.command(0x1F) == [0x80]


def test_seek_ends_with_an_interrupt_and_the_cylinder(rig: Rig) -> None:
    for byte in (0x0F, 0, 40):
        rig.ports.write(FIFO, 1, byte)
    assert rig.status & 0x01  # drive 0 seeks
    assert not rig.irq
    rig.advance(SECOND)

    assert rig.irq
    assert rig.command(0x08) == [0x20, 40]
    assert not rig.irq


def test_recalibrate_goes_to_track_0(rig: Rig) -> None:
    rig.command(0x0F, 0, 40)
    rig.command(0x08)
    rig.command(0x07, 0)

    assert rig.command(0x08) == [0x20, 0]
    assert rig.command(0x04, 0)[0] & 0x10


def test_recalibrate_of_a_drive_that_is_not_there_fails(rig: Rig) -> None:
    rig.command(0x07, 2)

    assert rig.command(0x08)[0] == 0x72


def test_relative_seek_counts_cylinders(rig: Rig) -> None:
    rig.command(0x0F, 0, 40)
    rig.command(0x08)
    rig.command(0xCF, 0, 5)
    assert rig.command(0x08) == [0x20, 45]
    rig.command(0x8F, 0, 3)
    assert rig.command(0x08) == [0x20, 42]


def test_read_data_moves_sectors_until_terminal_count(rig: Rig) -> None:
    rig.open(d.TO_MEMORY, 1024)

    assert rig.transfer(READ, 2) == [0, 0, 0, 0, 0, 4, 2]
    assert rig.dma.memory.read(BUFFER, 1024) == pattern(1) + pattern(2)


def test_the_interrupt_of_a_transfer_ends_with_the_first_result_byte(rig: Rig) -> None:
    rig.open(d.TO_MEMORY, 512)
    for byte in (READ, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF):
        rig.ports.write(FIFO, 1, byte)
    assert rig.status == 0x10
    rig.advance(SECOND)
    assert rig.irq
    rig.ports.read(FIFO, 1)

    assert not rig.irq


def test_multi_track_goes_on_with_the_other_head(rig: Rig) -> None:
    rig.open(d.TO_MEMORY, 1024)

    assert rig.transfer(READ | MULTI, 18) == [4, 0, 0, 0, 1, 2, 2]
    assert rig.dma.memory.read(BUFFER, 1024) == pattern(17) + pattern(18)


def test_terminal_count_at_the_last_sector_names_the_next_cylinder(rig: Rig) -> None:
    rig.open(d.TO_MEMORY, 512)

    assert rig.transfer(READ, 18) == [0, 0, 0, 1, 0, 1, 2]


def test_the_end_of_the_cylinder_without_terminal_count_is_an_error(rig: Rig) -> None:
    rig.open(d.TO_MEMORY, 4096)

    assert rig.transfer(READ, 18)[:3] == [0x40, 0x80, 0]


def test_a_sector_that_is_not_there_gives_no_data(rig: Rig) -> None:
    rig.open(d.TO_MEMORY, 512)

    assert rig.transfer(READ, 19, last=36)[:3] == [0x40, 0x04, 0]


def test_an_id_of_another_cylinder_is_told(rig: Rig) -> None:
    rig.open(d.TO_MEMORY, 512)

    assert rig.transfer(READ, 1, cylinder=3)[:3] == [0x40, 0x04, 0x10]


def test_the_wrong_data_rate_finds_no_address_mark(rig: Rig) -> None:
    rig.fdc.dir_port.write(0, 1, 2)
    rig.open(d.TO_MEMORY, 512)

    assert rig.transfer(READ, 1)[:3] == [0x40, 0x01, 0]
    assert rig.command(0x4A, 0)[:2] == [0x40, 0x01]


def test_implied_seek(rig: Rig) -> None:
    rig.command(0x13, 0, 0x57, 0)
    rig.open(d.TO_MEMORY, 512)

    assert rig.transfer(READ, 1, cylinder=10)[:3] == [0, 0, 0]
    assert rig.dma.memory.read(BUFFER, 512) == pattern(360)


def test_write_data_stores_sectors_and_fills_a_short_one(rig: Rig) -> None:
    rig.dma.memory.write(BUFFER, b"\xaa" * 600)
    rig.open(d.FROM_MEMORY, 600)

    assert rig.transfer(WRITE, 1)[:3] == [0, 0, 0]
    assert rig.image.sector(0) == b"\xaa" * 512
    assert rig.image.sector(1) == b"\xaa" * 88 + bytes(424)


def test_a_protected_disk_is_not_written() -> None:
    rig = Rig(read_only=True)
    rig.start()
    rig.open(d.FROM_MEMORY, 512)

    assert rig.transfer(WRITE, 1)[:3] == [0x40, 0x02, 0]
    assert rig.command(0x04, 0)[0] & 0x40
    assert rig.image.writes == []


def test_a_sector_the_host_cannot_read_is_a_data_error(rig: Rig) -> None:
    rig.image.bad.add(0)
    rig.open(d.TO_MEMORY, 512)

    assert rig.transfer(READ, 1)[:3] == [0x40, 0x20, 0x20]


def test_dma_that_does_not_answer_is_an_overrun(rig: Rig) -> None:
    assert rig.transfer(READ, 1)[:2] == [0x40, 0x10]


def test_format_writes_the_filler_into_the_sectors_named(rig: Rig) -> None:
    for sector in range(1, 19):
        rig.dma.memory.write(BUFFER + 4 * (sector - 1), bytes([0, 0, sector, 2]))
    rig.open(d.FROM_MEMORY, 72)

    assert rig.command(0x4D, 0, 2, 18, 0x6C, 0xF6)[:3] == [0, 0, 0]
    assert all(rig.image.sector(lba) == b"\xf6" * 512 for lba in range(18))
    assert rig.image.sector(18) == pattern(18)


def test_read_id_tells_where_the_head_is(rig: Rig) -> None:
    rig.command(0x0F, 0, 7)
    rig.command(0x08)

    assert rig.command(0x4A, 4) == [4, 0, 0, 7, 1, 1, 2]


def test_verify_moves_no_data(rig: Rig) -> None:
    assert rig.command(0xD6, 0x80, 0, 0, 1, 2, 18, 0x1B, 4)[:3] == [0, 0, 0]
    assert rig.image.writes == []


def test_without_dma_bytes_pass_through_the_fifo(rig: Rig) -> None:
    rig.command(0x03, 0xAF, 0x03)
    for byte in (READ, 0, 0, 0, 1, 2, 2, 0x1B, 0xFF):
        rig.ports.write(FIFO, 1, byte)
    rig.advance(SECOND)
    received = bytearray()
    while rig.status & 0x20:
        assert rig.irq
        received.append(rig.ports.read(FIFO, 1))

    assert received == pattern(0) + pattern(1)
    assert rig.result()[:2] == [0x40, 0x80]  # nobody gives terminal count


def test_without_dma_bytes_are_written_through_the_fifo(rig: Rig) -> None:
    rig.command(0x03, 0xAF, 0x03)
    for byte in (WRITE, 0, 0, 0, 5, 2, 5, 0x1B, 0xFF):
        rig.ports.write(FIFO, 1, byte)
    rig.advance(SECOND)
    for _ in range(512):
        assert rig.status & 0xE0 == 0xA0
        rig.ports.write(FIFO, 1, 0x77)

    assert rig.result()[1] == 0x80
    assert rig.image.sector(4) == b"\x77" * 512


def test_a_drive_without_a_disk_has_no_index_and_waits_for_a_reset(rig: Rig) -> None:
    for byte in (0x4A, 1):
        rig.ports.write(FIFO, 1, byte)
    rig.advance(10 * SECOND)
    assert rig.status == 0x10
    rig.ports.write(DOR, 1, 0x18)
    rig.ports.write(DOR, 1, 0x1C)
    rig.advance(SECOND)

    assert rig.status == 0x80


def test_the_change_line_ends_with_a_step_while_a_disk_is_in(rig: Rig) -> None:
    assert rig.fdc.dir_port.read(0, 1) & r.DIR_CHANGED
    rig.command(0x0F, 0, 1)
    assert not rig.fdc.dir_port.read(0, 1) & r.DIR_CHANGED
    rig.drive.eject()
    assert rig.fdc.dir_port.read(0, 1) & r.DIR_CHANGED
    rig.command(0x0F, 0, 2)
    assert rig.fdc.dir_port.read(0, 1) & r.DIR_CHANGED


@pytest.mark.parametrize(("dor", "changed"), [(0x1C, True), (0x0C, False), (0x2C, False), (0x1D, False)])
def test_the_change_line_is_driven_by_the_selected_drive_with_its_motor_on(
    rig: Rig, dor: int, changed: bool
) -> None:
    rig.ports.write(DOR, 1, dor)
    assert bool(rig.fdc.dir_port.read(0, 1) & r.DIR_CHANGED) == changed


def test_seeks_nobody_asks_about_leave_one_end_a_drive(rig: Rig) -> None:
    for cylinder in range(9):
        for drive in (1, 0, 3):
            rig.command(0x0F, drive, cylinder)

    assert len(rig.fdc.save().seeks) == 3
    assert [rig.command(0x08) for _ in range(4)] == [[0x21, 8], [0x20, 8], [0x73, 0], [0x80]]


def test_dumpreg_shows_what_was_set(rig: Rig) -> None:
    rig.command(0x13, 0, 0x5A, 0x10)
    rig.command(0x0F, 0, 9)
    rig.command(0x08)

    assert rig.command(0x0E) == [9, 0, 0, 0, 0xAF, 0x02, 0, 0, 0x5A, 0x10]


@pytest.mark.parametrize("disk", FORMATS, ids=lambda disk: str(disk.size_bytes // 1024))
def test_the_last_sector_of_every_format_is_read(disk: object) -> None:
    shape = FORMATS[FORMATS.index(disk)]  # type: ignore[arg-type]
    rig = Rig(sectors=shape.size_bytes // 512)
    rig.start()
    rig.fdc.dir_port.write(0, 1, shape.rates[0])
    head, cylinder = shape.heads - 1, shape.cylinders - 1
    rig.command(0x0F, head << 2, cylinder)
    rig.command(0x08)
    rig.open(d.TO_MEMORY, 512)
    result = rig.transfer(READ, shape.sectors, last=shape.sectors, head=head, cylinder=cylinder)

    assert result[:3] == [head << 2, 0, 0]
    assert rig.dma.memory.read(BUFFER, 512) == pattern(shape.size_bytes // 512 - 1)


def test_an_image_of_no_format_is_refused() -> None:
    with pytest.raises(ValueError, match="no floppy disk's size"):
        FloppyDrive(MemoryImage(2881))


def make_for_contract(clock: MachineClock) -> tuple[object, object, object]:
    rig = Rig(clock)
    banks = [(rig.fdc.ports, 6), (rig.fdc.dir_port, 1)]

    def give(*data: int) -> None:
        for byte in data:
            rig.ports.write(FIFO, 1, byte)

    exercises = [
        lambda: rig.ports.write(DOR, 1, 0x1C),
        lambda: give(0x03, 0xAF, 0x02),
        lambda: give(0x0F, 0, 5),
        lambda: give(READ, 0, 5, 0, 1, 2, 2, 0x1B, 0xFF),
        lambda: rig.fdc.dir_port.write(0, 1, 1),
    ]
    return rig.fdc, banks, exercises


CONTRACT = [("fdc", make_for_contract)]
