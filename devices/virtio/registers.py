"""Names and numbers of the virtio PCI transport.

Sources:
    [VIRTIO-1.1] Virtual I/O Device (VIRTIO) Version 1.1, OASIS committee specification 01.
    [VIRTIO-0.95] Virtio PCI Card Specification v0.9.5, R. Russell, 2012: the legacy interface.
"""

from __future__ import annotations

from typing import Final

VENDOR_ID: Final = 0x1AF4
TRANSITIONAL_SCSI: Final = 0x1004  # PCI device id, [VIRTIO-1.1] §4.1.2.1
SCSI_HOST: Final = 8  # virtio device id, [VIRTIO-1.1] §5

# Device status, [VIRTIO-1.1] §2.1
ACKNOWLEDGE: Final = 0x01
DRIVER: Final = 0x02
DRIVER_OK: Final = 0x04
FEATURES_OK: Final = 0x08
DEVICE_NEEDS_RESET: Final = 0x40
FAILED: Final = 0x80

# Features of every device, [VIRTIO-1.1] §6 and §6.3
VIRTIO_F_ANY_LAYOUT: Final = 1 << 27  # legacy only
VIRTIO_F_INDIRECT_DESC: Final = 1 << 28
VIRTIO_F_EVENT_IDX: Final = 1 << 29
VIRTIO_F_VERSION_1: Final = 1 << 32

# ISR status, [VIRTIO-1.1] §4.1.4.5
ISR_QUEUE: Final = 0x1
ISR_CONFIG: Final = 0x2

# Legacy header in I/O space, [VIRTIO-1.1] §4.1.4.8; without MSI-X the device's own part is at 14h
HOST_FEATURES: Final = 0x00
GUEST_FEATURES: Final = 0x04
QUEUE_PFN: Final = 0x08
QUEUE_NUM: Final = 0x0C
QUEUE_SEL: Final = 0x0E
QUEUE_NOTIFY: Final = 0x10
STATUS: Final = 0x12
ISR: Final = 0x13
CONFIG: Final = 0x14

# Common configuration structure, [VIRTIO-1.1] §4.1.4.3
DEVICE_FEATURE_SELECT: Final = 0x00
DEVICE_FEATURE: Final = 0x04
DRIVER_FEATURE_SELECT: Final = 0x08
DRIVER_FEATURE: Final = 0x0C
MSIX_CONFIG: Final = 0x10
NUM_QUEUES: Final = 0x12
DEVICE_STATUS: Final = 0x14
CONFIG_GENERATION: Final = 0x15
QUEUE_SELECT: Final = 0x16
QUEUE_SIZE: Final = 0x18
QUEUE_MSIX_VECTOR: Final = 0x1A
QUEUE_ENABLE: Final = 0x1C
QUEUE_NOTIFY_OFF: Final = 0x1E
QUEUE_DESC: Final = 0x20
QUEUE_DRIVER: Final = 0x28
QUEUE_DEVICE: Final = 0x30

NO_VECTOR: Final = 0xFFFF  # there is no MSI-X table, [VIRTIO-1.1] §4.1.5.1.2

# Where our structures lie in the memory BAR: a choice, told by the capabilities
COMMON_AT: Final = 0x000
COMMON_BYTES: Final = 0x38
ISR_AT: Final = 0x100
DEVICE_AT: Final = 0x200
NOTIFY_AT: Final = 0x400
NOTIFY_MULTIPLIER: Final = 4
MEMORY_BYTES: Final = 0x1000
IO_PORTS: Final = 0x40
