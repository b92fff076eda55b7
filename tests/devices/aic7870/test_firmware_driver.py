"""The chip under the firmware that Debian's kernel downloads, driven as its driver does.

What decides is the firmware: it is nobody's here, and its interrupts with a code that means a broken
protocol (2, 3, 8, B, C, D) would be our mistakes.
"""

from __future__ import annotations

import struct

import pytest

from devices.aic7870 import faults as f
from devices.aic7870 import messages as m
from devices.aic7870 import registers as r
from devices.scsi.events import ScsiStatus
from tests.devices.aic7870 import mini_driver as d
from tests.devices.aic7870.firmware import firmware
from tests.devices.aic7870.mini_driver import BUFFER, MiniDriver, Scb, read10, write10
from tests.devices.ide_rig import pattern

pytestmark = pytest.mark.oracle

INQUIRY = Scb(bytes((0x12, 0, 0, 0, 36, 0)), [(BUFFER, 36)])


@pytest.fixture
def driver() -> MiniDriver:
    rig = MiniDriver(firmware())
    rig.start()
    rig.ready()
    return rig


def policy(rig: MiniDriver, name: str) -> None:
    for peripheral in rig.chip.bus.peripherals.values():
        peripheral.policy = name


def sectors(first: int, number: int) -> bytes:
    return b"".join(pattern(lba) for lba in range(first, first + number))


def test_the_firmware_waits_for_work_after_its_start(driver: MiniDriver) -> None:
    assert driver.read(r.INTSTAT) == 0
    executed = driver.chip.instructions
    driver.read(r.INTSTAT)
    assert driver.chip.instructions - executed < 50
    assert driver.read(r.HCNTRL) == r.INTEN


def test_inquiry(driver: MiniDriver) -> None:
    driver.run(INQUIRY)
    assert bytes(driver.memory.data[BUFFER : BUFFER + 2]) == b"\0\0"
    assert b"TRAPLINE" in driver.memory.data[BUFFER : BUFFER + 36]


def test_a_command_ends_with_one_interrupt(driver: MiniDriver) -> None:
    tag = driver.queue(INQUIRY)
    assert driver.irq
    assert driver.interrupt() == r.CMDCMPLT
    assert driver.done == [tag]
    assert not driver.irq


def test_a_read_by_sixteen_segments(driver: MiniDriver) -> None:
    driver.run(Scb(read10(100, 128), [(BUFFER + 0x2000 * at, 4096) for at in range(16)]))
    for at in range(16):
        piece = driver.memory.data[BUFFER + 0x2000 * at :][:4096]
        assert piece == sectors(100 + 8 * at, 8)


def test_a_write_by_segments_that_are_no_sectors(driver: MiniDriver) -> None:
    data = bytes(reversed(sectors(0, 3)))
    for at, start in enumerate((0, 700, 1400)):
        driver.memory.write(BUFFER + 0x1000 * at, data[start : start + 700])
    driver.run(Scb(write10(50, 4), [(BUFFER + 0x1000 * at, n) for at, n in enumerate((700, 700, 648))]))
    stored = b"".join(driver.images[0].sector(50 + at) for at in range(3))
    assert stored == data[:1400] + driver.memory.read(BUFFER + 0x2000, 648)[: 1536 - 1400]


def test_an_underrun_leaves_its_residual_in_the_hardware_scb(driver: MiniDriver) -> None:
    block = driver.run(Scb(bytes((0x12, 0, 0, 0, 255, 0)), [(BUFFER, 255)]))
    residual, _ = struct.unpack_from("<II", block)
    assert residual & 0xFF_FFFF == 255 - 36
    assert block[20] & d.SG_RESIDUAL_VALID


