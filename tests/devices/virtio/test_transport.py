"""The virtio PCI transport: a sentence of the specification a test."""

from __future__ import annotations

import pytest

from devices.pci.config import BAR0, CAPABILITIES_POINTER, COMMAND
from devices.pci.config import STATUS as PCI_STATUS
from devices.virtio import registers as r
from devices.virtio.function import PCI_CAP, PCI_CFG_DATA
from tests.devices.virtio_rig import ACK, REQUEST, Rig

TEST_UNIT_READY = bytes(6)


def capabilities(rig: Rig) -> dict[int, tuple[int, int, int]]:
    """Follow the list: cfg_type to BAR, offset, length."""
    found = {}
    at = rig.config.read(CAPABILITIES_POINTER, 1)
    while at:
        assert rig.config.read(at, 1) == 9
        kind, bar = rig.config.read(at + 3, 1), rig.config.read(at + 4, 1)
        found[kind] = (bar, rig.config.read(at + 8, 4), rig.config.read(at + 12, 4))
        at = rig.config.read(at + 1, 1)
    return found


def test_a_transitional_scsi_host_has_device_id_1004h_subsystem_8_and_revision_0() -> None:
    """[VIRTIO-1.1] §4.1.2.1, §4.1.2.3."""
    read = Rig().config.read
    assert (read(0, 4), read(8, 1), read(9, 3)) == (0x1004_1AF4, 0, 0x010000)
    assert (read(0x2C, 4), read(0x3D, 1)) == (0x0008_1AF4, 1)


def test_capabilities_of_all_five_structures_lie_within_their_bar() -> None:
    """[VIRTIO-1.1] §4.1.4: the device MUST present at least one of each."""
    rig = Rig()
    assert rig.config.read(PCI_STATUS, 2) & 0x10
    found = capabilities(rig)
    assert sorted(found) == [1, 2, 3, 4, 5]
    for bar, offset, length in (found[kind] for kind in (1, 2, 3, 4)):
        assert bar == 1
        assert offset % 4 == 0
        assert offset + length <= r.MEMORY_BYTES


def test_bars_move_the_banks() -> None:
    rig = Rig()
    rig.enable()
    assert rig.moves == [(None, 0xC000), (None, 0xE000_0000)]
    rig.config.write(COMMAND, 2, 0)
    assert rig.moves[2:] == [(0xC000, None), (0xE000_0000, None)]


def test_feature_halves_are_selected() -> None:
    """[VIRTIO-1.1] §4.1.4.3: device_feature_select 0 selects bits 0-31, 1 bits 32-63, others read 0."""
    rig = Rig()
    offered = []
    for half in (0, 1, 2, 0xFFFF_FFFF):
        rig.common(r.DEVICE_FEATURE_SELECT, 4, half)
        offered.append(rig.common(r.DEVICE_FEATURE, 4))
    assert offered == [0x3000_0000, 1, 0, 0]


@pytest.mark.parametrize(
    ("features", "accepted"),
    [
        (r.VIRTIO_F_VERSION_1, True),
        (r.VIRTIO_F_VERSION_1 | r.VIRTIO_F_EVENT_IDX, True),
        (0, False),
        (r.VIRTIO_F_VERSION_1 | 1, False),
        (r.VIRTIO_F_VERSION_1 | r.VIRTIO_F_ANY_LAYOUT, False),
    ],
)
def test_features_ok_is_refused_for_what_was_not_offered(features: int, accepted: bool) -> None:
    """[VIRTIO-1.1] §2.2.2: otherwise it MUST fail to set the FEATURES_OK bit."""
    rig = Rig()
    rig.status = ACK
    for half in range(2):
        rig.common(r.DRIVER_FEATURE_SELECT, 4, half)
        rig.common(r.DRIVER_FEATURE, 4, features >> 32 * half & 0xFFFF_FFFF)
    rig.status = ACK | r.FEATURES_OK
    assert rig.status == ACK | (r.FEATURES_OK if accepted else 0)


