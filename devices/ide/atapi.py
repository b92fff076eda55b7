"""An ATAPI CD-ROM drive: command packets over the ATA registers, by PIO or DMA.

The commands themselves are `devices.scsi.mmc`'s. Not modelled: overlap, packets that carry data to
the drive (no command here takes any), an interrupt before the packet (word 0 says 50 us DRQ).

Sources:
    [ATA-6] T13/1410D revision 3b, §8.23 PACKET, §9.6-§9.8 PACKET protocols.
    [SFF-8020i] ATA Packet Interface for CD-ROMs, revision 2.6, §5.
"""

from __future__ import annotations

from typing import Final

import msgspec

from devices.ide import commands as ata
from devices.ide.drive import DMA_IN, IDLE, IdeDrive, TransferState
from devices.ide.events import AtaCommand, AtapiCommand
from devices.ide.identify import DriveIdentity, TransferModes, identify_packet_device
from devices.ide.registers import (
    COUNT,
    DEVICE,
    ER_ABRT,
    FEATURES,
    IR_CD,
    IR_IO,
    LBA_HIGH,
    LBA_MID,
    SR_DRDY,
)
from devices.scsi.commands import decode
from devices.scsi.mmc import CdRom, CdRomState
from devices.scsi.task import CHECK_CONDITION, Task, TaskState
from disks.image import BlockImage

PACKET_BYTES: Final = 12
FEATURE_DMA: Final = 0x01  # PACKET Features, [ATA-6] §8.23.4
FEATURE_OVERLAP: Final = 0x02
MAX_BYTE_COUNT: Final = 0xFFFE
AHEAD_BYTES: Final = 0x2_0000  # fetched at once for PIO
DMA_AHEAD_BYTES: Final = 0x40_0000


class AtapiDriveState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="atapi-drive"):
    """Everything a snapshot must hold to resume a drive."""

    transfer: TransferState
    unit: CdRomState
    task: TaskState | None
    dma: bool
    limit: int
    padding: int


