"""The PCI function of a transitional virtio device: identity, two BARs, five capabilities.

Vendor capabilities say where the structures of virtio 1.x lie in the memory BAR; the last of them reaches
all registers through configuration space. Not modelled: MSI-X, power management.

Sources:
    [VIRTIO-1.1] Virtual I/O Device (VIRTIO) Version 1.1, §4.1.2 discovery, §4.1.4 layout.
    [PCI-2.2] PCI Local Bus Specification, revision 2.2, §6.7 capabilities.
"""

from __future__ import annotations

import struct
from typing import Final

from devices.backplane import PortBank
from devices.pci.config import (
    BAR0,
    CAPABILITIES_POINTER,
    COMMAND,
    COMMAND_MASTER,
    STATUS,
    STATUS_CAPABILITIES,
    STATUS_CLEARABLE,
    STATUS_DEVSEL_MEDIUM,
    Bar,
    ConfigSpace,
    FunctionIdentity,
    MoveBar,
    PciFunction,
    Register,
)
from devices.virtio import registers as r
from devices.virtio.transport import VirtioTransport

BAR1: Final = 0x14
VENDOR_CAPABILITY: Final = 0x09  # [PCI-2.2] appendix H
INTA: Final = 1
BANKS: Final = 2  # BAR0 and BAR1

# cfg_type, [VIRTIO-1.1] §4.1.4
CAP_COMMON: Final = 1
CAP_NOTIFY: Final = 2
CAP_ISR: Final = 3
CAP_DEVICE: Final = 4
CAP_PCI: Final = 5

# struct virtio_pci_cap, [VIRTIO-1.1] §4.1.4
_CAPABILITY: Final = struct.Struct("<BBBBB3xII")
CAP_BYTES: Final = 16
CAP_BAR: Final = 4
CAP_OFFSET: Final = 8
CAP_LENGTH: Final = 12
CAP_EXTRA: Final = 16  # notify_off_multiplier; pci_cfg_data
LONG_CAP_BYTES: Final = 20

COMMON_CAP: Final = 0x40
ISR_CAP: Final = 0x50
DEVICE_CAP: Final = 0x60
NOTIFY_CAP: Final = 0x70
PCI_CAP: Final = 0x84
PCI_CFG_DATA: Final = PCI_CAP + CAP_EXTRA


class VirtioFunction(PciFunction):
    """`on_io` and `on_memory` hear where the banks of `transport` belong."""

    def __init__(
        self,
        name: str,
        identity: FunctionIdentity,
        transport: VirtioTransport,
        on_io: MoveBar,
        on_memory: MoveBar,
    ) -> None:
        bars = (Bar(BAR0, r.IO_PORTS, True, on_io), Bar(BAR1, r.MEMORY_BYTES, False, on_memory))
        config = ConfigSpace(identity, _registers(transport), bars)
        config.watch(COMMAND, 2, self._command_written)
        config.answer(PCI_CFG_DATA, self._read_through, self._write_through)
        self._transport = transport
        self._master = False
        self._spaces = (
            (transport.io_bank, r.IO_PORTS),
            (transport.memory_bank, r.MEMORY_BYTES),
        )
        super().__init__(name, config)

    def _command_written(self) -> None:
        master = bool(self.config.read(COMMAND, 2) & COMMAND_MASTER)
        if master != self._master:
            self._master = master
            self._transport.set_master(master)

    # -- the PCI configuration access capability, [VIRTIO-1.1] §4.1.4.7

    def _window(self) -> tuple[PortBank, int, int] | None:
        """Return what pci_cfg_data reaches now: bank, offset, size; None for what it must not."""
        bar = self.config.read(PCI_CAP + CAP_BAR, 1)
        offset = self.config.read(PCI_CAP + CAP_OFFSET, 4)
        size = self.config.read(PCI_CAP + CAP_LENGTH, 4)
        if bar >= BANKS or size not in (1, 2, 4) or offset % size:
            return None
        bank, length = self._spaces[bar]
        return (bank, offset, size) if offset + size <= length else None

    def _read_through(self, at: int, size: int) -> int:
        window = self._window()
        if window is None:
            return 0
        bank, offset, length = window
        return bank.read(offset, length) >> 8 * at & (1 << 8 * size) - 1

    def _write_through(self, at: int, size: int, value: int) -> None:
        window = self._window()
        if window is not None and at == 0:
            bank, offset, length = window
            bank.write(offset, length, value & (1 << 8 * length) - 1)


def scsi_identity() -> FunctionIdentity:
    """Return the identity of a transitional SCSI host, [VIRTIO-1.1] §4.1.2.1, §4.1.2.3."""
    return FunctionIdentity(
        vendor_id=r.VENDOR_ID,
        device_id=r.TRANSITIONAL_SCSI,
        class_code=0x010000,
        interrupt_pin=INTA,
        subsystem_vendor_id=r.VENDOR_ID,
        subsystem_id=r.SCSI_HOST,
    )


def _registers(transport: VirtioTransport) -> tuple[Register, ...]:
    """Return the capabilities and what points to them."""
    status = STATUS_DEVSEL_MEDIUM | STATUS_CAPABILITIES
    notify_bytes = r.NOTIFY_MULTIPLIER * len(transport.queues)
    capabilities = (
        (COMMON_CAP, ISR_CAP, CAP_BYTES, CAP_COMMON, r.COMMON_AT, r.COMMON_BYTES),
        (ISR_CAP, DEVICE_CAP, CAP_BYTES, CAP_ISR, r.ISR_AT, 1),
        (DEVICE_CAP, NOTIFY_CAP, CAP_BYTES, CAP_DEVICE, r.DEVICE_AT, transport.config_bytes),
        (NOTIFY_CAP, PCI_CAP, LONG_CAP_BYTES, CAP_NOTIFY, r.NOTIFY_AT, notify_bytes),
        (PCI_CAP, 0, LONG_CAP_BYTES, CAP_PCI, 0, 0),
    )
    declared = [Register(STATUS, 2, status, 0, STATUS_CLEARABLE)]
    declared.append(Register(CAPABILITIES_POINTER, 1, COMMON_CAP))
    for at, following, length, kind, offset, size in capabilities:
        bar = 0 if kind == CAP_PCI else 1
        data = _CAPABILITY.pack(VENDOR_CAPABILITY, following, length, kind, bar, offset, size)
        declared.append(Register(at, CAP_BYTES, int.from_bytes(data, "little")))
    declared.append(Register(NOTIFY_CAP + CAP_EXTRA, 4, r.NOTIFY_MULTIPLIER))
    declared.append(Register(PCI_CAP + CAP_BAR, 1, 0, 0xFF))
    declared.append(Register(PCI_CAP + CAP_OFFSET, 4, 0, 0xFFFF_FFFF))
    declared.append(Register(PCI_CAP + CAP_LENGTH, 4, 0, 0xFFFF_FFFF))
    return tuple(declared)