def test_a_check_condition_stops_with_bad_status(driver: MiniDriver) -> None:
    tag = driver.queue(Scb(read10(0x7F_0000, 1), [(BUFFER, 512)]))
    assert driver.read(r.INTSTAT) == d.BAD_STATUS
    assert driver.read(r.HCNTRL) & r.PAUSE
    assert driver.hardware_scb(tag)[8] == 2
    driver.write(d.RETURN_1, 0)
    driver.write(r.CLRINT, r.SEQINT)
    driver.unpause()
    assert driver.interrupt() & r.CMDCMPLT
    assert driver.done == [tag]


def test_a_selection_that_times_out_interrupts(driver: MiniDriver) -> None:
    driver.queue(Scb(bytes(6), target=5))
    assert driver.read(r.INTSTAT) == r.SCSIINT
    assert driver.read(r.SSTAT1) & r.SELTO
    assert driver.read(d.WAITING_SCBH) != d.NOTHING


@pytest.mark.parametrize("name", f.DISCONNECT_POLICIES)
@pytest.mark.parametrize("control", [d.DISCENB, d.DISCENB | d.TAG_ENB])
def test_reads_and_writes_with_disconnection(driver: MiniDriver, name: str, control: int) -> None:
    policy(driver, name)
    segments = [(BUFFER + 0x2000 * at, 2048) for at in range(4)]
    driver.run(Scb(read10(7, 16), segments, control=control))
    got = b"".join(driver.memory.read(address, length) for address, length in segments)
    assert got == sectors(7, 16)
    driver.run(Scb(write10(300, 16), segments, control=control, target=2))
    assert b"".join(driver.images[2].sector(300 + at) for at in range(16)) == sectors(7, 16)


@pytest.mark.parametrize("name", f.DISCONNECT_POLICIES)
def test_tagged_commands_to_two_disks_at_once(driver: MiniDriver, name: str) -> None:
    policy(driver, name)
    tags = []
    for number in range(12):
        target, at = (0, 2)[number % 2], BUFFER + 0x1_0000 * number
        tags.append(
            driver.queue(
                Scb(read10(64 * number, 8), [(at, 4096)], target=target, control=d.DISCENB | d.TAG_ENB)
            )
        )
    for _ in range(60):
        assert driver.interrupt() & ~r.CMDCMPLT & r.INTERRUPTS == 0
        driver.advance(200_000)
    driver.interrupt()
    assert sorted(driver.done) == sorted(tags)
    for number in range(12):
        assert driver.memory.data[BUFFER + 0x1_0000 * number :][:4096] == sectors(64 * number, 8)


def test_a_command_that_hangs_is_aborted_by_a_message(driver: MiniDriver) -> None:
    """The driver's abort: an SCB with MK_MESSAGE is queued; the firmware selects and asks what to say."""
    driver.chip.bus.peripherals[0].faults.append(f.parse_fault("hang,op=28"))
    tagged = d.DISCENB | d.TAG_ENB
    tag = driver.queue(Scb(read10(1, 1), [(BUFFER, 512)], control=tagged))
    driver.advance(10_000_000_000)
    assert driver.interrupt() == 0
    assert len(driver.chip.bus.peripherals[0].disconnected) == 1
    driver.queue(Scb(bytes(6), control=tagged | d.MK_MESSAGE))
    assert driver.read(r.INTSTAT) == d.HOST_MSG_LOOP
    assert driver.read(r.SCSISIGI) & r.PHASE_BITS == 0xA0
    for code in (m.IDENTIFY, m.SIMPLE_QUEUE_TAG, tag):
        driver.write(r.SCSIDATL, code)
    driver.write(r.CLRSINT1, r.CLRATNO)
    driver.write(r.SIMODE1, driver.read(r.SIMODE1) & ~r.BUSFREE)
    driver.write(r.SCSIDATL, m.ABORT_TAG)
    assert driver.read(r.SSTAT1) & r.BUSFREE
    assert driver.chip.bus.peripherals[0].disconnected == []