def test_features_stand_still_after_features_ok() -> None:
    """[VIRTIO-1.1] §3.1.1: the driver MUST NOT accept new feature bits after this step."""
    rig = Rig().start()
    rig.common(r.DRIVER_FEATURE_SELECT, 4, 0)
    rig.common(r.DRIVER_FEATURE, 4, 0x3000_0000)
    assert rig.common(r.DRIVER_FEATURE, 4) == 0
    assert rig.host.transport.features == r.VIRTIO_F_VERSION_1


def test_queue_size_zero_means_there_is_no_such_queue() -> None:
    """[VIRTIO-1.1] §4.1.4.3.1."""
    rig = Rig()
    sizes = []
    for number in range(5):
        rig.common(r.QUEUE_SELECT, 2, number)
        sizes.append(rig.common(r.QUEUE_SIZE, 2))
    assert sizes == [64, 64, 256, 0, 0]
    assert rig.common(r.NUM_QUEUES, 2) == 3


def test_a_queue_size_that_is_no_power_of_two_or_too_large_is_not_taken() -> None:
    """[VIRTIO-1.1] §4.1.4.3.2: MUST NOT write a value which is not a power of 2."""
    rig = Rig()
    rig.common(r.QUEUE_SELECT, 2, REQUEST)
    for size in (0, 3, 512, 0xFFFF):
        rig.common(r.QUEUE_SIZE, 2, size)
        assert rig.common(r.QUEUE_SIZE, 2) == 256
    rig.common(r.QUEUE_SIZE, 2, 32)
    assert rig.common(r.QUEUE_SIZE, 2) == 32


def test_vectors_read_as_no_vector() -> None:
    """[VIRTIO-1.1] §4.1.5.1.2: a device without MSI-X returns NO_VECTOR."""
    rig = Rig()
    for register in (r.MSIX_CONFIG, r.QUEUE_MSIX_VECTOR):
        rig.common(register, 2, 0)
        assert rig.common(register, 2) == 0xFFFF


def test_64_bit_registers_are_two_of_32() -> None:
    """[VIRTIO-1.1] §4.1.3.1."""
    rig = Rig()
    rig.common(r.QUEUE_DESC, 4, 0x1234_5000)
    rig.common(r.QUEUE_DESC + 4, 4, 7)
    assert (rig.common(r.QUEUE_DESC, 4), rig.common(r.QUEUE_DESC + 4, 4)) == (0x1234_5000, 7)
    assert rig.host.transport.queues[0].desc == 0x7_1234_5000


@pytest.mark.parametrize("modern", [True, False])
def test_writing_0_to_the_status_resets(modern: bool) -> None:
    """[VIRTIO-1.1] §2.1: writing 0 into this field triggers a device reset; §4.1.4.3.1."""
    rig = Rig().start() if modern else Rig().start_legacy()
    rig.run(TEST_UNIT_READY)
    assert rig.irq.level
    resets = rig.targets[0].resets
    if modern:
        rig.status = 0
    else:
        rig.io.write(r.STATUS, 1, 0)
    assert rig.status == 0
    assert not rig.irq.level
    assert rig.isr() == 0
    assert rig.targets[0].resets == resets + 1
    rig.common(r.QUEUE_SELECT, 2, REQUEST)
    assert (rig.common(r.QUEUE_ENABLE, 2), rig.common(r.QUEUE_DESC, 4)) == (0, 0)


@pytest.mark.parametrize("modern", [True, False])
def test_reading_the_isr_clears_it_and_lowers_intx(modern: bool) -> None:
    """[VIRTIO-1.1] §4.1.4.5.1."""
    rig = Rig().start() if modern else Rig().start_legacy()
    rig.run(TEST_UNIT_READY)
    assert rig.irq.level
    assert rig.isr() == r.ISR_QUEUE
    assert not rig.irq.level
    assert rig.isr() == 0


def test_no_buffer_is_used_before_driver_ok() -> None:
    """[VIRTIO-1.1] §2.1.2: MUST NOT consume buffers or send notifications before DRIVER_OK."""
    rig = Rig().start()
    rig.status = ACK | r.FEATURES_OK
    queue = rig.queues[REQUEST]
    queue.add([(0x4_0000, 51)], [(0x4_1000, 108)])
    rig.kick()
    assert queue.take_used() == []
    rig.status = ACK | r.FEATURES_OK | r.DRIVER_OK
    assert len(queue.take_used()) == 1