class AtapiDrive(IdeDrive):
    """A CD-ROM drive. `unit` is the drive behind the interface; discs go in and out there."""

    SIGNATURE = (0x14, 0xEB)
    READY = SR_DRDY
    RESET_STATUS = 0x00  # DRDY comes with the first PACKET command, [ATA-6] §9.2
    is_packet = True

    def __init__(
        self, name: str, image: BlockImage | None = None, identity: DriveIdentity | None = None
    ) -> None:
        super().__init__(name)
        self._identity = identity or DriveIdentity("TRAPLINE CD-ROM", "TL00002")
        self.unit = CdRom(name, image)
        self._dma = False
        self._limit = self._padding = 0
        self._task: Task | None = None  # the packet's command while data of it is left
        for opcode, handler in {
            ata.DEVICE_RESET: self._device_reset,
            ata.PACKET: self._packet,
            ata.IDENTIFY_PACKET_DEVICE: self._identify_packet,
            ata.IDENTIFY_DEVICE: self._sign_and_abort,
            ata.READ_SECTORS: self._sign_and_abort,
            ata.STANDBY_IMMEDIATE: self._complete,
            ata.IDLE_IMMEDIATE: self._complete,
            ata.SLEEP: self._complete,
            ata.CHECK_POWER_MODE: self._check_power_mode,
            ata.SET_FEATURES: self._set_features,
        }.items():
            self._commands[opcode] = handler
        self.power_on()

    def insert(self, image: BlockImage) -> None:
        """Put a disc in."""
        self.unit.insert(image)

    def eject(self, force: bool = False) -> BlockImage | None:
        """Take the disc out and return it; None if there is none or the guest has locked it."""
        return self.unit.eject(force)

    def power_on(self) -> None:
        """Become the drive after a hardware reset."""
        self._modes = TransferModes()
        self.registers.write(DEVICE, 0)
        self.soft_reset()

    def soft_reset(self) -> None:
        """Reset interface and unit; the next packet command hears of it."""
        self.unit.reset()
        self._task = None
        self.end_reset()

    def save(self) -> AtapiDriveState:
        """Return the state."""
        return AtapiDriveState(
            transfer=self._save_transfer(),
            unit=self.unit.save(),
            task=None if self._task is None else self._task.save(),
            dma=self._dma,
            limit=self._limit,
            padding=self._padding,
        )

    def load(self, state: AtapiDriveState) -> None:
        """Become `state`; the channel drives the interrupt."""
        if state.task is not None:
            self.unit.check(state.task)
        self._load_transfer(state.transfer)
        self.unit.load(state.unit)
        self._task = None if state.task is None else self.unit.resume(state.task)
        self._dma, self._limit, self._padding = state.dma, state.limit, state.padding

    def _trace(self) -> None:
        if self.tracer is not None:
            opcode, count = self._opcode, self.registers.current[COUNT]
            self.tracer.emit(AtaCommand(self.channel, self.index, opcode, ata.NAMES[opcode], None, count))

    # --- ATA commands ------------------------------------------------------------------------

    def _device_reset(self) -> None:
        """DEVICE RESET: no interrupt, [ATA-6] §8.7."""
        self.soft_reset()

    def _sign_and_abort(self) -> None:
        """Tell a host that takes this for a disk what it is, [ATA-6] §8.15.5.2."""
        self.registers.sign(*self.SIGNATURE)
        self._abort()

    def _identify_packet(self) -> None:
        self._task = None
        self._buffer, self._position = identify_packet_device(self._identity, self._modes), 0
        self._offer(len(self._buffer))

    def _set_features(self) -> None:
        if self.registers.current[FEATURES] == ata.FEATURE_TRANSFER_MODE:
            self._set_transfer_mode()
        else:
            self._abort()

    # --- PACKET ------------------------------------------------------------------------------

    def _packet(self) -> None:
        features = self.registers.current[FEATURES]
        if features & FEATURE_OVERLAP:
            self._abort()
            return
        self._dma = bool(features & FEATURE_DMA)
        limit = self.registers.current[LBA_MID] | self.registers.current[LBA_HIGH] << 8
        self._limit = min(limit or MAX_BYTE_COUNT, MAX_BYTE_COUNT)
        self.registers.current[COUNT] = IR_CD
        self._request(PACKET_BYTES)  # no interrupt: word 0 says 50 us DRQ

    def _block_written(self) -> None:
        cdb = bytes(self._buffer)
        self._stop_transfer()
        if self.tracer is not None:
            self.tracer.emit(AtapiCommand(self.channel, self.index, cdb[0], *decode(cdb)))
        self._task = self.unit.start(cdb)
        if self._task.status == CHECK_CONDITION:
            self._check_condition()
        elif not self._task.data_in:
            self._finish()
        elif self._fetch(self._task):
            if self._dma:
                self._start_dma(DMA_IN)
            else:
                self._offer_block()

    def _fetch(self, task: Task) -> bool:
        """Fill the buffer with data of the unit, or report why there is none."""
        ahead = DMA_AHEAD_BYTES if self._dma else self._even_limit() * max(1, AHEAD_BYTES // self._limit)
        data = task.give(ahead)
        if not data:
            self._check_condition()
            return False
        self._buffer, self._position = data, 0
        self._padding = 0 if self._dma else len(data) % 2
        if self._padding:
            self._buffer = data + b"\0"  # the data port moves words
        return True

    def _even_limit(self) -> int:
        """Return the byte count limit that blocks but the last obey, [ATA-6] §8.23.4."""
        return max(2, self._limit & ~1)

    def _offer_block(self) -> None:
        end = min(self._position + self._even_limit(), len(self._buffer))
        count = min(end, len(self._buffer) - self._padding) - self._position
        self.registers.current[LBA_MID], self.registers.current[LBA_HIGH] = count & 0xFF, count >> 8
        self.registers.current[COUNT] = IR_IO
        self._offer(end)

    def _block_read(self) -> None:
        if self._opcode == ata.IDENTIFY_PACKET_DEVICE:
            self._stop_transfer()
            self.status = self.READY
        elif self._position < len(self._buffer):
            self._offer_block()
        elif self._task is None or not self._task.data_in:
            self._finish()
        elif self._fetch(self._task):
            self._offer_block()

    def _dma_read(self) -> None:
        if self._task is None or not self._task.data_in:
            self._finish()
        else:
            self.phase = DMA_IN if self._fetch(self._task) else IDLE

    def _finish(self) -> None:
        self._task = None
        self.registers.current[COUNT] = IR_CD | IR_IO
        self._complete()

    def _check_condition(self) -> None:
        """End with CHK; Error shows the sense key, [ATA-6] §8.23.6."""
        self._task = None
        self.registers.current[COUNT] = IR_CD | IR_IO
        self._fail(self.unit.sense.key << 4 | ER_ABRT)