def test_after_a_bus_reset_commands_run_and_the_disks_tell_of_it(driver: MiniDriver) -> None:
    policy(driver, f.BEFORE_DATA)
    driver.queue(Scb(read10(1, 1), [(BUFFER, 512)]))
    driver.write(r.HCNTRL, r.PAUSE | r.INTEN)
    driver.reset_bus()
    driver.restart()
    driver.write(d.BUSY_TARGETS, d.NOTHING)
    driver.unpause()
    assert driver.chip.bus.peripherals[0].disconnected == []
    tag = driver.queue(Scb(bytes(6)))
    driver.advance(1_000_000)
    assert driver.read(r.INTSTAT) == d.BAD_STATUS
    assert driver.disks[0].sense[:2] == (6, 0x29)
    assert driver.hardware_scb(tag)[8] == 2


def test_a_synchronous_agreement_is_made_by_the_hosts_message_loop(driver: MiniDriver) -> None:
    driver.queue(Scb(bytes(6), control=d.DISCENB | d.MK_MESSAGE))
    assert driver.read(r.INTSTAT) == d.HOST_MSG_LOOP
    driver.write(r.SCSIDATL, m.IDENTIFY)
    for code in m.sdtr(0x19, 8)[:-1]:
        driver.write(r.SCSIDATL, code)
    driver.write(r.CLRSINT1, r.CLRATNO)
    driver.write(r.SCSIDATL, 8)
    assert driver.read(r.SCSISIGI) & r.PHASE_BITS == 0xE0
    assert driver.read(r.SCSIBUSL) == m.EXTENDED
    assert driver.chip.bus.peripherals[0].synchronous == (0x19, 8)


def test_the_driver_steps_out_of_critical_sections(driver: MiniDriver) -> None:
    """A watcher holds the firmware inside a section; the driver pauses it there."""
    section = driver.firmware.critical[1]

    class Hold:
        def before(self, sequencer: object) -> bool:
            return driver.chip.sequencer.pc not in section

    driver.chip.sequencer.watcher = Hold()
    driver.queue(INQUIRY)
    assert driver.chip.sequencer.pc in section
    driver.chip.sequencer.watcher = None
    driver.leave_critical_section()
    assert driver.steps > 0
    assert driver.chip.sequencer.pc not in section
    driver.unpause()
    assert driver.interrupt() == r.CMDCMPLT


def test_the_trace_tells_bytes_and_instructions(driver: MiniDriver) -> None:
    driver.run(Scb(read10(5, 4), [(BUFFER, 2048)]))
    status = driver.events.all[-1]
    assert isinstance(status, ScsiStatus)
    assert (status.target, status.status, status.data_bytes) == (0, 0, 2048)
    assert 250 < status.instructions < 400


def test_snapshots_in_every_phase_go_on_alike(driver: MiniDriver) -> None:
    """A twin that became the state at any instruction of a command ends it with the same memory."""
    policy(driver, f.MID_DATA)
    states = []

    class Watch:
        left = 0

        def before(self, sequencer: object) -> bool:
            Watch.left -= 1
            return Watch.left >= 0

    driver.chip.sequencer.watcher = Watch()
    tag = driver.queue(Scb(read10(5, 16), [(BUFFER, 3000), (BUFFER + 0x4000, 5192)]))
    for _ in range(45):
        Watch.left = 13
        driver.read(r.SCSISIGI)
        states.append((driver.chip.save(), bytes(driver.memory.data), driver.time.value_ns))
        driver.advance(20_000)
    driver.chip.sequencer.watcher = None
    for state, memory, now_ns in states:
        twin = MiniDriver(driver.firmware)
        twin.ready()
        policy(twin, f.MID_DATA)
        twin.advance(now_ns)
        twin.memory.data[:] = memory
        twin.chip.load(state)
        assert twin.chip.save() == state
        twin.taken = driver.taken
        for _ in range(10):
            twin.write(d.KERNEL_QINPOS, driver.queued)
            twin.advance(200_000)
        assert twin.interrupt() & r.INTERRUPTS == r.CMDCMPLT
        assert twin.done == [tag]
        got = twin.memory.read(BUFFER, 3000) + twin.memory.read(BUFFER + 0x4000, 5192)
        assert got == sectors(5, 16)