def test_a_legacy_driver_uses_a_queue_before_driver_ok() -> None:
    """[VIRTIO-1.1] §3.1.2."""
    rig = Rig().start_legacy()
    rig.io.write(r.STATUS, 1, ACK)
    assert rig.run(TEST_UNIT_READY).response == 0


def test_without_bus_mastering_a_notification_waits() -> None:
    rig = Rig().start()
    rig.config.write(COMMAND, 2, 3)
    queue = rig.queues[REQUEST]
    queue.add([(0x4_0000, 51)], [(0x4_1000, 108)])
    rig.kick()
    assert queue.take_used() == []
    rig.config.write(COMMAND, 2, 7)
    assert len(queue.take_used()) == 1


def test_legacy_features_are_32_bits_with_any_layout() -> None:
    """[VIRTIO-1.1] §6.3, §4.1.4.8."""
    rig = Rig()
    assert rig.io.read(r.HOST_FEATURES, 4) == 0x3800_0000
    rig.io.write(r.GUEST_FEATURES, 4, 0xFFFF_FFFF)
    assert rig.io.read(r.GUEST_FEATURES, 4) == 0x3800_0000


def test_legacy_queue_size_is_read_only_and_the_pfn_reads_back() -> None:
    """[VIRTIO-0.95] §2.3."""
    rig = Rig().start_legacy()
    rig.io.write(r.QUEUE_SEL, 2, REQUEST)
    rig.io.write(r.QUEUE_NUM, 2, 8)
    assert rig.io.read(r.QUEUE_NUM, 2) == 256
    assert rig.io.read(r.QUEUE_PFN, 4) == rig.queues[REQUEST].desc >> 12
    rig.io.write(r.QUEUE_SEL, 2, 9)
    assert rig.io.read(r.QUEUE_NUM, 2) == 0


def test_both_interfaces_show_the_device_configuration() -> None:
    rig = Rig()
    words = [rig.mem.read(r.DEVICE_AT + at, 4) for at in range(0, 36, 4)]
    assert words == [rig.io.read(r.CONFIG + at, 4) for at in range(0, 36, 4)]
    assert words == [1, 254, 16384, 128, 16, 96, 32, 15 << 16, 255]


def test_registers_are_reached_through_configuration_space() -> None:
    """[VIRTIO-1.1] §4.1.4.7: pci_cfg_data reads and writes what bar, offset and length name."""
    rig = Rig()

    def aim(bar: int, offset: int, length: int) -> None:
        rig.config.write(PCI_CAP + 4, 1, bar)
        rig.config.write(PCI_CAP + 8, 4, offset)
        rig.config.write(PCI_CAP + 12, 4, length)

    aim(1, r.DEVICE_STATUS, 1)
    rig.config.write(PCI_CFG_DATA, 4, 0xFFFF_FF01)
    assert rig.status == 1
    assert rig.config.read(PCI_CFG_DATA, 4) == 1
    aim(0, r.CONFIG, 4)
    assert rig.config.read(PCI_CFG_DATA, 4) == 1
    assert rig.config.read(PCI_CFG_DATA + 1, 1) == 0
    for bar, offset, length in ((2, 0, 4), (1, 2, 4), (1, r.MEMORY_BYTES, 4), (1, 0, 3), (1, 0xFFFF_FFFC, 4)):
        aim(bar, offset, length)
        rig.config.write(PCI_CFG_DATA, 4, 0xFFFF_FFFF)
        assert rig.config.read(PCI_CFG_DATA, 4) == 0


def test_reading_the_isr_through_configuration_space_clears_it() -> None:
    rig = Rig().start()
    rig.run(TEST_UNIT_READY)
    rig.config.write(PCI_CAP + 4, 1, 1)
    rig.config.write(PCI_CAP + 8, 4, r.ISR_AT)
    rig.config.write(PCI_CAP + 12, 4, 1)
    assert rig.config.read(PCI_CFG_DATA, 1) == 1
    assert not rig.irq.level


def test_restoring_configuration_space_does_not_touch_the_registers() -> None:
    rig = Rig().start()
    state = rig.function.save()
    before = rig.host.save()
    rig.function.load(state)
    assert rig.host.save() == before
    assert rig.config.read(BAR0, 4) == 0xC001
