"""virtio-scsi: a sentence of the specification a test."""

from __future__ import annotations

import struct

import pytest

from devices.scsi import commands as op
from devices.scsi.disk import ScsiDisk
from devices.scsi.events import ScsiCommand, ScsiStatus
from devices.scsi.target import ScsiTarget
from devices.virtio import registers as r
from devices.virtio import scsi
from tests.devices.ide_rig import MemoryImage
from tests.devices.virtio_rig import BLOCK, BUFFERS_AT, LUN0, REQUEST, SENSE, Rig, Step

TEST_UNIT_READY = bytes(6)
INQUIRY = bytes((0x12, 0, 0, 0, 36, 0))
BAD = bytes((0xFF,))


def rw(opcode: int, lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", opcode, 0, lba, 0, blocks, 0)


@pytest.fixture(params=["modern", "legacy"])
def rig(request: pytest.FixtureRequest) -> Rig:
    features = r.VIRTIO_F_EVENT_IDX | r.VIRTIO_F_INDIRECT_DESC
    if request.param == "modern":
        return Rig().start(features | r.VIRTIO_F_VERSION_1)
    return Rig().start_legacy(features)


def test_a_read_fills_datain(rig: Rig) -> None:
    response = rig.run(rw(0x28, 5, 8), room=8 * BLOCK)
    assert (response.response, response.status, response.residual) == (scsi.S_OK, 0, 0)
    assert response.data == rig.unit.medium[5 * BLOCK : 13 * BLOCK]
    assert response.written == 108 + 8 * BLOCK


def test_a_write_takes_dataout(rig: Rig) -> None:
    data = bytes(range(256)) * 8
    response = rig.run(rw(0x2A, 100, 4), out=data)
    assert (response.response, response.status, response.residual) == (scsi.S_OK, 0, 0)
    assert rig.unit.medium[100 * BLOCK : 104 * BLOCK] == data
    assert response.written == 108


def test_the_cdb_has_cdb_size_bytes(rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.6.1: its size, cdb_size, is taken from the configuration space."""
    rig.run(TEST_UNIT_READY)
    assert rig.unit.cdbs == [bytes(32)]


def test_residual_is_what_was_not_transferred(rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.6.1: data_length - number_of_transferred_bytes."""
    response = rig.run(INQUIRY, room=255)
    assert (response.response, response.residual, response.written) == (scsi.S_OK, 219, 108 + 36)
    assert rig.run(TEST_UNIT_READY, out=bytes(10)).residual == 10


def test_check_condition_brings_its_sense_data(rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.6.1: sense_len is the number of bytes actually written."""
    response = rig.run(BAD)
    assert (response.response, response.status) == (scsi.S_OK, 2)
    assert response.sense_len == len(SENSE)
    assert response.sense == SENSE.ljust(96, b"\0")
    assert rig.unit.sense == b""


def test_a_failure_in_the_middle_leaves_the_rest_as_residual(rig: Rig) -> None:
    rig.unit.fails_after = scsi.SLICE_BYTES
    blocks = scsi.SLICE_BYTES // BLOCK + 8
    response = rig.run(rw(0x28, 0, blocks), room=blocks * BLOCK)
    assert (response.status, response.residual) == (2, 8 * BLOCK)
    assert response.sense_len == len(SENSE)
    assert response.data[: scsi.SLICE_BYTES] == rig.unit.medium[: scsi.SLICE_BYTES]


@pytest.mark.parametrize(
    ("cdb", "out", "room"),
    [(rw(0x28, 0, 2), 0, BLOCK), (rw(0x2A, 0, 2), BLOCK, 0), (rw(0x28, 0, 1), BLOCK, 0), (INQUIRY, 0, 35)],
)
def test_overrun_when_the_cdb_requires_more_than_the_buffers(
    cdb: bytes, out: int, room: int, rig: Rig
) -> None:
    """[VIRTIO-1.1] §5.6.6.1 VIRTIO_SCSI_S_OVERRUN."""
    before = bytes(rig.unit.medium)
    response = rig.run(cdb, out=b"\xaa" * out, room=room)
    assert (response.response, response.residual) == (scsi.S_OVERRUN, out + room)
    assert rig.unit.medium == before
    assert rig.targets[0].aborts == [0]


def test_both_directions_fail_without_the_feature(rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.6.1: immediately returned with a response equal to VIRTIO_SCSI_S_FAILURE."""
    assert rig.run(rw(0x28, 0, 1), out=bytes(BLOCK), room=BLOCK).response == scsi.S_FAILURE
    assert rig.unit.cdbs == []


@pytest.mark.parametrize("field", ["01 07 40 00", "01 ff 00 00", "00 00 40 00", "02 00 00 00", "81 00 00 00"])
def test_bad_target_where_there_is_none(field: str, rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.6.1 VIRTIO_SCSI_S_BAD_TARGET; the first byte is 1."""
    assert rig.run(INQUIRY, room=36, lun=bytes.fromhex(field).ljust(8, b"\0")).response == scsi.S_BAD_TARGET


def test_the_last_four_bytes_of_a_lun_are_zero(rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.6.1."""
    for at in range(4, 8):
        lun = bytearray(LUN0)
        lun[at] = 1
        assert rig.run(TEST_UNIT_READY, lun=bytes(lun)).response == scsi.S_BAD_TARGET


@pytest.mark.parametrize(
    ("field", "unit"),
    [("01 00 40 00", "unit"), ("01 00 00 00", "unit"), ("01 00 40 01", "second"), ("01 00 00 01", "second"),
     ("01 03 40 00", "other"), ("01 03 00 00", "other")],
)  # fmt: skip
def test_a_lun_is_addressed_flat_or_as_peripheral(field: str, unit: str, rig: Rig) -> None:
    """[SAM-2] §4.9.6, §4.9.7: a single level LUN structure."""
    assert rig.run(TEST_UNIT_READY, lun=bytes.fromhex(field).ljust(8, b"\0")).response == scsi.S_OK
    reached = {name: len(getattr(rig, name).cdbs) for name in ("unit", "second", "other")}
    assert reached == {name: int(name == unit) for name in reached}


@pytest.mark.parametrize("field", ["01 00 41 00", "01 00 01 00", "01 00 c1 01", "01 00 80 00", "01 00 7f ff"])
def test_a_lun_that_is_not_there_is_the_targets_affair(field: str, rig: Rig) -> None:
    response = rig.run(INQUIRY, room=36, lun=bytes.fromhex(field).ljust(8, b"\0"))
    assert (response.response, response.data[0]) == (scsi.S_OK, 0x7F)


def test_sense_size_and_cdb_size_are_the_drivers(rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.4: the driver can modify it."""
    rig.mem.write(r.DEVICE_AT + scsi.SENSE_SIZE_AT, 4, 8)
    rig.mem.write(r.DEVICE_AT + scsi.CDB_SIZE_AT, 4, 16)
    rig.memory.data[BUFFERS_AT : BUFFERS_AT + 35] = LUN0 + bytes(11) + BAD + bytes(15)
    queue = rig.queues[REQUEST]
    queue.add([(BUFFERS_AT, 35)], [(BUFFERS_AT + 0x1000, 20)])
    rig.kick()
    assert queue.take_used()[0][1] == 20
    assert rig.unit.cdbs == [BAD + bytes(15)]
    assert rig.memory.data[BUFFERS_AT + 0x1000] == 8
    assert rig.memory.data[BUFFERS_AT + 0x100C : BUFFERS_AT + 0x1014] == SENSE[:8]


@pytest.mark.parametrize("size", [0, 6, 255])
def test_a_cdb_of_any_size_is_a_command(size: int, rig: Rig) -> None:
    rig.mem.write(r.DEVICE_AT + scsi.CDB_SIZE_AT, 4, size)
    rig.memory.data[BUFFERS_AT : BUFFERS_AT + 19 + size] = LUN0 + bytes(11 + size)
    queue = rig.queues[REQUEST]
    rig.unit.start = lambda cdb: Step(rig.unit)  # type: ignore[method-assign]
    for lun in ("01 00", "01 00 00 07", "c1 01"):
        rig.memory.data[BUFFERS_AT : BUFFERS_AT + 8] = bytes.fromhex(lun).ljust(8, b"\0")
        queue.add([(BUFFERS_AT, 19 + size)], [(BUFFERS_AT + 0x1000, 108)])
        rig.kick()
        assert len(queue.take_used()) == 1
    assert not rig.broken


def test_a_reset_restores_the_sizes() -> None:
    """[VIRTIO-1.1] §5.6.4.2: on reset, MUST set sense_size to 96 and cdb_size to 32."""
    rig = Rig()
    rig.mem.write(r.DEVICE_AT + scsi.SENSE_SIZE_AT, 4, 8)
    rig.mem.write(r.DEVICE_AT + scsi.CDB_SIZE_AT, 4, 16)
    rig.status = 0
    assert struct.unpack_from("<II", rig.host.config(), scsi.SENSE_SIZE_AT) == (96, 32)


def test_other_fields_of_the_configuration_are_read_only() -> None:
    rig = Rig()
    before = rig.host.config()
    for at in (*range(0, 20, 4), 28, 32):
        rig.mem.write(r.DEVICE_AT + at, 4, 0xFFFF_FFFF)
    assert rig.host.config() == before
    assert not rig.broken


def test_a_size_beyond_reason_breaks_the_device() -> None:
    rig = Rig().start()
    rig.mem.write(r.DEVICE_AT + scsi.CDB_SIZE_AT, 4, 0x8000_0000)
    assert rig.broken
    assert struct.unpack_from("<I", rig.host.config(), scsi.CDB_SIZE_AT) == (32,)


def test_more_data_than_the_host_moves_fails(rig: Rig) -> None:
    """8 MiB a request, which max_sectors tells; 32 times the medium of the bench would be needed."""
    blocks = scsi.MAX_SECTORS + 1
    rig.unit.medium = bytearray(blocks * BLOCK)
    assert rig.run(rw(0x28, 0, blocks), room=blocks * BLOCK).response == scsi.S_FAILURE


@pytest.mark.parametrize("step", [1, 3, 7, 50, 51, 64, 511])
def test_framing_does_not_matter(step: int) -> None:
    """[VIRTIO-1.1] §2.6.4.1: the device MUST NOT make assumptions about the arrangement of descriptors."""
    rig = Rig().start(r.VIRTIO_F_VERSION_1 | r.VIRTIO_F_INDIRECT_DESC)
    header = LUN0 + bytes(11) + rw(0x2A, 7, 1).ljust(32, b"\0") + bytes(range(256)) * 2
    rig.memory.data[BUFFERS_AT : BUFFERS_AT + len(header)] = header
    out = [(BUFFERS_AT + at, min(step, len(header) - at)) for at in range(0, len(header), step)]
    answer = BUFFERS_AT + 0x1000
    queue = rig.queues[REQUEST]
    queue.add(out, [(answer + at, min(step, 108 - at)) for at in range(0, 108, step)], indirect=True)
    rig.kick()
    assert queue.take_used() == [(0, 108)]
    assert rig.unit.medium[7 * BLOCK : 8 * BLOCK] == bytes(range(256)) * 2
    header = LUN0 + bytes(11) + rw(0x28, 7, 1).ljust(32, b"\0")
    rig.memory.data[BUFFERS_AT : BUFFERS_AT + len(header)] = header
    into = [(answer + at, min(step, 108 + BLOCK - at)) for at in range(0, 108 + BLOCK, step)]
    queue.add([(BUFFERS_AT, len(header))], into, indirect=True)
    rig.kick()
    assert queue.take_used() == [(1, 108 + BLOCK)]
    assert rig.memory.data[answer + 108 : answer + 108 + BLOCK] == bytes(range(256)) * 2


def test_data_moves_in_slices(rig: Rig) -> None:
    rig.memory.data.extend(bytes(0x10_0000))
    rig.run(rw(0x28, 0, 2048), room=2048 * BLOCK)
    assert rig.unit.gives == [scsi.SLICE_BYTES] * 2


# -- the control queue, [VIRTIO-1.1] §5.6.6.2


@pytest.mark.parametrize("function", [0, 1, 3, 6, 7])
def test_no_task_is_left_to_abort_or_query(function: int, rig: Rig) -> None:
    """[SAM-2] §6: FUNCTION COMPLETE when the task is not there."""
    assert rig.tmf(function, tag=77) == scsi.S_FUNCTION_COMPLETE
    assert rig.unit.resets == 0


def test_a_logical_unit_reset_resets_that_unit(rig: Rig) -> None:
    assert rig.tmf(scsi.TMF_LOGICAL_UNIT_RESET, bytes((1, 0, 0x40, 1)).ljust(8, b"\0")) == 0
    assert (rig.unit.resets, rig.second.resets) == (0, 1)


def test_an_i_t_nexus_reset_resets_the_target_and_ignores_the_lun(rig: Rig) -> None:
    before = rig.targets[3].resets
    assert rig.tmf(scsi.TMF_I_T_NEXUS_RESET, bytes((1, 3, 0x40, 9)).ljust(8, b"\0")) == 0
    assert rig.targets[3].resets == before + 1


@pytest.mark.parametrize("function", [scsi.TMF_CLEAR_ACA, 8, 0xFFFF_FFFF])
def test_functions_that_are_not_there_are_rejected(function: int, rig: Rig) -> None:
    assert rig.tmf(function) == scsi.S_FUNCTION_REJECTED


def test_functions_name_what_is_missing(rig: Rig) -> None:
    assert rig.tmf(scsi.TMF_LOGICAL_UNIT_RESET, bytes((1, 9, 0x40)).ljust(8, b"\0")) == scsi.S_BAD_TARGET
    assert rig.tmf(scsi.TMF_ABORT_TASK, bytes((1, 0, 0x40, 9)).ljust(8, b"\0")) == scsi.S_INCORRECT_LUN


@pytest.mark.parametrize("kind", [scsi.T_AN_QUERY, scsi.T_AN_SUBSCRIBE])
def test_no_asynchronous_event_is_supported(kind: int, rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.6.2: the device responds by writing the events that it supports."""
    assert rig.control(struct.pack("<I8sI", kind, LUN0, 0x7E), 5) == bytes(5)
    assert rig.control(struct.pack("<I8sI", kind, bytes((1, 9)), 0x7E), 5)[4] == scsi.S_BAD_TARGET


def test_an_unknown_control_request_fails(rig: Rig) -> None:
    assert rig.control(struct.pack("<I", 9), 1) == bytes((scsi.S_FAILURE,))


def test_the_state_survives_in_mid_negotiation_and_under_way(rig: Rig) -> None:
    rig.run(TEST_UNIT_READY)
    twin = Rig(rig.memory)
    twin.host.load(rig.host.save())
    twin.function.load(rig.function.save())
    twin.queues, twin.modern = rig.queues, rig.modern
    assert twin.irq.level
    assert twin.host.save() == rig.host.save()
    assert twin.run(rw(0x28, 1, 1), room=BLOCK).data == twin.unit.medium[BLOCK : 2 * BLOCK]


# -- the REPORT LUNS well-known logical unit

WELL_KNOWN = bytes((0xC1, 0x01)).ljust(8, b"\0")


def test_the_well_known_unit_lists_every_unit(rig: Rig) -> None:
    """[VIRTIO-1.1] §5.6.6.1: the device SHOULD implement the REPORT LUNS well-known logical unit."""
    response = rig.run(struct.pack(">B5xIxx", 0xA0, 64), room=64, lun=WELL_KNOWN)
    assert (response.response, response.status) == (scsi.S_OK, 0)
    assert response.data[:8] == bytes((0, 0, 0, 24, 0, 0, 0, 0))
    fields = [response.data[at : at + 8] for at in range(8, 32, 8)]
    assert fields == [
        bytes(field).ljust(8, b"\0") for field in ((1, 0, 0x40, 0), (1, 0, 0x40, 1), (1, 3, 0x40, 0))
    ]
    for field in fields:
        assert rig.run(TEST_UNIT_READY, lun=field).response == scsi.S_OK


def test_the_well_known_unit_is_of_its_own_kind(rig: Rig) -> None:
    """[SPC-2] §7.3: peripheral device type 1Eh."""
    assert rig.run(INQUIRY, room=36, lun=WELL_KNOWN).data[0] == 0x1E
    assert rig.run(TEST_UNIT_READY, lun=WELL_KNOWN).status == 0
    response = rig.run(rw(0x28, 0, 1), room=BLOCK, lun=WELL_KNOWN)
    assert (response.status, response.sense[2], response.sense[12]) == (2, 5, 0x20)


def test_commands_are_traced(rig: Rig) -> None:
    rig.run(rw(0x28, 5, 2), room=2 * BLOCK)
    command, status = rig.events
    assert isinstance(command, ScsiCommand)
    assert isinstance(status, ScsiStatus)
    assert (command.adapter, command.target, command.lun, command.name) == ("virtio", 0, 0, "READ 10")
    assert command.cdb == rw(0x28, 5, 2)
    assert (command.lba, command.blocks, status.data_bytes, status.status) == (5, 2, 1024, 0)


# -- much work at once


class CountingImage(MemoryImage):
    """A disk of zeros that counts the bytes read."""

    bytes_read = 0

    def read(self, lba: int, sectors: int) -> bytes:
        self.bytes_read += sectors * BLOCK
        return bytes(sectors * BLOCK)


def with_disk(rig: Rig, sectors: int) -> CountingImage:
    """Put a real disk at target 0, which has said that it was reset."""
    image = CountingImage(sectors)
    disk = ScsiDisk("disk", image)
    disk.start(TEST_UNIT_READY)
    rig.targets[0] = ScsiTarget({0: disk})  # type: ignore[assignment]
    return image


def offer(rig: Rig, count: int, cdb: bytes, room: int = 0) -> None:
    """Make the same command available so often, without a notification."""
    header = LUN0 + bytes(11) + cdb.ljust(32, b"\0")
    rig.memory.data[BUFFERS_AT : BUFFERS_AT + len(header)] = header
    data = [(BUFFERS_AT + 0x2000, room)] if room else []
    for _ in range(count):
        rig.queues[REQUEST].add([(BUFFERS_AT, len(header))], [(BUFFERS_AT + 0x1000, 108), *data])


def finished_at_once(rig: Rig) -> list[int]:
    """Let time pass until nothing comes any more; return how many requests ended at each time."""
    ended = [len(rig.queues[REQUEST].take_used())]
    while ended[-1]:
        rig.time.value_ns += scsi.GO_ON_NS
        rig.clock.run_due()
        ended.append(len(rig.queues[REQUEST].take_used()))
    return ended[:-1]


def test_a_notification_of_much_work_is_worked_off_a_piece_at_a_time(rig: Rig) -> None:
    blocks = scsi.AT_ONCE_BYTES // BLOCK // 2
    image = with_disk(rig, blocks)
    offer(rig, 7, rw(op.VERIFY_10, 0, blocks))
    rig.kick()
    assert image.bytes_read == scsi.AT_ONCE_BYTES
    assert rig.isr() == r.ISR_QUEUE
    assert finished_at_once(rig) == [2, 2, 2, 1]
    assert image.bytes_read == 7 * blocks * BLOCK


def test_flushes_are_work(rig: Rig) -> None:
    image = with_disk(rig, 64)
    offer(rig, 12, bytes((op.SYNCHRONIZE_CACHE_10,)).ljust(10, b"\0"))
    rig.kick()
    assert image.flushes == scsi.AT_ONCE_BYTES // scsi.FLUSH_BYTES
    assert finished_at_once(rig) == [8, 4]


def test_another_notification_goes_on_at_once_with_what_was_left(rig: Rig) -> None:
    blocks = scsi.AT_ONCE_BYTES // BLOCK // 2
    with_disk(rig, blocks)
    offer(rig, 3, rw(op.VERIFY_10, 0, blocks))
    rig.kick()
    offer(rig, 1, TEST_UNIT_READY)
    rig.kick()
    assert finished_at_once(rig) == [4]


def test_what_was_left_is_in_the_state(rig: Rig) -> None:
    blocks = scsi.AT_ONCE_BYTES // BLOCK // 2
    with_disk(rig, blocks)
    offer(rig, 3, rw(op.VERIFY_10, 0, blocks))
    rig.kick()
    twin = Rig(rig.memory)
    image = with_disk(twin, blocks)
    twin.host.load(rig.host.save())
    twin.queues, twin.modern = rig.queues, rig.modern
    assert finished_at_once(twin) == [2, 1]
    assert image.bytes_read == blocks * BLOCK


def test_a_reset_forgets_what_was_left(rig: Rig) -> None:
    blocks = scsi.AT_ONCE_BYTES // BLOCK // 2
    image = with_disk(rig, blocks)
    offer(rig, 3, rw(op.VERIFY_10, 0, blocks))
    rig.kick()
    rig.host.reset()
    rig.time.value_ns += scsi.GO_ON_NS
    rig.clock.run_due()
    assert image.bytes_read == scsi.AT_ONCE_BYTES
